//! Any order, any repetition, any batches: the same record.

use bus::events::ObjectId;
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use statistics::record::durations::{bucket, middle_us};

use crate::support::{AnEvent, Execution, Fixture, Work};

/// How often a task of a history is executed, at most.
const EXECUTIONS: usize = 3;

fn execution() -> impl Strategy<Value = Execution> {
    (0..2u32, 1..3u32, "p[1-3]", 1000..1100i64, 0..50i64, prop::bool::weighted(0.7)).prop_map(
        |(round, attempt, processor, started_ms, took_ms, succeeded)| Execution {
            round,
            attempt,
            processor,
            started_ms,
            took_ms,
            succeeded,
        },
    )
}

fn work() -> impl Strategy<Value = Work> {
    let words = "[abc]( [abcd]){0,6}".prop_map(|text| Work::words(&text, 1));
    let nop = vec(0..100u32, 0..6).prop_map(|data| Work::nop(json!(data), 1));
    (any::<u128>(), 1..4u32, prop_oneof![words, nop]).prop_map(|(id, parts, work)| Work {
        id: id_of(id),
        parts,
        ..work
    })
}

fn id_of(number: u128) -> ObjectId {
    let digits = format!("{number:032x}");
    digits.parse().unwrap()
}

/// A work with the executions of each of its tasks, at least one; created again at another time.
fn history() -> impl Strategy<Value = Vec<AnEvent>> {
    let executions = vec(vec(execution(), 1..=EXECUTIONS), 3);
    (work(), executions, 990..1000i64, 990..1000i64).prop_map(|(work, executions, created_ms, again_ms)| {
        let mut events = vec![work.created(created_ms), work.created(again_ms)];
        for part in 0..work.parts {
            events.push(work.split_off(part, created_ms));
            events.push(work.split_off(part, again_ms));
            for execution in &executions[part as usize] {
                events.push(work.started(part, execution));
                events.push(work.finished(part, execution));
            }
        }
        events
    })
}

/// The events of some objects; and the same, some twice, in another order.
fn histories() -> impl Strategy<Value = (Vec<AnEvent>, Vec<AnEvent>)> {
    vec(history(), 1..4).prop_map(|histories| histories.concat()).prop_flat_map(|events| {
        let repeated = prop::sample::subsequence(events.clone(), 0..=events.len());
        repeated.prop_flat_map(move |repeated| {
            let all = [events.clone(), repeated].concat();
            (Just(events.clone()), Just(all).prop_shuffle())
        })
    })
}

async fn merged(events: &[AnEvent], batches: &[usize]) -> Fixture {
    let fixture = Fixture::new().await;
    let mut rest = events;
    for size in batches.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, others) = rest.split_at((*size).min(rest.len()));
        fixture.record.merge(batch).await.unwrap();
        rest = others;
    }
    fixture
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_repetition_and_batches_give_the_same_record(
        (events, shuffled) in histories(), batches in vec(1..12usize, 1..5)
    ) {
        block_on(async {
            let orderly = merged(&events, &[events.len()]).await;
            let wild = merged(&shuffled, &batches).await;
            assert_eq!(orderly.contents().await, wild.contents().await);
            for fixture in [orderly, wild] {
                assert_eq!(fixture.number("SELECT count(*) FROM objects WHERE status = 'open'").await, 0);
                assert_figures_are_a_recount(&fixture).await;
                assert_totals_are_those_of_the_results(&fixture).await;
            }
        });
    }

    #[test]
    fn at_every_moment_the_figures_are_what_counting_the_rows_gives(
        (_, shuffled) in histories(), cut in 0.0..1.0f64
    ) {
        block_on(async {
            let until = (shuffled.len() as f64 * cut) as usize;
            assert_figures_are_a_recount(&merged(&shuffled[..until], &[3]).await).await;
        });
    }
}

async fn assert_figures_are_a_recount(fixture: &Fixture) {
    let running = fixture.rows(
        "SELECT json_array(operation, objects_created, objects_succeeded, objects_failed, objects_timed_out, objects_s,
                           objects_us, tasks_distributed, tasks_in_progress, tasks_succeeded, tasks_failed, tasks_s,
                           tasks_us)
         FROM figures ORDER BY operation").await;
    let counted = fixture
        .rows(
            "SELECT json_array(operation, sum(created), sum(succeeded), sum(failed), 0, sum(o_s), sum(o_us),
                           sum(distributed), sum(in_progress), sum(processed), sum(t_failed), sum(t_s), sum(t_us))
         FROM (SELECT operation, 1 AS created, status = 'succeeded' AS succeeded, status = 'failed' AS failed,
                      coalesce(duration / 1000000, 0) AS o_s, coalesce(duration % 1000000, 0) AS o_us,
                      0 AS distributed, 0 AS in_progress, 0 AS processed, 0 AS t_failed, 0 AS t_s, 0 AS t_us
               FROM objects
               UNION ALL
               SELECT operation, 0, 0, 0, 0, 0, 1, started_at IS NOT NULL AND outcome IS NULL,
                      outcome IS 'succeeded', outcome IS 'failed',
                      coalesce(duration / 1000000, 0), coalesce(duration % 1000000, 0)
               FROM tasks)
         GROUP BY operation ORDER BY operation",
        )
        .await;
    assert_eq!(running, counted);

    let running = fixture
        .rows(
            "SELECT json_array(processor, tasks_in_progress, tasks_succeeded, tasks_failed, tasks_s, tasks_us)
         FROM processor_figures
         WHERE tasks_in_progress + tasks_succeeded + tasks_failed > 0 ORDER BY processor",
        )
        .await;
    let counted = fixture
        .rows(
            "SELECT json_array(coalesce(processor, started_by), sum(outcome IS NULL), sum(outcome IS 'succeeded'),
                           sum(outcome IS 'failed'), sum(coalesce(duration / 1000000, 0)),
                           sum(coalesce(duration % 1000000, 0)))
         FROM tasks WHERE started_at IS NOT NULL OR outcome IS NOT NULL
         GROUP BY coalesce(processor, started_by) ORDER BY coalesce(processor, started_by)",
        )
        .await;
    assert_eq!(running, counted);

    let running = fixture
        .rows("SELECT json_array(kind, operation, bucket, middle_us, count) FROM durations WHERE count <> 0")
        .await;
    let spans: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT 'task', operation, duration FROM tasks WHERE duration IS NOT NULL
         UNION ALL SELECT 'object', operation, duration FROM objects WHERE duration IS NOT NULL",
    )
    .fetch_all(&mut fixture.reader().await)
    .await
    .unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for (kind, operation, span) in spans {
        *counts.entry((kind, operation, bucket(span))).or_insert(0) += 1;
    }
    let counted: Vec<String> = counts
        .into_iter()
        .map(|((kind, operation, bucket), count)| {
            json!([kind, operation, bucket, middle_us(bucket), count]).to_string()
        })
        .collect();
    assert_eq!(running, counted);
}

async fn assert_totals_are_those_of_the_results(fixture: &Fixture) {
    let totals = fixture.rows("SELECT json_array(name, count) FROM totals ORDER BY name").await;
    let results = fixture
        .rows(
            "SELECT json_array(word.key, sum(word.value))
         FROM objects, json_each(objects.result) AS word
         WHERE operation = 'word-frequencies' AND status = 'succeeded'
         GROUP BY word.key ORDER BY word.key",
        )
        .await;
    assert_eq!(totals, results);
}
