//! All cases, by what they need of a transport. Each list is written once; `main.rs` makes tests of it for each transport,
//! and `stress.rs` runs it many times.

use std::{pin::Pin, time::Duration};

/// What hangs fails, by its name. Longer than anything takes: a broker is started three times at most.
pub const CASE_TIMEOUT: Duration = Duration::from_secs(240);

/// A case that is run by its name.
pub type Case = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// Need nothing but a place of their own on what all share.
macro_rules! shared {
    ($make:ident, $subject:ty) => {
        $crate::cases::$make! { $subject,
            publishing::case_01_a_message_arrives_as_it_was_sent,
            publishing::case_02_an_empty_body_and_the_longest_one_travel,
            publishing::case_02_an_event_one_byte_over_the_bound_is_refused_before_it_is_sent,
            delivering::case_03_concurrent_publishers_and_subscribers_lose_nothing_and_get_nothing_twice,
            routing::case_04_many_topics_at_once_do_not_mix,
            routing::case_05_a_pattern_gets_the_routing_keys_that_match_it,
            routing::case_05_every_group_gets_every_message_and_one_member_of_each_gets_it,
            routing::case_05_a_queue_with_two_bindings_that_match_gets_a_message_once,
            routing::case_05_every_broadcast_subscriber_hears_what_is_said_while_it_listens,
            routing::only_one_subscription_owns_a_queue_and_the_next_takes_over_when_it_goes,
            routing::one_owner_consumes_two_queues_and_the_next_takes_over_both_when_it_has_left_both,
            delivering::case_06_one_consumer_gets_the_messages_in_their_order,
            delivering::case_07_no_delivery_beyond_prefetch_until_acknowledged,
            delivering::case_08_what_is_handed_back_comes_again_and_says_how_often_it_came,
            delivering::case_09_publishing_and_consuming_go_on_after_errors,
            delivering::case_10_what_a_subscriber_leaves_unacknowledged_is_delivered_elsewhere,
            acknowledging::case_11_acknowledging_up_to_a_delivery_covers_it_and_the_earlier_ones_only,
            acknowledging::case_12_a_second_acknowledgement_is_an_error_and_harms_nothing,
            acknowledging::case_12_an_acknowledgement_after_the_transport_was_closed_is_an_error,
            acknowledging::case_12_what_was_acknowledged_does_not_come_again_after_an_orderly_end,
            publishing::case_14_exactly_the_messages_that_no_queue_gets_are_errors_whoever_else_publishes,
            publishing::case_17_no_publish_is_confirmed_that_was_not_taken_however_short_its_patience,
            publishing::case_18_a_publish_that_is_dropped_leaks_nothing_and_stalls_nobody,
            retrying::case_21_what_is_delayed_comes_not_early_and_a_short_delay_is_not_blocked_by_a_long_one,
            retrying::case_21_what_is_delayed_comes_back_to_the_one_queue_that_it_is_for,
            publishing::case_27_what_was_accepted_before_a_close_under_load_arrives,
            publishing::case_28_closing_several_times_at_once_ends_everything_and_nothing_hangs,
            delivering::case_28_a_subscription_that_is_dropped_while_it_begins_holds_nothing,
            delivering::case_28_waiting_for_a_delivery_can_be_given_up_at_any_moment_and_loses_none,
            delivering::case_35_a_queue_keeps_what_is_published_while_nobody_consumes,
            measuring::case_07_of_long_messages_fewer_are_held_so_that_their_bytes_have_a_bound,
            measuring::case_38_the_depth_of_a_queue_is_what_waits_in_it_and_nobody_holds,
            measuring::case_38_in_a_queue_that_there_is_not_nothing_waits_and_others_are_measured_all_the_same,
            measuring::case_38_a_transport_that_was_closed_measures_nothing,
        }
    };
}

