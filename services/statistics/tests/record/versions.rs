//! Files of every earlier version: opened, brought up to date, nothing lost, and the record goes on.
//!
//! Such a file is made by the migrations that there were, and has the rows of a record of today, as far as there were tables
//! and columns for them. A start that was killed between two migrations leaves one, too.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use bus::events::ObjectId;
use sqlx::{
    ConnectOptions, Connection,
    migrate::{Migration, Migrator},
    sqlite::SqliteConnectOptions,
};

use crate::support::{Execution, Fixture, Work, failing_part, now, open, topology};

/// What the record has: an object that succeeded in three parts,
const SUCCEEDED: (&str, u32) = ("a b a", 3);
/// one of which a part failed,
const FAILED: (&str, u32) = ("c d", 2);
/// one that was not split,
const UNSPLIT: (&str, u32) = ("h", 1);
/// one of which only a task is known,
const ORPHAN: (&str, u32) = ("i", 1);
/// and one that is open.
const OPEN: (&str, u32) = ("e f g", 3);
/// That one's first events; the rest of them come later.
const OPEN_EVENTS: usize = 6;

fn sqlite3(arguments: &[&str], file: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3").args(arguments).arg(file).arg(sql).output();
    let output = output.expect("sqlite3 is missing: run the tests by `make test`, which installs it");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The tables of a file, each with its columns.
fn tables(file: &Path) -> BTreeMap<String, String> {
    let sql = "SELECT t.name, group_concat(c.name) FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations' GROUP BY t.name";
    let rows = sqlite3(&["-separator", " "], file, sql);
    let table = |row: &str| row.split_once(' ').map(|(table, columns)| (table.to_owned(), columns.to_owned()));
    rows.lines().filter_map(table).collect()
}

/// The rows of these columns.
fn rows(file: &Path, tables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let rows = |(table, columns): (&String, &String)| {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY {columns}");
        (table.clone(), sqlite3(&["-json"], file, &sql))
    };
    tables.iter().map(rows).collect()
}

fn work((text, parts): (&str, u32)) -> Work {
    Work::words(text, parts)
}

/// A record with rows in every table.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.record.merge(&work(("long ago", 2)).life()).await.unwrap();
    fixture.record.prune(now() + 1_000_000, 1_000_000).await.unwrap();
    let unsplit = work(UNSPLIT);
    let mut events = [work(SUCCEEDED).life(), failing_part(&work(FAILED), 1), vec![unsplit.created(1000)]].concat();
    events.extend(work(OPEN).life().into_iter().take(OPEN_EVENTS));
    events.push(work(ORPHAN).finished(0, &Execution { processor: "p2".to_owned(), ..Execution::ok() }));
    events.push(crate::support::received(bus::AnyEvent::Unknown, 1000));
    fixture.record.merge(&events).await.unwrap();
    fixture.record.merge_dead_letters(&[unsplit.dead_object(0, 2000)], &topology()).await.unwrap();
    fixture
}

/// A file as it was when there were only these migrations, with the rows of another one of today.
async fn file_of(folder: &Path, migrations: &[Migration], today: &Path) -> PathBuf {
    let path = folder.join("stats.db");
    let mut connection = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
    Migrator::with_migrations(migrations.to_vec()).run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let copy = |(table, columns): (String, String)| {
        format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM today.{table};")
    };
    let copy: String = tables(&path).into_iter().map(copy).collect();
    sqlite3(&[], &path, &format!("ATTACH '{}' AS today; {copy}", today.display()));
    path
}

#[tokio::test]
async fn a_file_of_every_earlier_version_is_brought_up_to_date_with_all_that_it_has_and_goes_on() {
    let today = filled().await;
    let path_of_today = today.path();
    let _folder = today.leave().await;
    for (table, rows) in rows(&path_of_today, &tables(&path_of_today)) {
        assert!(!rows.is_empty(), "{table} has no rows: fill it, too, or nobody will see that a migration loses them");
    }
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let migrations: Vec<Migration> = Migrator::new(migrations).await.unwrap().iter().cloned().collect();
    for count in 1..migrations.len() {
        println!("after {} of {} migrations", count, migrations.len());
        let folder = tempfile::tempdir().unwrap();
        let path = file_of(folder.path(), &migrations[..count], &path_of_today).await;
        let tables = tables(&path);
        let before = rows(&path, &tables);

        open(&path).await.unwrap().unwrap().close().await;
        assert_eq!(rows(&path, &tables), before);

        let fixture = Fixture::of(folder, path).await;
        goes_on(&fixture).await;
    }
}

/// What it had is the same when it comes again, what was open finishes, and what is old can be pruned.
async fn goes_on(fixture: &Fixture) {
    let known = async |(text, parts): (&str, u32)| {
        let data = serde_json::Value::from(text).to_string();
        let id: String = sqlx::query_scalar("SELECT id FROM objects WHERE data = ?1")
            .bind(data)
            .fetch_one(&mut fixture.reader().await)
            .await
            .unwrap();
        Work { id: id.parse::<ObjectId>().unwrap(), ..work((text, parts)) }
    };
    let (succeeded, failed, open) = (known(SUCCEEDED).await, known(FAILED).await, known(OPEN).await);
    let before = fixture.contents().await;
    let again = [succeeded.life(), failing_part(&failed, 1), open.life()[..OPEN_EVENTS].to_vec()].concat();
    fixture.record.merge(&again).await.unwrap();
    assert_eq!(fixture.contents().await, before);

    fixture.record.merge(&open.life()).await.unwrap();
    fixture.record.merge(&Work::words("a", 1).life()).await.unwrap();
    let totals = fixture.rows("SELECT name || count FROM totals ORDER BY name").await;
    let expected = ["a3", "b1", "e1", "f1", "g1"];
    assert!(expected.iter().all(|total| totals.contains(&(*total).to_owned())), "{totals:?}");
    let created = "SELECT sum(objects_created) FROM figures";
    let all = fixture.number(created).await;
    let pruned = fixture.record.prune(now() + 1_000_000, 1_000_000).await.unwrap();
    assert_eq!((pruned.objects, pruned.orphans), (5, 0));
    assert_eq!(fixture.number(created).await, all);
    let pruned = fixture.record.prune(now() + 3_600_000_000, 1_000_000).await.unwrap();
    assert_eq!((pruned.objects, pruned.orphans), (0, 1));
    // All rows that count for them are gone, also those that were before they were counted.
    assert_eq!(fixture.rows("SELECT processor FROM processor_figures").await, ["(others)"]);
    let rows = "SELECT sum(objects_created - objects_pruned + tasks_distributed - tasks_pruned) FROM figures";
    assert_eq!(fixture.number(rows).await, 0);
}
