//! What is announced, and when it is forgotten.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bus::{
    PublishError,
    events::{Event, EventId, ObjectFinished, ObjectOutcome, ObjectResult},
};
use jiff::Timestamp;
use statistics::{Announce, Outbox, record::ToReplay};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    file::change,
    support::{Fixture, Work, eventually, failing_part, now, topology},
};

/// Microseconds.
const DAY: i64 = 86_400_000_000;

/// Remembers what it was given, and refuses what it is told to.
#[derive(Clone, Default)]
struct Remembers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    published: Vec<(EventId, Timestamp)>,
    /// Dead letters, and as of when.
    replayed: Vec<(ToReplay, Timestamp)>,
    /// Whether no queue gets dead letters.
    unroutable: bool,
    /// Whether results and long errors do not fit.
    too_long: bool,
    refuse: HashSet<usize>,
    calls: usize,
}

impl Announce for Remembers {
    async fn announce(&self, events: &[(ObjectFinished, Timestamp)]) -> Vec<Result<(), PublishError>> {
        let mut state = self.0.lock().unwrap();
        let State { published, refuse, calls, too_long, .. } = &mut *state;
        let publish = |(event, time): &(ObjectFinished, Timestamp)| {
            *calls += 1;
            if refuse.remove(calls) {
                return Err(PublishError::Refused);
            }
            let is_long = match &event.outcome {
                ObjectOutcome::Succeeded(result) => matches!(result, ObjectResult::Inline(_)),
                ObjectOutcome::Failed(errors) | ObjectOutcome::TimedOut(errors) => {
                    errors.len() > 1 || errors.iter().any(|error| error.error.chars().count() > 50)
                }
            };
            if *too_long && is_long {
                return Err(PublishError::TooLarge { bytes: 2, max: 1 });
            }
            published.push((event.id(), *time));
            Ok(())
        };
        events.iter().map(publish).collect()
    }

    async fn replay(&self, dead: &ToReplay, time: Timestamp) -> Result<(), PublishError> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        let call = state.calls;
        if state.refuse.remove(&call) {
            return Err(PublishError::Refused);
        }
        if state.unroutable {
            return Err(PublishError::Unroutable { routing_key: dead.message.routing_key.clone() });
        }
        state.replayed.push((dead.clone(), time));
        Ok(())
    }
}

pub struct Running {
    remembers: Remembers,
    pub news: Arc<Notify>,
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Announces until it is stopped; refuses these of what it is asked to, from 1.
pub fn run(fixture: &Fixture, refuse: &[usize]) -> Running {
    let remembers = Remembers::default();
    remembers.0.lock().unwrap().refuse.extend(refuse);
    let (news, end) = (Arc::new(Notify::new()), CancellationToken::new());
    let outbox = Outbox { record: Arc::clone(&fixture.record), announce: remembers.clone(), news: Arc::clone(&news) };
    let task = tokio::spawn(outbox.run(end.clone()));
    Running { remembers, news, end, task }
}

impl Running {
    fn published(&self) -> Vec<(EventId, Timestamp)> {
        self.remembers.0.lock().unwrap().published.clone()
    }

    async fn stop(self) {
        self.end.cancel();
        self.task.await.unwrap();
    }
}

async fn is_empty(fixture: &Fixture) -> bool {
    fixture.number("SELECT count(*) FROM outbox").await == 0
}

#[tokio::test]
async fn what_a_crash_left_is_announced_at_the_next_start_in_order() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        let lives: Vec<_> = (0..200).flat_map(|_| Work::nop(1.into(), 1).life()).collect();
        fixture.record.merge(&lives).await.unwrap();
    }
    let times = fixture.rows("SELECT CAST(time AS TEXT) FROM outbox ORDER BY id").await;
    let fixture = fixture.restarted().await;

    let running = run(&fixture, &[]);
    eventually("the outbox is empty", async || is_empty(&fixture).await).await;
    let published = running.published();
    assert_eq!(published.len(), 600);
    assert_eq!(published.iter().map(|(_, at)| at.as_microsecond().to_string()).collect::<Vec<_>>(), times);
    running.stop().await;
}

#[tokio::test]
async fn what_is_put_into_the_outbox_later_is_announced_when_it_is_told() {
    let fixture = Fixture::new().await;
    let running = run(&fixture, &[]);
    let merged = fixture.record.merge(&Work::nop(1.into(), 1).life()).await.unwrap();
    assert_eq!(merged.announced, 1);
    running.news.notify_one();
    eventually("it is announced", async || is_empty(&fixture).await).await;
    assert_eq!(running.published().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_confirmed_is_announced_again_the_same_and_nothing_else_is() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        fixture.record.merge(&Work::nop(1.into(), 1).life()).await.unwrap();
    }
    let running = run(&fixture, &[2, 4]);
    eventually("the outbox is empty", async || is_empty(&fixture).await).await;
    let published = running.published();
    assert_eq!(published.len(), 5);
    assert_eq!(published.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(), 5);
    running.stop().await;
}

