//! The file: one owner, whole or not at all, still there after a restart.

use std::{pin::pin, sync::Arc, task::Poll};

use bus::{BatchError, HandleBatch};
use statistics::{Followers, Health, OnEvents};

use crate::support::{Fixture, Work, heard, open};

#[tokio::test]
async fn what_is_given_up_at_whatever_moment_leaves_nothing_or_all() {
    let work = Work::words("a b c a", 3);
    let events = work.life();
    let whole = Fixture::new().await;
    whole.record.merge(&events).await.unwrap();
    let whole = whole.contents().await;

    for polls in 1..60 {
        let fixture = Fixture::new().await;
        given_up_after(polls, fixture.record.merge(&events)).await;
        let left = fixture.contents().await;
        assert!(left.is_empty() || left == whole, "after {polls} polls: {left:?}");
        fixture.record.merge(&events).await.unwrap();
        assert_eq!(fixture.contents().await, whole, "after {polls} polls");
        assert_eq!(fixture.number("SELECT count(*) FROM outbox").await, 1);
    }
}

/// Polls `future` so many times and then drops it.
async fn given_up_after<F: Future>(mut polls: usize, future: F) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match (polls, future.as_mut().poll(context)) {
        (0 | 1, _) | (_, Poll::Ready(_)) => Poll::Ready(()),
        _ => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await;
}

#[tokio::test]
async fn a_restart_keeps_everything_and_goes_on_from_there() {
    let fixture = Fixture::new().await;
    let (one, other) = (Work::words("a", 2), Work::words("b", 3));
    fixture.record.merge(&one.life()).await.unwrap();
    fixture.record.merge(&other.life()[..4]).await.unwrap();
    let before = fixture.contents().await;

    let fixture = fixture.restarted().await;
    assert_eq!(fixture.contents().await, before);
    fixture.record.merge(&other.life()).await.unwrap();
    assert_eq!(fixture.rows("SELECT DISTINCT status FROM objects").await, ["succeeded"]);
    assert_eq!(fixture.rows("SELECT name || count FROM totals ORDER BY name").await, ["a1", "b1"]);
}

#[tokio::test]
async fn a_second_owner_gets_the_file_only_when_the_first_is_gone() {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    assert!(open(&path).await.unwrap().is_none());
    let directory = fixture.leave().await;
    assert!(open(&path).await.unwrap().is_some());
    drop(directory);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_says_so() {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    let _directory = fixture.leave().await;
    change(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                   VALUES (9999, 'the future', true, x'00', 0)",
    )
    .await;
    let error = format!("{:#}", open(&path).await.unwrap_err());
    assert!(error.contains("newer version") && error.contains("9999") && error.contains("stats.db"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_says_so() {
    let fixture = Fixture::new().await;
    for _ in 0..50 {
        fixture.record.merge(&Work::words("a b c", 3).life()).await.unwrap();
    }
    let path = fixture.path();
    let _directory = fixture.leave().await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096 * 3].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let error = format!("{:#}", open(&path).await.unwrap_err());
    assert!(error.contains("damaged") || error.contains("malformed"), "{error}");
}

#[tokio::test]
async fn as_long_as_the_database_refuses_nothing_is_done_and_readiness_says_so() {
    let fixture = Fixture::new().await;
    let health = Arc::new(Health::default());
    let on_events = on_events(&fixture, &health);
    let work = Work::words("a b", 2);
    on_events.handle(&heard(&work.life()[..2])).await.unwrap();
    health.check().unwrap();
    let before = fixture.contents().await;

    change(&fixture.path(), "ALTER TABLE outbox RENAME TO gone").await;
    let Err(BatchError::Unavailable(reason)) = on_events.handle(&heard(&work.life())).await else {
        panic!("no event is to blame")
    };
    assert!(reason.contains("outbox"), "{reason}");
    assert_eq!(health.check(), Err(reason));
    assert_eq!(fixture.contents().await, before);

    change(&fixture.path(), "ALTER TABLE gone RENAME TO outbox").await;
    on_events.handle(&heard(&work.life())).await.unwrap();
    health.check().unwrap();
    assert_eq!(fixture.rows("SELECT status FROM objects").await, ["succeeded"]);
}

fn on_events(fixture: &Fixture, health: &Arc<Health>) -> OnEvents {
    let followers = Followers {
        health: Arc::clone(health),
        waiters: Arc::default(),
        outbox: Arc::default(),
        changed: Default::default(),
        rates: Arc::default(),
    };
    OnEvents { record: Arc::clone(&fixture.record), followers, deadlines: Arc::default(), live: Arc::default() }
}

#[tokio::test]
async fn what_breaks_a_constraint_is_to_blame_itself_and_nothing_else_is_ill() {
    let fixture = Fixture::new().await;
    let health = Arc::new(Health::default());
    let on_events = on_events(&fixture, &health);
    let [good, bad] = [Work::words("a", 2), Work::words("b", 3)];
    on_events.handle(&heard(&good.life()[..1])).await.unwrap();
    change(
        &fixture.path(),
        "CREATE TRIGGER picky BEFORE INSERT ON tasks WHEN new.parts = 3 BEGIN SELECT raise(ABORT, 'not three'); END",
    )
    .await;
    let both = [good.life(), bad.life()].concat();
    let Err(BatchError::Bad(reason)) = on_events.handle(&heard(&both)).await else { panic!("it is not the moment") };
    assert!(reason.contains("not three"), "{reason}");
    health.check().unwrap();
    on_events.handle(&heard(&good.life())).await.unwrap();
    assert_eq!(fixture.rows("SELECT status FROM objects").await, ["succeeded"]);
}

pub async fn change(path: &std::path::Path, sql: &'static str) {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
