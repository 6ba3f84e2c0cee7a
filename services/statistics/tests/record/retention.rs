//! What is pruned, what stays, and what comes too late.

use std::time::Duration;

use bus::{
    Message,
    events::{Json, TaskOutcome},
};
use serde_json::json;

use crate::{
    outbox,
    support::{AnEvent, Execution, Fixture, Work, dead_letter, eventually, failing_part, now, topology},
};

/// Microseconds.
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 86_400 * SECOND;

/// How many rows there are that pruning deletes.
const ROWS: &str = "
    SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM tasks) + (SELECT count(*) FROM partials)
         + (SELECT count(*) FROM split_failures) + (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM orphans)";

#[tokio::test]
async fn what_finished_long_ago_goes_with_all_that_belongs_to_it_and_the_figures_stay() {
    let fixture = Fixture::new().await;
    let (succeeded, failed) = (Work::words("a b a", 3), Work::words("a b", 2));
    fixture.record.merge(&succeeded.life()).await.unwrap();
    fixture.record.merge(&failing_part(&failed, 1)).await.unwrap();
    let figures = fixture.figures().await;

    let kept = fixture.record.prune(now(), DAY).await.unwrap();
    assert_eq!((kept.objects, kept.more), (0, false), "they finished just now");
    let pruned = fixture.record.prune(now() + DAY, DAY).await.unwrap();
    assert_eq!((pruned.objects, pruned.tombstones, pruned.more), (2, 0, false));
    assert_eq!(fixture.number(ROWS).await, 0);
    assert_eq!(fixture.number("SELECT count(*) FROM pruned").await, 2);
    assert_eq!(fixture.figures().await, figures);
    assert_eq!(fixture.number("SELECT count(*) FROM outbox").await, 2, "what was to be announced still is");
}

#[tokio::test]
async fn when_a_clock_of_a_processor_is_wrong_by_years_nothing_goes_early() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    // All of its life is in 1970.
    fixture.record.merge(&work.life()).await.unwrap();
    fixture.record.prune(now(), SECOND).await.unwrap();
    assert_eq!(fixture.number("SELECT count(*) FROM objects").await, 1);
}

#[tokio::test]
async fn an_open_object_stays_however_old_it_is() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b", 2);
    fixture.record.merge(&work.life()[..5]).await.unwrap();
    let before = fixture.contents().await;
    let pruned = fixture.record.prune(now() + 10_000 * DAY, SECOND).await.unwrap();
    assert_eq!((pruned.objects, pruned.more), (0, false));
    assert_eq!(fixture.contents().await, before);
    fixture.record.merge(&work.life()).await.unwrap();
    assert_eq!(fixture.rows("SELECT status FROM objects").await, ["succeeded"]);
}

#[tokio::test]
async fn what_comes_about_a_pruned_object_is_counted_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let (gone, other) = (Work::words("a b", 2), Work::words("b", 1));
    fixture.record.merge(&gone.life()).await.unwrap();
    fixture.record.prune(now() + DAY, DAY).await.unwrap();
    let figures = fixture.figures().await;

    let merged = fixture.record.merge(&gone.life()).await.unwrap();
    assert_eq!((merged.late, merged.closed, merged.announced), (gone.life().len(), vec![], 0));
    assert_eq!(fixture.number(ROWS).await, 0);
    assert_eq!(fixture.figures().await, figures);
    // Whatever else is in the same batch is merged.
    let batch = [gone.life(), other.life()].concat();
    let merged = fixture.record.merge(&batch).await.unwrap();
    assert_eq!((merged.late, merged.closed), (gone.life().len(), vec![other.id]));
}

#[tokio::test]
async fn a_tombstone_goes_after_as_long_again() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge(&work.life()).await.unwrap();
    let at = now() + DAY;
    fixture.record.prune(at, DAY).await.unwrap();
    assert_eq!(fixture.record.pruned_at(work.id).await.unwrap(), Some(at));
    assert_eq!(fixture.record.prune(at + DAY - 1, DAY).await.unwrap().tombstones, 0);
    assert_eq!(fixture.record.prune(at + DAY, DAY).await.unwrap().tombstones, 1);
    assert_eq!(fixture.record.pruned_at(work.id).await.unwrap(), None);
}