#[tokio::test]
async fn what_was_announced_is_not_announced_again_however_long_it_cannot_be_deleted() {
    let fixture = Fixture::new().await;
    change(&fixture.path(), "CREATE TRIGGER t BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END").await;
    let running = run(&fixture, &[]);
    fixture.record.merge(&Work::nop(1.into(), 1).life()).await.unwrap();
    running.news.notify_one();
    eventually("it is announced", async || !running.published().is_empty()).await;
    fixture.record.merge(&Work::nop(1.into(), 1).life()).await.unwrap();
    // It tries again after half a second.
    let later = Instant::now() + Duration::from_secs(1);
    eventually("it was tried again", async || Instant::now() >= later).await;
    assert_eq!(running.published().len(), 1);
    change(&fixture.path(), "DROP TRIGGER t").await;
    eventually("the outbox is empty", async || is_empty(&fixture).await).await;
    assert_eq!(running.published().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn what_the_last_batch_closed_is_announced_before_the_end() {
    let fixture = Fixture::new().await;
    let running = run(&fixture, &[]);
    fixture.record.merge(&Work::nop(1.into(), 1).life()).await.unwrap();
    running.stop().await;
    assert!(is_empty(&fixture).await);
}

#[tokio::test]
async fn a_dead_letter_to_be_replayed_goes_as_it_was_once_confirmed_and_no_other_does() {
    let fixture = Fixture::new().await;
    let work = Work::nop(1.into(), 2);
    let letters = [work.dead_task(0, 0, 2000), work.dead_task(1, 0, 2000)];
    fixture.record.merge_dead_letters(&letters, &topology()).await.unwrap();
    let ids = fixture.rows("SELECT id FROM dead_letters ORDER BY number").await;
    fixture.record.replay_dead_letter(&ids[1]).await.unwrap();
    let running = run(&fixture, &[1]);
    eventually("it is replayed", async || is_empty(&fixture).await).await;
    let replayed = running.remembers.0.lock().unwrap().replayed.clone();
    let [(dead, at)] = &replayed[..] else { panic!("{replayed:?}") };
    assert_eq!((&dead.message, Some(&dead.queue)), (&letters[1].message, letters[1].queue.as_ref()));
    let settled_at = fixture.number("SELECT settled_at FROM dead_letters WHERE state = 'replayed'").await;
    assert_eq!(at.as_microsecond(), settled_at, "the same each time");
    running.stop().await;
}

#[tokio::test]
async fn what_can_never_be_a_message_again_holds_up_no_other() {
    let fixture = Fixture::new().await;
    let work = Work::nop(1.into(), 2);
    let letters = [work.dead_task(0, 0, 2000), work.dead_task(1, 0, 2000)];
    fixture.record.merge_dead_letters(&letters, &topology()).await.unwrap();
    // Deeper than JSON is read.
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(fixture.tamper("UPDATE dead_letters SET headers = ?1 WHERE number = 1", deep).await, 1);
    for id in fixture.rows("SELECT id FROM dead_letters ORDER BY number").await {
        fixture.record.replay_dead_letter(&id).await.unwrap();
    }
    let running = run(&fixture, &[]);
    eventually("they are replayed, or given up", async || is_empty(&fixture).await).await;
    assert_eq!(running.remembers.0.lock().unwrap().replayed.len(), 1);
    let rows = fixture.rows("SELECT state || ': ' || coalesce(obstacle, '') FROM dead_letters ORDER BY number").await;
    assert!(rows[0].starts_with("waiting: it cannot be written as a message"), "{rows:?}");
    assert_eq!(rows[1], "replayed: ");
    running.stop().await;
}

#[tokio::test]
async fn what_is_too_long_to_travel_is_announced_shorter() {
    let fixture = Fixture::new().await;
    let words = Work::words("a b", 2);
    fixture.record.merge(&words.life()).await.unwrap();
    fixture.record.merge(&failing_part(&Work::words("a b", 2), 1)).await.unwrap();
    let running = run(&fixture, &[]);
    running.remembers.0.lock().unwrap().too_long = true;
    running.news.notify_one();
    eventually("they are announced", async || is_empty(&fixture).await).await;
    assert_eq!(running.published().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn what_turns_out_to_have_no_queue_any_more_waits_again_and_says_why() {
    let fixture = Fixture::new().await;
    let letters = [Work::nop(1.into(), 1).dead_task(0, 0, 2000)];
    fixture.record.merge_dead_letters(&letters, &topology()).await.unwrap();
    let ids = fixture.rows("SELECT id FROM dead_letters").await;
    fixture.record.replay_dead_letter(&ids[0]).await.unwrap();
    // However long it is on its way: all else that is known of its object goes before.
    let pruned = fixture.record.prune(now() + DAY, DAY).await.unwrap();
    assert_eq!((pruned.orphans, fixture.number("SELECT count(*) FROM dead_letters").await), (1, 1));
    let running = run(&fixture, &[]);
    running.remembers.0.lock().unwrap().unroutable = true;
    eventually("it is given up", async || is_empty(&fixture).await).await;
    let row = fixture.rows("SELECT state || ': ' || obstacle FROM dead_letters").await;
    assert!(row[0].starts_with("waiting: no queue gets"), "{row:?}");
    running.stop().await;
    fixture.record.prune(now() + DAY, DAY).await.unwrap();
    assert_eq!(fixture.number("SELECT count(*) FROM dead_letters").await, 0, "it waits as long as all else");
}
