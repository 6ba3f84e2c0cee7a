//! What is wrong with the file of a bus, for people. Nothing of it is changed, and whoever wants to open it meanwhile can.

use std::{
    fs::{self, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::file::{APPLICATION_ID, FORMAT, File};
use crate::embedded::OpenError;

/// A file up to this length is copied, and the copy opened: only that looks at everything in it.
const MAX_COPIED_BYTES: u64 = 256 << 20;
/// The [header](https://www.sqlite.org/fileformat2.html#the_database_header) of a database: its length,
const HEADER_BYTES: u64 = 100;
/// how it begins,
const MAGIC: &[u8] = b"SQLite format 3\0";
/// where the version of our format is,
const USER_VERSION_AT: usize = 60;
/// and whose it is.
const APPLICATION_ID_AT: usize = 68;

/// What is known of the file of a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// How long it is, its write-ahead log included.
    pub bytes: u64,
    /// Somebody has it open.
    pub in_use: bool,
    /// The version of its format.
    pub format: i64,
    /// All of it was read, and is as it should be; else only its beginning was.
    pub is_whole: bool,
}

/// Looks at a file; none if there is none.
///
/// # Errors
/// Why no bus can be opened there.
pub async fn examine(path: &Path) -> Result<Option<Examined>, OpenError> {
    let failed = |error: &dyn ToString| OpenError::Failed { path: path.to_owned(), reason: error.to_string() };
    let file = path.to_owned();
    let looked = spawn_blocking(move || look(&file)).await.map_err(|panic| failed(&panic))?;
    let Some((mut examined, copy)) = looked? else { return Ok(None) };
    if let Some(copy) = copy {
        match File::open(&copy.path().join("bus.db")).await {
            Ok((opened, _contents)) => opened.close().await,
            Err(error) => return Err(of(path, error)),
        }
        examined.is_whole = true;
    }
    Ok(Some(examined))
}

/// What its beginning says, and a copy of it if nobody writes to it meanwhile and it is not too long.
fn look(path: &Path) -> Result<Option<(Examined, Option<tempfile::TempDir>)>, OpenError> {
    let failed = |error: io::Error| OpenError::Failed { path: path.to_owned(), reason: error.to_string() };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.is_dir() {
        return Err(OpenError::Failed { path: path.to_owned(), reason: "it is a directory".to_owned() });
    }
    let format = format(path)?;
    let log = beside(path, "-wal");
    let bytes = metadata.len() + fs::metadata(&log).map_or(0, |log| log.len());
    let in_use = is_locked(&beside(path, ".lock"));
    // Whoever has it writes to it, and has found it good.
    let copy = if in_use || bytes > MAX_COPIED_BYTES { None } else { copied(path, &log).ok() };
    Ok(Some((Examined { bytes, in_use, format, is_whole: false }, copy)))
}

/// The version of its format; 0 of one that is empty.
fn format(path: &Path) -> Result<i64, OpenError> {
    let mut header = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut header));
    let length = read.map_err(|error| OpenError::Failed { path: path.to_owned(), reason: error.to_string() })?;
    if length == 0 {
        return Ok(0);
    }
    if (length as u64) < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(OpenError::Damaged { path: path.to_owned(), reason: "it is no SQLite database".to_owned() });
    }
    let number = |at: usize| header[at..].iter().take(4).fold(0, |number, byte| (number << 8) | i64::from(*byte));
    match (number(APPLICATION_ID_AT), number(USER_VERSION_AT)) {
        (APPLICATION_ID, format) if format > FORMAT => {
            Err(OpenError::Newer { path: path.to_owned(), format, known: FORMAT })
        }
        // What it was marked with may be in its log still.
        (APPLICATION_ID | 0, format) => Ok(format),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// Whether somebody holds the lock: held here for no longer than it takes to see that nobody does.
fn is_locked(lock: &Path) -> bool {
    let file = fs::File::open(lock);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn copied(path: &Path, log: &Path) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::copy(path, folder.path().join("bus.db"))?;
    match fs::copy(log, folder.path().join("bus.db-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(folder),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What was found in the copy is so in the file.
fn of(path: &Path, error: OpenError) -> OpenError {
    let path = path.to_owned();
    match error {
        OpenError::InUse { .. } => OpenError::InUse { path },
        OpenError::Newer { format, known, .. } => OpenError::Newer { path, format, known },
        OpenError::Damaged { reason, .. } => OpenError::Damaged { path, reason },
        OpenError::Foreign { .. } => OpenError::Foreign { path },
        OpenError::Unavailable { reason, .. } => OpenError::Unavailable { path, reason },
        OpenError::Failed { reason, .. } => OpenError::Failed { path, reason },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::FileExt;

    use sqlx::{Connection, SqliteConnection};

    use super::*;
    use crate::{
        embedded::{Embedded, Limits},
        transport::Transport,
    };

    async fn sql(path: &Path, statement: &'static str) {
        let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_bus_is_good_open_or_not_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus.db");
        assert_eq!(examine(&path).await.unwrap(), None);
        assert!(!path.exists());
        let bus = Embedded::open(&path, Limits::default()).await.unwrap();
        let examined = examine(&path).await.unwrap().unwrap();
        assert!(examined.in_use && !examined.is_whole, "{examined:?}");
        bus.close().await;
        drop(bus);
        let files = || fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
        let (before, content) = (files(), fs::read(&path).unwrap());
        let examined = examine(&path).await.unwrap().unwrap();
        assert!(!examined.in_use && examined.is_whole && examined.format == FORMAT, "{examined:?}");
        assert_eq!((files(), fs::read(&path).unwrap()), (before, content));
    }

    #[tokio::test]
    async fn what_is_no_bus_is_told_as_it_would_be_at_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        assert!(matches!(examine(folder.path()).await, Err(OpenError::Failed { .. })));
        fs::write(file("text"), "no database").unwrap();
        assert!(matches!(examine(&file("text")).await, Err(OpenError::Damaged { .. })));
        sql(&file("foreign"), "CREATE TABLE t (x)").await;
        let path = file("foreign");
        assert!(matches!(examine(&path).await, Err(OpenError::Foreign { path: told }) if told == path));
        Embedded::open(&file("newer"), Limits::default()).await.unwrap().close().await;
        sql(&file("newer"), "PRAGMA user_version = 1000").await;
        assert!(matches!(examine(&file("newer")).await, Err(OpenError::Newer { format: 1000, .. })));
        Embedded::open(&file("damaged"), Limits::default()).await.unwrap().close().await;
        let damaged = fs::File::options().write(true).open(file("damaged")).unwrap();
        damaged.write_all_at(&[0xff; 200], 4096).unwrap();
        assert!(matches!(examine(&file("damaged")).await, Err(OpenError::Damaged { .. })));
    }
}
