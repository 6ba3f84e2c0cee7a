//! How long the write-ahead log becomes, and who keeps it from being emptied.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use axum::{Router, body::Body, http::Request};
use operations::Catalogue;
use statistics::{
    Api,
    record::{Record, WalHeld, WalLimits},
    router,
};
use tower::ServiceExt;

use crate::support::{Work, now, topology};

const LIMITS: WalLimits = WalLimits { empty_from: 256 << 10, warn_from: 512 << 10, stop_from: 4 << 20 };
/// Thousands of events, and more than the log may have.
const MANY_BATCHES: usize = 2000;

async fn open(folder: &Path) -> (Arc<Record>, PathBuf) {
    let path = folder.join("stats.db");
    let record = Record::try_open_with(&path, Catalogue::built_in(), LIMITS).await.unwrap().unwrap();
    (Arc::new(record), path.with_extension("db-wal"))
}

fn bytes(log: &Path) -> u64 {
    log.metadata().unwrap().len()
}

/// Events of ten objects.
fn batch() -> Vec<crate::support::AnEvent> {
    (0..10).flat_map(|_| Work::words(&"some words more ".repeat(40), 3).life()).collect()
}

/// A person's `sqlite3` with a transaction that reads.
struct Reader(Child);

impl Reader {
    fn begin(database: &Path) -> Self {
        let mut command = Command::new("sqlite3");
        command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("sqlite3 is missing: run the tests by `make test`, which installs it");
        let asked = child.stdin.as_mut().unwrap().write_all(b"BEGIN; SELECT 'reads ' || count(*) FROM objects;\n");
        asked.unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("reads"), "{said}");
        Self(child)
    }

    fn end(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Merges until the log is as long as it may be; how many batches were merged, and what is said then.
async fn fill(record: &Record, log: &Path) -> (usize, WalHeld) {
    for merged in 0..MANY_BATCHES {
        if let Err(error) = record.merge(&batch()).await {
            let Ok(sqlx::Error::Io(error)) = error.downcast() else { panic!("it is of another kind") };
            return (merged, *error.into_inner().unwrap().downcast().unwrap());
        }
    }
    panic!("the log has {} bytes", bytes(log));
}

#[tokio::test]
async fn a_foreign_reader_is_named_and_at_the_bound_nothing_is_written_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (record, log) = open(folder.path()).await;
    record.merge(&batch()).await.unwrap();
    let reader = Reader::begin(&folder.path().join("stats.db"));
    let name = format!("sqlite3 (process {})", reader.0.id());

    let (merged, held) = fill(&record, &log).await;
    assert_eq!(held.readers, std::slice::from_ref(&name));
    assert!(held.to_string().contains(&name), "{held}");
    // The bound, and what one batch adds.
    assert!((LIMITS.stop_from..LIMITS.stop_from + (1 << 20)).contains(&held.bytes), "{held}");
    assert!(record.merge(&batch()).await.is_err(), "it stays so");
    record.snapshot().await.expect("reading goes on");

    reader.end();
    // It may take a second until it is tried again.
    let short = async || record.keep_wal_short().await.is_ok_and(|bytes| bytes < LIMITS.empty_from);
    crate::support::eventually("the log is short again", short).await;
    assert!(bytes(&log) < LIMITS.empty_from, "{}", bytes(&log));
    record.merge(&batch()).await.unwrap();
    let created = record.summary().await.unwrap().figures.objects_created;
    assert_eq!(created, 10 * (1 + merged as i64 + 1));
}

#[tokio::test]
async fn nothing_else_is_written_at_the_bound_either_and_whoever_asks_for_it_is_told_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let (record, log) = open(folder.path()).await;
    let late = Work::words("a", 1);
    record.merge(&[late.created(1000)]).await.unwrap();
    record.merge_dead_letters(&[late.dead_task(0, 0, 2000)], &topology()).await.unwrap();
    let id = record.dead_letters(&Default::default(), None, 1).await.unwrap().remove(0).id;
    let reader = Reader::begin(&folder.path().join("stats.db"));
    let (_, held) = fill(&record, &log).await;

    assert!(record.prune(now() + 1_000_000, 1_000_000).await.is_err());
    assert!(record.time_out(i64::MAX).await.is_err());
    let api = Api::default();
    api.record.set(Arc::clone(&record)).unwrap();
    let all = Body::from(r#"{"all": true}"#);
    for request in [
        Request::delete("/api/totals/word-frequencies").body(Body::empty()),
        Request::delete("/api/dead-letters?all=true").body(Body::empty()),
        Request::delete(format!("/api/dead-letters/{id}")).body(Body::empty()),
        Request::post(format!("/api/dead-letters/{id}/replay")).body(Body::empty()),
        Request::post("/api/dead-letters/replay").header("content-type", "application/json").body(all),
    ] {
        let request = request.unwrap();
        let asked = format!("{request:?}");
        let answer = Router::from(router(api.clone())).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 503, "{asked}");
        assert_eq!(answer.headers()["retry-after"], "1", "{asked}");
    }
    assert_eq!(bytes(&log), held.bytes);
    reader.end();
}

#[tokio::test]
async fn our_own_readers_do_not_keep_the_log_from_being_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let (record, log) = open(folder.path()).await;
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let record = Arc::clone(&record);
            tokio::spawn(async move {
                loop {
                    record.snapshot().await.unwrap();
                }
            })
        })
        .collect();
    let mut longest = 0;
    for _ in 0..200 {
        record.merge(&batch()).await.unwrap();
        longest = longest.max(bytes(&log));
    }
    readers.iter().for_each(|reader| reader.abort());
    // No batch was refused; and the log had the bound, and what one batch adds, at most.
    assert!(longest < LIMITS.stop_from + (1 << 20), "{longest}");
}
