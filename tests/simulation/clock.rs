//! The clock of a simulation.
//!
//! It is paused, which to tokio means: when nobody has anything to do, it leaps to the next timer. But SQLite works on
//! threads of its own, and while a statement runs it looks as if nobody had anything to do; the clock would leap over every
//! timeout that there is. So it leaps only a little way at a time, and in between stands still until SQLite is idle.
//!
//! Hence what is the same each time and what is not. What follows from the seed is: what is submitted, what goes wrong and
//! how often, at which moment of the traffic a program dies. What does not: which of several ready tasks is first
//! (`tokio::select!` throws dice), which of two threads is faster, how far a transaction is when a timer ends. So
//! a seed that has failed may pass the next time. But the end must be the same in each case.

use std::{fs, path::Path, thread, time::Duration};

use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// How far it leaps at a time.
const LEAP: Duration = Duration::from_millis(100);
/// How long it stands still in between, in real time: enough for a statement as a rule.
const STANDSTILL: Duration = Duration::from_micros(50);
/// After so many leaps it makes sure that SQLite is idle, which takes longer: at most a second passes until then, and the
/// shortest timeout of anything that SQLite does is of 2 s.
const LEAPS: u32 = 10;
/// What the name of each of SQLite's threads begins with, as soon as it has one.
const SQLITE: &str = "sqlx-sqlite";

/// Lets time pass, for ever.
pub async fn run() {
    let this = Thread::current();
    loop {
        for _ in 0..LEAPS {
            // The clock does not leap as long as something blocks a thread.
            let _ = spawn_blocking(|| thread::sleep(STANDSTILL)).await;
            sleep(LEAP).await;
        }
        let this = this.clone();
        let idle = move || {
            while sqlite_works(this.as_ref()) {
                thread::sleep(STANDSTILL);
            }
        };
        let _ = spawn_blocking(idle).await;
    }
}

/// A thread as Linux tells of it; no other system does so.
#[derive(Clone)]
struct Thread {
    id: String,
    name: String,
    /// Whether it neither runs nor waits for the processor or the disk.
    is_idle: bool,
}

impl Thread {
    fn current() -> Option<Self> {
        Self::read(Path::new("/proc/thread-self"))
    }

    /// None if it has ended.
    fn read(folder: &Path) -> Option<Self> {
        let status = fs::read_to_string(folder.join("stat")).ok()?;
        let (id, rest) = status.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        Some(Self { id: id.to_owned(), name: name.to_owned(), is_idle: rest.starts_with('S') })
    }

    /// A new thread has the name of the one that made it, until it first runs.
    fn is_of_sqlite(&self, maker: &Self) -> bool {
        self.name.starts_with(SQLITE) || (self.name == maker.name && self.id != maker.id)
    }
}

/// Whether one of SQLite's threads works or is about to. Where the system does not tell, no.
fn sqlite_works(maker: Option<&Thread>) -> bool {
    let (Some(maker), Ok(threads)) = (maker, fs::read_dir("/proc/self/task")) else { return false };
    let mut threads = threads.flatten().filter_map(|thread| Thread::read(&thread.path()));
    threads.any(|thread| !thread.is_idle && thread.is_of_sqlite(maker))
}

#[tokio::test(start_paused = true)]
async fn the_clock_waits_for_sqlite() {
    // Some hundred milliseconds of work; without the clock, all of the patience is over at once.
    const LONG: &str =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT max(i) FROM n";
    tokio::spawn(run());
    let mut connection = SqliteConnectOptions::new().connect().await.unwrap();
    let query = sqlx::query_scalar(LONG).fetch_one(&mut connection);
    let number: i64 = timeout(Duration::from_secs(2), query).await.expect("it does not wait").unwrap();
    assert_eq!(number, 1_000_000);
}