#[tokio::test]
async fn an_object_of_hundreds_of_parts_goes_in_short_portions() {
    let fixture = Fixture::new().await;
    let work = Work::nop(json!(vec!["x"; 400]), 400);
    let life = work.life();
    for part in life.chunks(1000) {
        fixture.record.merge(part).await.unwrap();
    }
    let mut portions = 0;
    loop {
        // However little time there is, something goes.
        let pruned = fixture.record.prune_for(Duration::ZERO, now() + DAY, DAY).await.unwrap();
        portions += 1;
        if !pruned.more {
            break;
        }
        // As soon as it has begun, the object is gone for everybody, and what comes about it is late.
        assert!(fixture.record.object(work.id).await.unwrap().is_none());
        assert_eq!(fixture.record.merge(&life[..1]).await.unwrap().late, 1);
    }
    // Twice as many rows as parts, a hundred at a time.
    assert!((8..12).contains(&portions), "{portions} portions");
    assert_eq!(fixture.number(ROWS).await, 0);
}

#[tokio::test]
async fn a_replay_that_succeeds_lets_the_time_begin_anew() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b", 2);
    fixture.record.merge(&failing_part(&work, 1)).await.unwrap();
    let first = fixture.number("SELECT closed_at FROM objects").await;
    let replayed = work.finished(1, &Execution { round: 1, ..Execution::ok() });
    fixture.record.merge(&[replayed]).await.unwrap();
    assert_eq!(fixture.rows("SELECT status FROM objects").await, ["succeeded"]);
    assert!(fixture.number("SELECT closed_at FROM objects").await > first);
}

#[tokio::test]
async fn what_is_replayed_has_as_long_again_for_what_comes_of_it() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b", 2);
    fixture.record.merge(&failing_part(&work, 1)).await.unwrap();
    fixture.record.merge_dead_letters(&[work.dead_task(1, 0, 2000)], &topology()).await.unwrap();
    let ids = fixture.rows("SELECT id FROM dead_letters").await;
    fixture.record.replay_dead_letter(&ids[0]).await.unwrap();
    let replayed_at = fixture.number("SELECT settled_at FROM dead_letters").await;
    // Its time would be over, and it was replayed just before that.
    fixture.tamper("UPDATE objects SET closed_at = closed_at - ?1", DAY.to_string()).await;
    assert_eq!(fixture.record.prune(replayed_at + DAY - 1, DAY).await.unwrap().objects, 0);
    assert_eq!(fixture.record.prune(replayed_at + DAY, DAY).await.unwrap().objects, 1);
}

#[tokio::test]
async fn tasks_that_never_ended_are_not_in_progress_when_their_object_is_gone() {
    let fixture = Fixture::new().await;
    let (work, other) = (Work::words("a b", 2), Work::words("c", 1));
    // Created, split and started, but not ended.
    fixture.record.merge(&[&work.life()[..3], &work.life()[4..6], &other.life()[..3]].concat()).await.unwrap();
    let in_progress = "SELECT sum(tasks_in_progress) FROM figures";
    assert_eq!(fixture.number(in_progress).await, 3);
    let closed = "UPDATE objects SET closed_at = 1, status = 'timed_out' WHERE id = ?1";
    assert_eq!(fixture.tamper(closed, work.id.to_string()).await, 1);
    assert_eq!(fixture.record.prune(now() + DAY, DAY).await.unwrap().objects, 1);
    assert_eq!(fixture.number("SELECT count(*) FROM tasks").await, 1);
    assert_eq!(fixture.number(in_progress).await, 1);
    assert_eq!(fixture.number("SELECT sum(tasks_in_progress) FROM processor_figures").await, 1);
}

