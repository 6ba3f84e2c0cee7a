//! Files that are no record, or not one that can be opened: refused, named, and left as they are.

use std::{fs, path::Path};

use operations::Catalogue;
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use statistics::record::{OpenError, Record, backup};

use crate::support::{Fixture, Work, open};

async fn refused(path: &Path) -> OpenError {
    let error = Record::try_open(path, Catalogue::built_in()).await.map(drop).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    error
}

/// A database with these statements executed.
async fn database(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_is_something_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.db");
    database(&foreign, "CREATE TABLE songs (name TEXT); INSERT INTO songs VALUES ('la')").await;
    let marked = folder.path().join("marked.db");
    database(&marked, "PRAGMA application_id = 7; CREATE TABLE objects (id TEXT)").await;
    let bus = folder.path().join("bus.db");
    database(&bus, "PRAGMA application_id = 1161974626; CREATE TABLE journal (x)").await;
    let letter = folder.path().join("letter");
    fs::write(&letter, "Dear friend, ".repeat(100)).unwrap();
    let short = folder.path().join("short");
    fs::write(&short, "Hi").unwrap();
    for (path, told) in [
        (&foreign, "something else"),
        (&marked, "something else"),
        (&bus, "a bus"),
        (&letter, "no SQLite database"),
        (&short, "no SQLite database"),
    ] {
        let before = fs::read(path).unwrap();
        let error = refused(path).await;
        assert!(matches!(error, OpenError::Unusable { .. }) && error.to_string().contains(told), "{error}");
        assert_eq!(fs::read(path).unwrap(), before, "{}", path.display());
    }
}

#[tokio::test]
async fn a_place_where_there_can_be_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, told) in [
        (folder.path().to_owned(), "directory"),
        (folder.path().join("no/such/folder/stats.db"), "No such file"),
        (file.join("stats.db"), "Not a directory"),
    ] {
        let error = refused(&path).await;
        assert!(matches!(error, OpenError::Failed { .. }) && error.to_string().contains(told), "{error}");
    }
    assert!(!folder.path().with_extension("lock").exists(), "nothing was made beside it");
}

#[tokio::test]
async fn an_empty_file_becomes_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.db");
    fs::write(&path, "").unwrap();
    assert!(open(&path).await.unwrap().is_some());
}

#[tokio::test]
async fn a_log_that_a_restored_file_does_not_belong_to_is_refused_and_a_restored_file_alone_is_not() {
    let fixture = Fixture::new().await;
    fixture.record.merge(&Work::words("a", 1).life()).await.unwrap();
    let copy = fixture.path().with_extension("backup");
    backup(&fixture.path(), &copy, false).await.unwrap();
    let before = fixture.contents().await;
    // What a kill would leave, and somebody puts the backup in place of the file alone.
    let place = tempfile::tempdir().unwrap();
    let (restored, log) = (place.path().join("stats.db"), place.path().join("stats.db-wal"));
    fixture.record.merge(&Work::words("b", 1).life()).await.unwrap();
    fs::copy(fixture.path().with_extension("db-wal"), &log).unwrap();
    fs::copy(&copy, &restored).unwrap();
    let error = refused(&restored).await;
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains(log.to_str().unwrap()) && error.to_string().contains("-shm"), "{error}");
    assert_eq!(fs::read(&restored).unwrap(), fs::read(&copy).unwrap());

    fs::remove_file(&log).unwrap();
    let fixture = Fixture::of(place, restored).await;
    assert_eq!(fixture.contents().await, before);
    fixture.record.merge(&Work::words("b", 1).life()).await.unwrap();
}
