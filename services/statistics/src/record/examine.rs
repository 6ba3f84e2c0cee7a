//! What is wrong with the file of a record, for people. It is only read, and whoever works with it goes on.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    identity::{has_our_tables, refuse_foreign_header},
    lock::{Lock, beside},
    open::{MIGRATIONS, OpenError, interrupt_after},
    trouble::took_too_long,
};

/// How long the file is looked through; the check at a start looks through all of it.
const LOOK: Duration = Duration::from_secs(3);

/// What is known of the file of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// How long it is,
    pub bytes: u64,
    /// and its write-ahead log.
    pub log_bytes: u64,
    /// Somebody works with it.
    pub in_use: bool,
    /// The last migration that it has had,
    pub version: i64,
    /// and the last one that this program knows. It makes up for those that are missing when it starts.
    pub known: i64,
    /// All of it was looked through, and is as it should be; else it would have taken too long.
    pub is_whole: bool,
}

/// Looks at a file; none if there is none.
///
/// # Errors
/// Why it cannot be a record.
pub async fn examine(path: &Path) -> Result<Option<Examined>, OpenError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(OpenError::failed(path, "it is a directory")),
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::failed(path, error)),
    };
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let log_bytes = fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    let in_use = Lock::is_held(path);
    let bytes = metadata.len();
    let mut examined = Examined { bytes, log_bytes, in_use, version: 0, known, is_whole: true };
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut header));
    if read.map_err(|error| OpenError::failed(path, error))? == 0 {
        return Ok(Some(examined));
    }
    refuse_foreign_header(path, &header)?;
    // Without a log and without a writer it can be read without leaving anything beside it.
    let is_quiet = !in_use && log_bytes == 0;
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(is_quiet);
    let mut connection = options.connect().await.map_err(|error| OpenError::of(path, &error))?;
    let looked = look(path, &mut connection, &mut examined).await;
    // It was only read.
    let _ = connection.close().await;
    looked.map(|()| Some(examined))
}

async fn look(path: &Path, connection: &mut SqliteConnection, examined: &mut Examined) -> Result<(), OpenError> {
    let of = |error: sqlx::Error| OpenError::of(path, &error);
    if !has_our_tables(connection).await.map_err(of)? {
        return Err(OpenError::unusable(path, "it is a database of something else"));
    }
    examined.version = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(of)?;
    if examined.version > examined.known {
        let reason =
            format!("a newer version of this program wrote it: migration {} is unknown here", examined.version);
        return Err(OpenError::unusable(path, reason));
    }
    interrupt_after(LOOK, connection).await.map_err(of)?;
    let checked: sqlx::Result<String> = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await;
    match checked {
        Ok(told) if told == "ok" => Ok(()),
        Ok(told) => Err(OpenError::unusable(path, format!("it is damaged, restore a backup: {told}"))),
        Err(error) if took_too_long(&error) => {
            examined.is_whole = false;
            Ok(())
        }
        Err(error) => Err(of(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::FileExt;

    use operations::Catalogue;

    use super::*;
    use crate::record::Record;

    async fn record(path: &Path) -> Record {
        Record::try_open(path, Catalogue::built_in()).await.unwrap().unwrap()
    }

    async fn sql(path: &Path, statement: &'static str) {
        let mut connection =
            SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_record_is_good_open_or_not_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.db");
        assert_eq!(examine(&path).await.unwrap(), None);
        let open = record(&path).await;
        let examined = examine(&path).await.unwrap().unwrap();
        assert!(examined.in_use && examined.is_whole && examined.version == examined.known, "{examined:?}");
        drop(open);
        let examined = examine(&path).await.unwrap().unwrap();
        assert!(!examined.in_use && examined.is_whole, "{examined:?}");
    }

    #[tokio::test]
    async fn what_is_no_record_is_told_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let told = async |name: &str| examine(&file(name)).await.unwrap_err().to_string();
        fs::write(file("text"), "no database").unwrap();
        assert!(told("text").await.contains("no SQLite database"));
        sql(&file("foreign"), "CREATE TABLE t (x)").await;
        assert!(told("foreign").await.contains("something else"));
        drop(record(&file("newer")).await);
        let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'newer', current_timestamp, 1, x'00', 1)";
        sql(&file("newer"), newer).await;
        assert!(told("newer").await.contains("newer version"));
        drop(record(&file("damaged")).await);
        sql(&file("damaged"), "PRAGMA wal_checkpoint(TRUNCATE)").await;
        let damaged = File::options().write(true).open(file("damaged")).unwrap();
        let pages = damaged.metadata().unwrap().len() / 4096;
        (2..pages).for_each(|page| damaged.write_all_at(&[0xff; 100], page * 4096).unwrap());
        assert!(told("damaged").await.contains("damaged"));
        assert!(examine(folder.path()).await.unwrap_err().to_string().contains("directory"));
    }
}