#[tokio::test]
async fn what_is_known_of_an_object_that_never_came_goes_too_and_nothing_brings_it_back() {
    let fixture = Fixture::new().await;
    let (ended, started, unsplit) = (Work::words("a b", 2), Work::words("c", 1), Work::words("d", 1));
    let events = [&ended.life()[1..], &started.life()[1..3]].concat();
    fixture.record.merge(&events).await.unwrap();
    let dead = [started.dead_task(0, 1, 2000), unsplit.dead_object(0, 2000)];
    fixture.record.merge_dead_letters(&dead[1..], &topology()).await.unwrap();
    let in_progress = "SELECT sum(tasks_in_progress) FROM figures";
    assert_eq!(fixture.number(in_progress).await, 1);

    assert_eq!(fixture.record.prune(now(), DAY).await.unwrap().orphans, 0, "they came just now");
    let pruned = fixture.record.prune(now() + DAY, DAY).await.unwrap();
    assert_eq!((pruned.objects, pruned.orphans, pruned.more), (0, 3, false));
    assert_eq!(fixture.number(ROWS).await, 0);
    assert_eq!(fixture.number(in_progress).await, 0);
    let figures = fixture.figures().await;
    assert_eq!(fixture.number("SELECT tasks_distributed + tasks_succeeded FROM figures").await, 3 + 2);

    let events = [ended.life(), started.life(), unsplit.life()].concat();
    assert_eq!(fixture.record.merge(&events).await.unwrap().late, events.len());
    assert_eq!(fixture.number(ROWS).await, 0);
    // A dead letter is never refused, but nothing follows from it, and it goes, too.
    fixture.record.merge_dead_letters(&dead, &topology()).await.unwrap();
    assert_eq!(fixture.number("SELECT count(*) FROM dead_letters").await, 2);
    assert_eq!(fixture.record.prune(now() + 2 * DAY, DAY).await.unwrap().orphans, 2);
    assert_eq!(fixture.number(ROWS).await, 0);
    assert_eq!(fixture.figures().await, figures);
}

#[tokio::test]
async fn what_overtook_the_creation_of_its_object_stays_with_it() {
    let fixture = Fixture::new().await;
    let work = Work::words("a b", 2);
    fixture.record.merge(&work.life()[1..5]).await.unwrap();
    assert_eq!(fixture.number("SELECT count(*) FROM orphans").await, 1);
    fixture.record.merge(&[work.created(1000)]).await.unwrap();
    assert_eq!(fixture.number("SELECT count(*) FROM orphans").await, 0);
    assert_eq!(fixture.record.prune(now() + 10_000 * DAY, DAY).await.unwrap().orphans, 0);
    fixture.record.merge(&work.life()).await.unwrap();
    assert_eq!(fixture.rows("SELECT status FROM objects").await, ["succeeded"]);
}

#[tokio::test]
async fn however_short_things_are_kept_a_creation_is_waited_for_an_hour() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    let before = now();
    fixture.record.merge(&work.life()[1..]).await.unwrap();
    assert_eq!(fixture.record.prune(before + HOUR - 1, SECOND).await.unwrap().orphans, 0);
    fixture.record.merge(&[work.split_off(0, 1)]).await.unwrap();
    let since = fixture.number("SELECT heard_at FROM orphans").await;
    assert_eq!(fixture.record.prune(since + HOUR, SECOND).await.unwrap().orphans, 1, "since it was first heard of");
}

#[tokio::test]
async fn what_is_replayed_of_an_object_that_never_came_has_as_long_again() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge_dead_letters(&[work.dead_object(0, 2000)], &topology()).await.unwrap();
    let id = fixture.rows("SELECT id FROM dead_letters").await.remove(0);
    fixture.record.replay_dead_letter(&id).await.unwrap();
    let replayed_at = fixture.number("SELECT settled_at FROM dead_letters").await;
    fixture.tamper("UPDATE orphans SET heard_at = heard_at - ?1", DAY.to_string()).await;
    assert_eq!(fixture.record.prune(replayed_at + DAY - 1, DAY).await.unwrap().orphans, 0);
    assert_eq!(fixture.record.prune(replayed_at + DAY, DAY).await.unwrap().orphans, 1);
}

#[tokio::test]
async fn a_dead_letter_that_nobody_settles_goes_with_its_object_or_else_when_its_time_is_over() {
    let fixture = Fixture::new().await;
    let open = Work::words("a b", 2);
    fixture.record.merge(&[open.created(1000)]).await.unwrap();
    let garbage = Message { id: "garbage".to_owned(), body: "no event".into(), ..Message::default() };
    // Whatever it says itself of the time.
    let letters = [dead_letter(garbage, None, 0, 2000), open.dead_task(0, 0, 2000)];
    let before = now();
    fixture.record.merge_dead_letters(&letters, &topology()).await.unwrap();
    assert_eq!(fixture.record.prune(before + DAY - 1, DAY).await.unwrap().unclaimed, 0);
    assert_eq!(fixture.record.prune(now() + DAY, DAY).await.unwrap().unclaimed, 1);
    fixture.record.prune(now() + 10_000 * DAY, DAY).await.unwrap();
    assert_eq!(fixture.rows("SELECT object_id FROM dead_letters").await, [open.id.to_string()]);
}