/// The same of the loops that consume. They are the same code over either transport.
macro_rules! loops {
    ($make:ident, $subject:ty) => {
        $crate::cases::$make! { $subject,
            loops::case_05_every_event_is_handled_by_one_of_those_who_compete_for_it,
            batches::case_05_every_listener_hears_every_event,
            own_types::case_05_an_event_of_ones_own_type_is_done_by_one_who_competes_and_heard_by_all_who_listen,
            own_types::case_05_who_listens_hears_all_that_is_said_from_when_the_status_is_good,
            loops::case_07_a_consumer_has_more_in_hand_while_it_is_quick_and_gives_it_away_when_it_is_not,
            loops::case_08_an_event_whose_consumer_died_is_given_to_the_next_one,
            loops::case_09_a_handler_that_panics_sets_its_event_aside_and_goes_on,
            batches::case_09_batches_bring_every_event_unknown_ones_too_and_set_aside_what_is_none,
            batches::case_09_what_can_never_be_handled_is_set_aside_alone_and_all_the_rest_is_handled,
            loops::case_10_shutdown_finishes_what_is_in_the_handler_and_hands_back_the_rest,
            retrying::case_21_an_event_to_be_retried_comes_after_its_delay_and_only_to_the_queue_where_it_failed,
            retrying::case_21_a_short_delay_of_an_event_is_not_held_up_by_a_long_one,
            loops::case_22_an_event_that_waits_for_what_is_away_is_given_again_at_no_attempts_cost,
            retrying::case_22_the_attempts_are_counted_over_the_retries_one_by_one,
            loops::case_23_what_is_rejected_or_not_understood_is_set_aside_with_its_reason_and_bytes,
            retrying::case_23_an_event_whose_attempts_are_used_up_is_a_dead_letter_with_all_that_it_was,
            crash_loops::case_24_of_one_process_that_a_message_crashes_every_other_message_is_done,
            crash_loops::case_24_of_three_processes_that_a_message_crashes_every_other_message_is_done,
            crash_loops::case_24_what_other_queues_of_a_process_gave_is_done_although_a_message_crashes_it,
            crash_loops::case_24_a_suspect_is_executed_when_nothing_else_is_in_the_whole_process_and_little_is_held,
            crash_loops::case_24_a_message_that_was_delivered_ten_times_is_executed_alone_and_nothing_else_is_held,
            crash_loops::case_24_a_suspect_that_comes_to_a_busy_consumer_waits_for_the_others_and_the_rest_goes_back,
            batches::case_24_what_crashes_whoever_takes_it_in_a_batch_is_set_aside_and_all_the_rest_is_handled,
            crash_loops::case_24_a_message_that_was_delivered_twenty_times_is_set_aside_unexecuted,
            retrying::case_25_what_the_dead_letters_do_not_take_is_kept_until_they_do,
            retrying::case_26_a_dead_letter_that_is_replayed_comes_as_if_for_the_first_time_and_only_to_its_queue,
            retrying::case_26_a_task_that_is_replayed_is_the_same_task_in_the_next_round,
            batches::case_26_what_is_replayed_to_the_statistics_and_fails_again_is_the_dead_letter_of_the_next_round,
            retrying::case_26_a_dead_letter_of_no_work_queue_cannot_be_replayed,
            batches::case_26_a_fence_comes_behind_everything_that_was_confirmed_before_it_in_both_queues,
        }
    };
}

/// Need one that nobody else uses, because they block or kill it.
macro_rules! alone {
    ($make:ident, $subject:ty) => {
        $crate::cases::$make! { $subject,
            faults::case_13_what_is_confirmed_survives_a_kill_exactly_and_undamaged,
            faults::case_13_what_is_confirmed_survives_a_kill_also_in_a_queue_that_is_new,
            publishing::case_17_a_publish_that_cannot_be_confirmed_is_unknown_when_its_patience_ends,
            publishing::case_19_while_nothing_is_taken_producers_wait_and_what_they_gave_up_is_not_kept,
            publishing::case_19_of_long_messages_fewer_wait_so_that_their_bytes_have_a_bound,
            publishing::case_19_after_nothing_was_taken_for_long_it_goes_on_at_once,
            faults::case_20_while_nothing_is_taken_consumers_go_on_and_acknowledge,
            measuring::case_38_while_nothing_is_taken_the_depth_is_told,
            faults::case_30_over_kills_in_mid_traffic_nothing_confirmed_is_lost,
        }
    };
}

/// Need someone else's client.
macro_rules! foreign {
    ($make:ident, $subject:ty) => {
        $crate::cases::$make! { $subject,
            acknowledging::case_12_an_acknowledgement_of_a_lost_session_is_an_error,
            publishing::case_15_exactly_the_messages_that_a_full_queue_refuses_are_errors_whoever_else_publishes,
            publishing::case_16_a_message_that_one_of_two_queues_refuses_is_an_error_and_comes_twice_when_sent_again,
            retrying::case_25_what_comes_when_the_queue_of_dead_letters_is_gone_is_kept_until_there_is_one,
            delivering::case_29_a_subscription_that_the_broker_ended_is_an_error_and_is_built_anew,
        }
    };
}

/// Need a network.
macro_rules! network {
    ($make:ident, $subject:ty) => {
        $crate::cases::$make! { $subject,
            publishing::case_17_a_publish_to_nobody_is_unknown_when_its_patience_ends,
            faults::case_31_a_peer_that_falls_silent_is_noticed_within_three_heartbeats,
            faults::case_32_a_peer_that_accepts_and_says_nothing_does_not_hold_us,
        }
    };
}

/// A test of each case.
macro_rules! as_tests {
    ($subject:ty, $($group:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                $crate::kit::show_log_of_failures();
                let case = Box::pin(crate::$group::$case::<$subject>());
                tokio::time::timeout($crate::cases::CASE_TIMEOUT, case).await.expect("it hangs");
            }
        )+
    };
}

/// The cases as values.
macro_rules! as_list {
    ($subject:ty, $($group:ident::$case:ident),+ $(,)?) => {
        [$({
            let case: $crate::cases::Case = (stringify!($case), || Box::pin(crate::$group::$case::<$subject>()));
            case
        }),+]
    };
}

pub(crate) use {alone, as_list, as_tests, foreign, loops, network, shared};
