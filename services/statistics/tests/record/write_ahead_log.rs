//! How long the write-ahead log becomes, and who keeps it from being emptied.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use operations::Catalogue;
use statistics::record::{Record, WalHeld, WalLimits};

use crate::support::Work;

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

#[tokio::test]
async fn a_foreign_reader_is_named_and_at_the_bound_nothing_is_written_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (record, log) = open(folder.path()).await;
    record.merge(&batch()).await.unwrap();
    let reader = Reader::begin(&folder.path().join("stats.db"));
    let name = format!("sqlite3 (process {})", reader.0.id());

    let mut merged = 1;
    let held = loop {
        assert!(merged < MANY_BATCHES, "the log has {} bytes", bytes(&log));
        match record.merge(&batch()).await {
            Ok(_) => merged += 1,
            Err(error) => break error.downcast::<WalHeld>().unwrap(),
        }
    };
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
    assert_eq!(created, 10 * (merged as i64 + 1));
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
