//! The write-ahead log: how long it may become.
//!
//! SQLite copies it into the file as it goes and begins it anew when nobody reads from it. Whoever keeps a read transaction
//! open, a person's `sqlite3` for instance, keeps it from beginning anew, and it grows with every commit. Our own readers
//! have a time limit. Foreign ones have not: they are named, and when the log is as long as it may be, writing waits until
//! they end. Otherwise they would fill the disk, which stops the bus, too, and much more than the record.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{Record, lock::beside, wal_readers::wal_readers};

/// How long the log waits for readers when it is emptied: they read for less than that as a rule, and nothing is merged
/// meanwhile.
pub(super) const READERS_PATIENCE: Duration = Duration::from_millis(100);
/// How often it is tried to empty it, at most.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often it is said that it cannot be emptied.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// How long the write-ahead log may become, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct WalLimits {
    /// From here on it is emptied at the next opportunity. 64 MiB.
    pub empty_from: u64,
    /// From here on it is said who keeps it from being emptied. 256 MiB.
    pub warn_from: u64,
    /// From here on, or from the length of the file on if that is more, nothing is written. 1 GiB; as long as the file
    /// itself, so that a backup of a large one, which reads for long, has ended before.
    pub stop_from: u64,
}

impl Default for WalLimits {
    fn default() -> Self {
        Self { empty_from: 64 << 20, warn_from: 256 << 20, stop_from: 1 << 30 }
    }
}

/// The log is as long as it may be, and somebody keeps it from being emptied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the write-ahead log {} has {bytes} bytes, at most {max} are allowed: it is kept from being emptied by {}",
    log.display(), readers.join(", "))]
pub struct WalHeld {
    /// The log.
    pub log: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// How long it may be now.
    pub max: u64,
    /// Who reads from it, for people.
    pub readers: Vec<String>,
}

/// It is as if the disk were full: that may pass.
impl From<WalHeld> for sqlx::Error {
    fn from(held: WalHeld) -> Self {
        io::Error::new(ErrorKind::QuotaExceeded, held).into()
    }
}

/// The log of a record.
#[derive(Debug)]
pub(super) struct Wal {
    database: PathBuf,
    log: PathBuf,
    limits: WalLimits,
    last: Mutex<Last>,
}

/// When something was done last.
#[derive(Debug, Default)]
struct Last {
    tried: Option<Instant>,
    said: Option<Instant>,
}

impl Wal {
    pub(super) fn of(database: &Path, limits: WalLimits) -> Self {
        Self { database: database.to_owned(), log: beside(database, "-wal"), limits, last: Mutex::default() }
    }

    fn bytes(&self) -> u64 {
        let bytes = length(&self.log);
        metrics::gauge!("ebs_wal_bytes").set(bytes as f64);
        bytes
    }

    fn max_bytes(&self) -> u64 {
        self.limits.stop_from.max(length(&self.database))
    }

    /// Whether it was not done within `pause`; from now on it was.
    fn is_time(&self, which: fn(&mut Last) -> &mut Option<Instant>, pause: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = which(&mut last);
        let is_time = last.is_none_or(|last| last.elapsed() >= pause);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }

    /// Says that it is short again, if it was said that it is not.
    fn is_short_again(&self) {
        let said = self.last.lock().unwrap_or_else(PoisonError::into_inner).said.take();
        if said.is_some() {
            info!(wal = %self.log.display(), "the write-ahead log is short again");
        }
    }

    fn held(&self, bytes: u64) -> WalHeld {
        let (log, max) = (self.log.clone(), self.max_bytes());
        WalHeld { log, bytes, max, readers: wal_readers(&self.database) }
    }
}

impl Record {
    /// Empties the write-ahead log if it is long; how long it is then, in bytes. Does so at most once a second, unless nothing could
    /// be written otherwise.
    ///
    /// # Errors
    /// [`WalHeld`] if it is as long as it may be; SQLite's if it cannot be copied into the file.
    pub async fn keep_wal_short(&self) -> sqlx::Result<u64> {
        let (wal, limits) = (&self.wal, self.wal.limits);
        metrics::gauge!("ebs_record_bytes").set(length(&wal.database) as f64);
        let mut bytes = wal.bytes();
        let must_be = bytes >= wal.max_bytes();
        if bytes >= limits.empty_from && (wal.is_time(|last| &mut last.tried, TRY_AGAIN) || must_be) {
            self.writer.empty_wal().await?;
            bytes = wal.bytes();
        }
        if bytes < limits.empty_from {
            wal.is_short_again();
            return Ok(bytes);
        }
        if bytes >= limits.warn_from && wal.is_time(|last| &mut last.said, SAY_AGAIN) {
            warn!("{}", wal.held(bytes));
        }
        if bytes >= wal.max_bytes() { Err(wal.held(bytes).into()) } else { Ok(bytes) }
    }
}

/// In bytes; none if there is no such file.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
