//! Objects that are due.

use bus::events::{ObjectFinished, ObjectOutcome};

use crate::support::{Execution, Fixture, Work, topology};

/// After everything that is due in these tests.
const LATER: i64 = i64::MAX;

async fn status(fixture: &Fixture) -> Vec<String> {
    fixture.rows("SELECT status || revision FROM objects").await
}

async fn announced(fixture: &Fixture) -> Vec<ObjectFinished> {
    let rows = fixture.rows("SELECT event FROM outbox WHERE kind = 'event' ORDER BY id").await;
    rows.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// One of two parts is done, and the object has timed out.
async fn timed_out(work: &Work) -> Fixture {
    let fixture = Fixture::new().await;
    let events = [work.created(1000), work.split_off(0, 1), work.split_off(1, 1), work.finished(0, &Execution::ok())];
    fixture.record.merge(&events).await.unwrap();
    let merged = fixture.record.time_out(LATER).await.unwrap();
    assert_eq!((merged.closed, merged.announced), (vec![work.id], 1));
    fixture
}

#[tokio::test]
async fn an_open_object_that_is_due_times_out_and_tells_what_is_missing() {
    let work = Work::words("a b", 2);
    let fixture = timed_out(&work).await;
    assert_eq!(status(&fixture).await, ["timed_out0"]);
    let event = announced(&fixture).await.remove(0);
    let ObjectOutcome::TimedOut(errors) = event.outcome else { panic!("{event:?}") };
    assert_eq!((errors[0].part, errors[0].error.as_str()), (Some(1), "not started"));
    assert!(errors[1].part.is_none() && errors[1].error.contains("1 of 2 parts"), "{errors:?}");
    for (figure, expected) in [("objects timed out", 1), ("objects in progress", 0), ("objects created", 1)] {
        let rows = fixture.rows("SELECT json_array(figure, value) FROM statistics").await;
        assert!(rows.contains(&format!("[{figure:?},{expected}]")), "{rows:?}");
    }
    assert!(fixture.record.time_out(LATER).await.unwrap().closed.is_empty(), "once");
}

#[tokio::test]
async fn what_is_not_due_or_closed_stays_as_it_is() {
    let fixture = Fixture::new().await;
    let (open, done) = (Work::words("a", 1), Work::words("b", 1));
    let before = bus::now().as_microsecond();
    let merged = fixture.record.merge(&[vec![open.created(1000)], done.life()].concat()).await.unwrap();
    let due = fixture.record.next_due().await.unwrap().unwrap();
    assert_eq!(merged.due_at, Some(due));
    assert!(due >= before + 3_600_000_000, "an hour from when it was heard of, and not from when it was created");
    assert!(fixture.record.time_out(due - 1).await.unwrap().closed.is_empty());
    // Told again, it is due when it was.
    fixture.record.merge(&[open.created(999)]).await.unwrap();
    assert_eq!(fixture.record.next_due().await.unwrap(), Some(due));
    assert_eq!(fixture.record.time_out(due).await.unwrap().closed, [open.id]);
    assert_eq!(fixture.record.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn an_object_of_which_nothing_came_was_never_split() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge(&[work.created(1000)]).await.unwrap();
    fixture.record.time_out(LATER).await.unwrap();
    let event = announced(&fixture).await.remove(0);
    let ObjectOutcome::TimedOut(errors) = event.outcome else { panic!("{event:?}") };
    assert!(errors.len() == 1 && errors[0].error.contains("never split"), "{errors:?}");
}

#[tokio::test]
async fn what_comes_later_is_recorded_and_changes_nothing_that_was_announced() {
    let work = Work::words("a b", 2);
    let fixture = timed_out(&work).await;
    let late = Execution { processor: "p9".to_owned(), ..Execution::ok() };
    let merged = fixture.record.merge(&[work.started(1, &late), work.finished(1, &late)]).await.unwrap();
    assert_eq!((merged.closed.len(), merged.announced), (0, 0));
    fixture.record.merge(&work.life()).await.unwrap();
    fixture.record.merge_dead_letters(&[work.dead_object(0, 5000)], &topology()).await.unwrap();
    assert_eq!(status(&fixture).await, ["timed_out0"]);
    assert_eq!(announced(&fixture).await.len(), 1);
    assert_eq!(fixture.number("SELECT count(*) FROM tasks WHERE outcome = 'succeeded'").await, 2);
    assert_eq!(fixture.number("SELECT count(*) FROM partials").await, 2);
    assert_eq!(fixture.number("SELECT count(*) FROM totals").await, 0);
}

#[tokio::test]
async fn a_replay_by_which_all_parts_succeed_turns_it() {
    let work = Work::words("a b", 2);
    let fixture = timed_out(&work).await;
    let failed = Execution { round: 1, ..Execution::failed() };
    fixture.record.merge(&[work.finished(1, &failed)]).await.unwrap();
    assert_eq!(status(&fixture).await, ["timed_out0"], "all are final, and one failed");
    fixture.record.merge(&[work.finished(1, &Execution { round: 2, ..Execution::ok() })]).await.unwrap();
    assert_eq!(status(&fixture).await, ["succeeded1"]);
    assert_eq!(fixture.rows("SELECT name || count FROM totals ORDER BY name").await, ["a1", "b1"]);
    assert_eq!(announced(&fixture).await.len(), 2);
    assert_eq!(fixture.number("SELECT value FROM statistics WHERE figure = 'objects timed out'").await, 0);
    assert_eq!(fixture.number("SELECT count(*) FROM objects WHERE error IS NOT NULL").await, 0);
}

#[tokio::test]
async fn an_object_that_was_never_split_turns_when_its_splitting_is_replayed() {
    let fixture = Fixture::new().await;
    let work = Work::words("a", 1);
    fixture.record.merge(&[work.created(1000)]).await.unwrap();
    fixture.record.time_out(LATER).await.unwrap();
    fixture.record.merge_dead_letters(&[work.dead_object(0, 5000)], &topology()).await.unwrap();
    let id = fixture.rows("SELECT id FROM dead_letters").await.remove(0);
    fixture.record.replay_dead_letter(&id).await.unwrap();
    fixture.record.merge(&work.life()).await.unwrap();
    assert_eq!(status(&fixture).await, ["succeeded1"]);
}

#[tokio::test]
async fn more_than_are_closed_at_once_are_closed_one_after_another() {
    let fixture = Fixture::new().await;
    let created: Vec<_> = (0..250).map(|_| Work::nop(1.into(), 1).created(1000)).collect();
    fixture.record.merge(&created).await.unwrap();
    let mut closed = 0;
    while let count @ 1.. = fixture.record.time_out(LATER).await.unwrap().closed.len() {
        closed += count;
    }
    assert_eq!(closed, 250);
    assert_eq!(announced(&fixture).await.len(), 250);
}
