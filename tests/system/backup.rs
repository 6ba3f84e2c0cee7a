//! A backup taken while the system works, and what comes of putting it in the record's place.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use testkit::{Options, System, service_binary, shared_broker_url};
use tokio::process::Command;

use crate::kit::{all_finished, everywhere, figure, stopped_with_empty_queues};

const TEXT: &str = "one two two";

/// What the copy says.
async fn ask(file: &Path, query: &str) -> String {
    let output = Command::new("sqlite3").arg(file).arg(query).output().await.unwrap();
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `ebs`, as somebody beside the system calls it.
async fn ebs(arguments: &[&str], record: impl AsRef<OsStr>) -> Output {
    Command::new(service_binary("ebs")).args(arguments).env("DATABASE_URL", record).output().await.unwrap()
}

async fn backed_up(system: &System, target: &Path) {
    let output = ebs(&["backup", target.to_str().unwrap()], system.database()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What must hold at every moment of a record, and so of each copy.
async fn assert_is_a_moment(copy: &Path) {
    assert_eq!(ask(copy, "PRAGMA integrity_check").await, "ok");
    let counted = "SELECT (SELECT sum(objects_created) FROM figures) IS (SELECT nullif(count(*), 0) FROM objects),
                          (SELECT sum(objects_succeeded) FROM figures)
                              IS (SELECT sum(status = 'succeeded') FROM objects),
                          (SELECT sum(tasks_succeeded) FROM figures) IS (SELECT sum(outcome IS 'succeeded') FROM tasks),
                          (SELECT sum(count) FROM totals)
                              IS (SELECT sum(word.value) FROM objects, json_each(objects.result) AS word)";
    assert_eq!(ask(copy, counted).await, "1|1|1|1", "{}", copy.display());
}

/// Submits until it is told to stop; how many were accepted.
async fn load(system: &System, stop: &AtomicBool) -> usize {
    let mut accepted = 0;
    while !stop.load(Ordering::SeqCst) {
        system.submit(&json!({"data": TEXT})).await.unwrap();
        accepted += 1;
    }
    accepted
}

/// Puts the copy in the record's place, as the README says.
async fn restore(system: &System, copy: &Path) {
    let output = ebs(&["restore", "--force", copy.to_str().unwrap()], &system.database()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

everywhere! {
    a_backup_taken_under_load_is_a_moment_of_the_record,
    after_a_restore_there_is_what_the_backup_has_and_what_came_later,
}

async fn a_backup_taken_under_load_is_a_moment_of_the_record(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let back_up_thrice = async {
        for number in 0..3 {
            all_finished(&system, 20 * (number + 1)).await;
            let copy = folder.path().join(format!("{number}.db"));
            backed_up(&system, &copy).await;
            assert_is_a_moment(&copy).await;
            assert!(ask(&copy, "SELECT count(*) FROM objects").await.parse::<usize>().unwrap() >= 20 * (number + 1));
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (accepted, ()) = tokio::join!(load(&system, &stop), back_up_thrice);
    all_finished(&system, accepted).await;
    assert_eq!(figure(&system, "objects succeeded").await, accepted as f64);
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 3, "nothing else was left behind");
    stopped_with_empty_queues(&mut system).await;
}

async fn after_a_restore_there_is_what_the_backup_has_and_what_came_later(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("backup.db");
    let stop = AtomicBool::new(false);
    let back_up = async {
        all_finished(&system, 30).await;
        backed_up(&system, &copy).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load(&system, &stop), back_up);
    system.kill("statistics").await.unwrap();
    // Where statistics is a process of its own, others go on: what they cause waits for it.
    let mut later = 0;
    if system.names().len() > 1 {
        for _ in 0..20 {
            system.submit(&json!({"data": TEXT})).await.unwrap();
            later += 1;
        }
    }
    let in_backup = "SELECT count(*) FROM objects WHERE status = 'succeeded'";
    let in_backup: usize = ask(&copy, in_backup).await.parse().unwrap();
    restore(&system, &copy).await;
    system.start_all().unwrap();
    system.all_ready().await;
    for _ in 0..10 {
        let object = system.submit(&json!({"data": TEXT})).await.unwrap();
        system.finished(object["id"].as_str().unwrap()).await.unwrap();
        later += 1;
    }
    all_finished(&system, in_backup + later).await;
    stopped_with_empty_queues(&mut system).await;
    // Nothing twice: the figures are what counting gives, and everything in the backup is there.
    assert_is_a_moment(&system.database()).await;
    let lost = format!(
        "ATTACH '{}' AS b; SELECT count(*) FROM b.objects AS o WHERE status = 'succeeded'
         AND NOT EXISTS (SELECT 1 FROM objects WHERE id = o.id AND status = 'succeeded' AND result = o.result)",
        copy.display()
    );
    assert_eq!(ask(&system.database(), &lost).await, "0");
}

/// With nothing on its way when the backup is taken, the outcome is exact: the backup, and all that waited.
#[tokio::test(flavor = "multi_thread")]
async fn what_waited_on_the_broker_is_merged_on_top_of_the_backup_each_once() {
    const BEFORE: usize = 20;
    const WAITING: usize = 30;
    let mut system = System::start(Options::on(shared_broker_url())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("backup.db");
    for _ in 0..BEFORE {
        system.submit(&json!({"data": TEXT})).await.unwrap();
    }
    all_finished(&system, BEFORE).await;
    backed_up(&system, &copy).await;
    system.kill("statistics").await.unwrap();
    for _ in 0..WAITING {
        system.submit(&json!({"data": TEXT})).await.unwrap();
    }
    restore(&system, &copy).await;
    system.start_all().unwrap();
    system.all_ready().await;
    all_finished(&system, BEFORE + WAITING).await;
    for (name, expected) in [
        ("objects created", BEFORE + WAITING),
        ("objects succeeded", BEFORE + WAITING),
        ("tasks processed", 3 * (BEFORE + WAITING)),
    ] {
        assert_eq!(figure(&system, name).await, expected as f64, "{name}");
    }
    let totals = crate::kit::totals(&system).await;
    assert_eq!((totals["one"], totals["two"]), (50, 100));
    stopped_with_empty_queues(&mut system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_copy_from_being_made_is_said_and_told_by_the_exit_code() {
    let system = System::start(Options::embedded()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (letter, copy, missing, deep) =
        (path("letter"), path("copy.db"), path("missing.db"), path("no/such/folder/b.db"));
    fs::write(&letter, "a letter").unwrap();
    let record = system.database().to_str().unwrap().to_owned();
    for (arguments, record, code, told) in [
        (vec!["backup", &letter], &record, 73, "--force"),
        (vec!["backup", &deep], &record, 73, "no/such/folder"),
        (vec!["backup", folder.path().to_str().unwrap()], &record, 73, "directory"),
        (vec!["backup", &record], &record, 73, "itself"),
        (vec!["backup", "--force", &record], &record, 73, "itself"),
        (vec!["backup", &copy], &missing, 66, "missing.db"),
        (vec!["backup", &copy], &letter, 65, "letter"),
        (vec!["backup"], &record, 64, "<FILE>"),
        (vec!["backup", &copy], &"postgres://x".to_owned(), 64, "DATABASE_URL"),
        (vec!["restore", &letter], &record, 73, "--force"),
        (vec!["restore", "--force", &letter], &record, 75, "stop the system"),
        (vec!["restore", &letter], &missing, 65, "letter"),
        (vec!["restore", &copy], &missing, 66, "copy.db"),
    ] {
        let output = ebs(&arguments, record).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_to_string(&letter).unwrap(), "a letter");
    let left = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let left: BTreeSet<String> = left.collect();
    assert_eq!(left, BTreeSet::from(["letter".to_owned(), "missing.db.lock".to_owned()]), "nothing was left behind");
    // With leave to do so it takes the place of what was there.
    let output = ebs(&["backup", "--force", &letter], &record).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_is_a_moment(Path::new(&letter)).await;
}

/// For containers, which have neither a shell nor `ebs`.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_itself_copies_its_record_to_standard_output_and_takes_it_from_standard_input() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    system.submit(&json!({"data": TEXT})).await.unwrap();
    all_finished(&system, 1).await;
    let mut command = system.command("statistics");
    let output = command.args(["backup", "-"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("b.db");
    fs::write(&copy, output.stdout).unwrap();
    assert_is_a_moment(&copy).await;
    assert_eq!(ask(&copy, "SELECT count(*) FROM objects").await, "1");

    let restored = folder.path().join("restored.db");
    let mut command = system.command("statistics");
    command.args(["restore", "-"]).env("DATABASE_URL", &restored).stdin(File::open(&copy).unwrap());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ask(&restored, "SELECT count(*) FROM objects").await, "1");
}
