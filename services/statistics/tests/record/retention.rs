//! What is pruned, what stays, and what comes too late.

use std::time::Duration;

use serde_json::json;

use crate::{
    outbox,
    support::{Execution, Fixture, Work, eventually, failing_part, now, topology},
};

/// Microseconds.
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// How many rows there are that pruning deletes.
const ROWS: &str = "
    SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM tasks) + (SELECT count(*) FROM partials)";

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
