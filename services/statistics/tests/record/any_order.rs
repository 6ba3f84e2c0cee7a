//! Any order, any repetition, any batches: the same record.

use bus::{DeadLetter, events::ObjectId};
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use statistics::record::durations::{bucket, middle_us};

use crate::support::{AnEvent, Execution, Fixture, Work, now, topology};

/// What the record is told.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are some dozens of them")]
enum Told {
    Event(AnEvent),
    Dead(DeadLetter),
}

/// How long things are kept: not as long as the creation of an object is waited for.
const HALF_AN_HOUR_US: i64 = 1_800_000_000;

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

/// Deaths of something: part, if it has some, round and time.
fn deaths() -> impl Strategy<Value = Vec<(u32, u32, i64)>> {
    vec((0..3u32, 0..3u32, 1000..1200i64), 0..3)
}

/// A work with the executions of each of its tasks, at least one; created again at another time; and what of it was set
/// aside.
fn history() -> impl Strategy<Value = Vec<Told>> {
    let executions = vec(vec(execution(), 1..=EXECUTIONS), 3);
    let times = (990..1000i64, 990..1000i64);
    (work(), executions, times, deaths(), deaths()).prop_map(|(work, executions, times, of_tasks, of_object)| {
        let (created_ms, again_ms) = times;
        let dead_tasks = of_tasks.into_iter().map(|(part, round, at)| work.dead_task(part % work.parts, round, at));
        let dead_objects = of_object.into_iter().map(|(_, round, at)| work.dead_object(round, at));
        let dead: Vec<Told> = dead_tasks.chain(dead_objects).map(Told::Dead).collect();
        let mut events = vec![work.created(created_ms), work.created(again_ms)];
        for part in 0..work.parts {
            events.push(work.split_off(part, created_ms));
            events.push(work.split_off(part, again_ms));
            for execution in &executions[part as usize] {
                events.push(work.started(part, execution));
                events.push(work.finished(part, execution));
            }
        }
        events.into_iter().map(Told::Event).chain(dead).collect()
    })
}

/// The events of some objects; and the same, some twice, in another order.
fn histories() -> impl Strategy<Value = (Vec<Told>, Vec<Told>)> {
    some_twice_in_any_order(vec(history(), 1..4).prop_map(|histories| histories.concat()))
}

fn some_twice_in_any_order(events: impl Strategy<Value = Vec<Told>>) -> impl Strategy<Value = (Vec<Told>, Vec<Told>)> {
    events.prop_flat_map(|events| {
        let repeated = prop::sample::subsequence(events.clone(), 0..=events.len());
        repeated.prop_flat_map(move |repeated| {
            let all = [events.clone(), repeated].concat();
            (Just(events.clone()), Just(all).prop_shuffle())
        })
    })
}

/// As [`histories`], but each task is executed once: when an object has finished, nothing new is told of it.
fn short_lives() -> impl Strategy<Value = (Vec<Told>, Vec<Told>)> {
    let life = (work(), vec(execution(), 3), 990..1000i64).prop_map(|(work, executions, created_ms)| {
        let mut events = vec![work.created(created_ms)];
        for (part, execution) in (0..work.parts).zip(&executions) {
            events.push(work.split_off(part, created_ms));
            events.push(work.started(part, execution));
            events.push(work.finished(part, execution));
        }
        events.into_iter().map(Told::Event).collect::<Vec<_>>()
    });
    some_twice_in_any_order(vec(life, 1..4).prop_map(|lives| lives.concat()))
}

async fn merged(told: &[Told], batches: &[usize]) -> Fixture {
    merged_and_pruned(told, batches, &[false]).await
}

/// After each batch, everything that has finished is pruned or not.
async fn merged_and_pruned(told: &[Told], batches: &[usize], prunes: &[bool]) -> Fixture {
    let fixture = Fixture::new().await;
    let mut rest = told;
    for (size, prune) in batches.iter().cycle().zip(prunes.iter().cycle()) {
        if rest.is_empty() {
            break;
        }
        let (batch, others) = rest.split_at((*size).min(rest.len()));
        let (events, letters) = by_kind(batch);
        fixture.record.merge(&events).await.unwrap();
        fixture.record.merge_dead_letters(&letters, &topology()).await.unwrap();
        if *prune {
            fixture.record.prune(now() + HALF_AN_HOUR_US, HALF_AN_HOUR_US).await.unwrap();
        }
        rest = others;
    }
    fixture
}

fn by_kind(told: &[Told]) -> (Vec<AnEvent>, Vec<DeadLetter>) {
    let (mut events, mut letters) = (Vec::new(), Vec::new());
    for told in told.iter().cloned() {
        match told {
            Told::Event(event) => events.push(event),
            Told::Dead(letter) => letters.push(letter),
        }
    }
    (events, letters)
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
    fn pruning_at_any_moment_changes_no_figure_however_often_and_late_events_come_again(
        (events, shuffled) in short_lives(), batches in vec(1..12usize, 1..5), prunes in vec(any::<bool>(), 1..7)
    ) {
        block_on(async {
            let plain = merged(&events, &[events.len()]).await;
            let pruned = merged_and_pruned(&shuffled, &batches, &prunes).await;
            assert_eq!(pruned.figures().await, plain.figures().await);
            // All of it once more, when all of it has gone.
            pruned.record.prune(now() + HALF_AN_HOUR_US, HALF_AN_HOUR_US).await.unwrap();
            assert_eq!(pruned.contents_but_totals().await, Vec::<String>::new());
            assert_eq!(pruned.rows("SELECT processor FROM processor_figures").await, ["(others)"]);
            let (events, _) = by_kind(&shuffled);
            assert_eq!(pruned.record.merge(&events).await.unwrap().late, shuffled.len());
            assert_eq!(pruned.figures().await, plain.figures().await);
            assert_eq!(pruned.contents_but_totals().await, Vec::<String>::new());
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
            "SELECT json_array(operation, sum(created), sum(succeeded), sum(failed), sum(timed_out), sum(o_s), sum(o_us),
                           sum(distributed), sum(in_progress), sum(processed), sum(t_failed), sum(t_s), sum(t_us))
         FROM (SELECT operation, 1 AS created, status = 'succeeded' AS succeeded, status = 'failed' AS failed,
                      status = 'timed_out' AS timed_out,
                      coalesce(duration / 1000000, 0) AS o_s, coalesce(duration % 1000000, 0) AS o_us,
                      0 AS distributed, 0 AS in_progress, 0 AS processed, 0 AS t_failed, 0 AS t_s, 0 AS t_us
               FROM objects
               UNION ALL
               SELECT operation, 0, 0, 0, 0, 0, 0, 1, started_at IS NOT NULL AND outcome IS NULL,
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
            "SELECT json_array(who, sum(outcome IS NULL), sum(outcome IS 'succeeded'), sum(outcome IS 'failed'),
                           sum(coalesce(duration / 1000000, 0)), sum(coalesce(duration % 1000000, 0)))
         FROM (SELECT iif(outcome IS NULL, started_by, processor) AS who, outcome, duration FROM tasks)
         WHERE who IS NOT NULL GROUP BY who ORDER BY who",
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