/// The only task of an object whose operation nobody here knows.
fn of_another_operation(processor: &str) -> Vec<AnEvent> {
    let work = Work { operation: "made-up".parse().unwrap(), ..Work::nop(1.into(), 1) };
    let execution = Execution { processor: processor.to_owned(), ..Execution::ok() };
    let result = TaskOutcome::Succeeded(Json::of(&1).unwrap());
    vec![work.created(1000), work.started(0, &execution), work.ended(0, &execution, result)]
}

#[tokio::test]
async fn names_of_which_the_record_has_nothing_any_more_are_added_up() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    let by = |processor: &str| Execution { processor: processor.to_owned(), ..Execution::ok() };
    for round in 1..=2 {
        fixture.record.merge(&of_another_operation(&format!("start {round}"))).await.unwrap();
        fixture.record.merge(&[work.created(1000), work.started(0, &by("busy"))]).await.unwrap();
        let names = fixture.rows("SELECT processor FROM processor_figures ORDER BY processor").await;
        assert!(names.contains(&format!("start {round}")), "{names:?}");

        fixture.record.prune(now() + DAY, DAY).await.unwrap();
        let processors = "SELECT processor || ' ' || tasks_in_progress || ' ' || tasks_succeeded || ' ' || tasks_us
                          FROM processor_figures ORDER BY processor";
        assert_eq!(
            fixture.rows(processors).await,
            [format!("(others) 0 {round} {}", round * 10_000), "busy 1 0 0".to_owned()]
        );
        let operations = "SELECT operation || ' ' || objects_created || ' ' || objects_failed || ' ' || tasks_succeeded
                          FROM figures ORDER BY operation";
        let others = format!("(others) {round} {round} {round}");
        assert_eq!(fixture.rows(operations).await, [others.as_str(), "word-frequencies 1 0 0"]);
        let durations = "SELECT kind || ' ' || operation || ' ' || count FROM durations ORDER BY kind";
        assert_eq!(
            fixture.rows(durations).await,
            [format!("object (others) {round}"), format!("task (others) {round}")]
        );
    }
    // What a row counts for may still change: until then its name stays.
    fixture.record.merge(&[work.finished(0, &Execution { succeeded: false, ..by("busy") })]).await.unwrap();
    fixture.record.prune(now(), DAY).await.unwrap();
    fixture.record.merge(&[work.finished(0, &Execution { round: 1, ..by("other") })]).await.unwrap();
    fixture.record.prune(now(), DAY).await.unwrap();
    let processors = "SELECT processor || ' ' || tasks_succeeded || ' ' || tasks_failed
                      FROM processor_figures ORDER BY processor";
    assert_eq!(fixture.rows(processors).await, ["(others) 2 0", "other 1 0"]);
}

/// Ten times as much as is kept goes through: after the first lives of what is kept, the file does not grow.
#[tokio::test]
async fn in_a_steady_state_the_file_does_not_grow() {
    const ROUNDS: usize = 30;
    const WARM_UP: usize = 10;
    let fixture = Fixture::new().await;
    let announcing = outbox::run(&fixture, &[]);
    let mut sizes = Vec::new();
    for _ in 0..ROUNDS {
        let began = now();
        let lives: Vec<_> = (0..50).map(|_| Work::words(&"some words more ".repeat(20), 3).life()).collect();
        fixture.record.merge(&lives.concat()).await.unwrap();
        announcing.news.notify_one();
        let is_announced = async || fixture.number("SELECT count(*) FROM outbox").await == 0;
        eventually("it is announced", is_announced).await;
        // What was closed before this round goes, and tombstones a while later.
        while fixture.record.prune(began + SECOND / 10, SECOND / 10).await.unwrap().more {}
        sizes.push(fixture.number("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").await);
    }
    let (warm, last) = (sizes[WARM_UP..].iter().min().unwrap(), sizes[ROUNDS - 1]);
    assert!(last as f64 <= 1.05 * *warm as f64, "{sizes:?}");
}
