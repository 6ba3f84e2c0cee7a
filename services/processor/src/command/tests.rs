//! Real processes: what they are given, what becomes of what they do, and that nothing of them is left.

use std::{path::Path, sync::Arc, time::Duration};

use bus::{
    Cause, Failure,
    events::{Attempt, Json, ObjectId, Task, TaskId},
};
use chassis::config::{Span, SpanRange};
use operations::{Catalogue, Operation};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::eventually;
use tokio::time::Instant;

use super::find;
use crate::{
    execute::{Executor, Failed},
    stuck::Stuck,
};

/// No test waits so long for it.
const LONG: &str = "1000";

/// An operation of a file, whose command is a script.
struct Fixture {
    folder: TempDir,
    operation: Arc<dyn Operation>,
    limit: Duration,
}

impl Fixture {
    fn new(script: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[operations.mine]\ndescription = 'Mine.'\ncommand = ['sh', '-c', '''{script}''', 'sh']\n{more}\n\
             [operations.mine.parameters]\nproperties.times.type = 'integer'\n"
        );
        let catalogue = Catalogue::built_in().with_file(&text, folder.path()).unwrap();
        Self { folder, operation: catalogue.get("mine").unwrap(), limit: Duration::from_secs(60) }
    }

    async fn execute(&self, data: &Value, parameters: Value) -> Result<Value, Failed> {
        let none = SpanRange::new(Span::ZERO, Span::ZERO);
        let executor = Executor { process_time: none, limit: self.limit, stuck: Arc::new(Stuck::new(1)) };
        let object_id = ObjectId::new();
        let task = Task {
            id: TaskId::of(object_id, 3, 1),
            object_id,
            part: 1,
            parts: 3,
            operation: "mine".parse().unwrap(),
            parameters: parameters.as_object().unwrap().clone(),
            data: Json::of(data).unwrap(),
            round: 0,
        };
        let attempt = Attempt {
            task_id: task.id,
            object_id,
            part: 1,
            parts: 3,
            operation: task.operation.clone(),
            round: 0,
            attempt: 2,
            processor: "test".to_owned(),
        };
        executor.execute(&self.operation, task, &attempt).await.map(|result| result.parse().unwrap())
    }

    async fn of(&self, data: Value) -> Result<Value, Failed> {
        self.execute(&data, json!({})).await
    }

    async fn permanent(&self, data: Value) -> Failure {
        match self.of(data).await {
            Err(Failed::Permanent(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    async fn transient(&self, data: Value) -> Failure {
        match self.of(data).await {
            Err(Failed::Transient(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

/// Whether a process of that number runs; one that only waits for being reaped does not.
fn runs(id: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(id.trim()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until a process does not run any more.
async fn ended(id: &str) {
    eventually(async || if runs(id) { Err(format!("{id} still runs")) } else { Ok(()) }).await;
}

/// Children of this process that nobody has reaped.
fn zombies() -> Vec<String> {
    let own = format!(" {} ", std::process::id());
    let stats = std::fs::read_dir("/proc").unwrap().flatten().map(|process| process.path().join("stat"));
    let stats = stats.filter_map(|stat| std::fs::read_to_string(stat).ok());
    stats.filter(|stat| stat.rsplit_once(") Z").is_some_and(|(_, rest)| rest.starts_with(&own))).collect()
}

#[tokio::test]
async fn a_part_comes_in_as_json_and_a_partial_result_goes_out_as_json() {
    let data = json!({"text": "é \"\n", "numbers": [1, 2.5, u64::MAX], "null": null});
    assert_eq!(Fixture::new("cat", "").of(data.clone()).await.unwrap(), data);
    assert_eq!(Fixture::new("echo; echo ' 1 '", "").of(json!(0)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_command_is_told_of_its_task_and_of_nothing_else() {
    let script = r#"printf '[%s,"%s",%s,%s,%s,"%s","%s"]' "$EBS_PARAMETERS" "$EBS_OPERATION" "$EBS_PART" "$EBS_PARTS" "$EBS_ATTEMPT" "$EBS_TASK_ID" "$EBS_OBJECT_ID""#;
    let told = Fixture::new(script, "").execute(&json!(0), json!({"times": 7})).await.unwrap();
    assert_eq!(told.as_array().unwrap()[..5], *json!([{"times": 7}, "mine", 1, 3, 2]).as_array().unwrap());
    let object: ObjectId = told[6].as_str().unwrap().parse().unwrap();
    assert_eq!(told[5], TaskId::of(object, 3, 1).to_string());
    // The environment of a test has CARGO_MANIFEST_DIR, as that of a processor may have API_TOKEN.
    let names = r#"env -0 | tr '\n\0' ' \n' | sed 's/=.*//' | sed 's/.*/"&"/' | paste -sd, | sed 's/.*/[&]/'"#;
    let names_of = async |more: &str| {
        let names = Fixture::new(names, more).of(json!(0)).await.unwrap();
        names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let allowed = |name: &String| {
        let own = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"];
        // The shell's own.
        let shell = ["PWD", "OLDPWD", "SHLVL", "_"];
        [&own[..], &shell[..]].concat().contains(&name.as_str()) || name.starts_with("EBS_") || name.starts_with("LC_")
    };
    let names = names_of("").await;
    assert!(names.contains(&"PATH".to_owned()) && names.iter().all(allowed), "{names:?}");
    let names = names_of("pass_environment = ['CARGO_MANIFEST_DIR', 'NOT_SET']").await;
    assert!(names.contains(&"CARGO_MANIFEST_DIR".to_owned()) && !names.contains(&"NOT_SET".to_owned()), "{names:?}");
}

#[tokio::test]
async fn it_runs_in_the_folder_of_its_file() {
    let fixture = Fixture::new("cat it", "");
    std::fs::write(fixture.folder.path().join("it"), "\"here\"").unwrap();
    assert_eq!(fixture.of(json!(0)).await.unwrap(), "here");
}

#[tokio::test]
async fn its_exit_code_says_whether_another_attempt_may_succeed() {
    let failure = Fixture::new("echo 'no luck' >&2; exit 75", "").transient(json!(0)).await;
    assert_eq!(failure.reason(), "the command failed in passing (exit code 75): no luck");
    let failure = Fixture::new("echo 1; echo 'no use' >&2; exit 3", "").permanent(json!(0)).await;
    assert_eq!((failure.cause(), failure.reason()), (Cause::Rejected, "the command failed (exit code 3): no use"));
    let failure = Fixture::new("kill -KILL $$", "").transient(json!(0)).await;
    assert!(failure.reason().contains("signal: 9"), "{failure}");
}

#[tokio::test]
async fn what_it_says_is_bounded_and_harmless() {
    let failure = Fixture::new(r#"yes | head -c 10000000 >&2; printf 'the \033[31mend' >&2; exit 1"#, "")
        .permanent(json!(0))
        .await;
    assert!(failure.reason().ends_with("y\nthe \u{FFFD}[31mend"), "{failure}");
    assert!(failure.reason().chars().count() < 2000);
}

#[tokio::test]
async fn a_result_that_is_none_is_refused_for_good() {
    for (script, more, told) in [
        ("true", "", "printed nothing"),
        ("echo hello", "", "not one JSON value"),
        ("echo 1 2", "", "not one JSON value"),
        ("echo [12345678901234567890123]", "", "longer than 64 bits"),
        (r#"printf '"\377"'"#, "", "not one JSON value"),
        ("printf '[%.0s' $(seq 200)", "", "not one JSON value"),
        ("echo 1", "scatter = 'array'", "printed a number; allowed: an array"),
    ] {
        let failure = Fixture::new(script, more).permanent(json!([0])).await;
        assert!(failure.cause() == Cause::Rejected && failure.reason().contains(told), "{script}: {failure}");
    }
}

#[tokio::test]
async fn a_task_that_did_not_come_by_the_door_is_checked_all_the_same() {
    let fixture = Fixture::new("touch ran; echo []", "scatter = 'array'");
    let long = json!({"times": "x".repeat(20_000)});
    for (data, parameters, told) in [
        (json!("text"), json!({}), "an array"),
        (json!([]), json!({"tmes": 1}), "allowed: times"),
        (json!([]), long, "16384"),
    ] {
        let executed = fixture.execute(&data, parameters).await;
        let Err(Failed::Permanent(failure)) = executed else { panic!("{executed:?}") };
        assert!(failure.reason().contains(told), "{failure}");
    }
    assert!(!fixture.folder.path().join("ran").exists());
}

#[tokio::test]
async fn a_command_need_not_read_its_input() {
    // More than any pipe holds.
    let data = json!("x".repeat(4 * 1024 * 1024));
    assert_eq!(Fixture::new("echo 1", "").of(data.clone()).await.unwrap(), 1);
    assert_eq!(Fixture::new("exec <&-; echo 1", "").of(data.clone()).await.unwrap(), 1);
    // What it leaves behind holds the pipe open.
    let fixture = Fixture::new(&format!("sleep {LONG} >/dev/null 2>&1 & echo $!"), "");
    let left = fixture.of(data).await.unwrap();
    ended(&left.to_string()).await;
}

#[tokio::test]
async fn what_prints_without_end_is_killed_and_refused_for_good() {
    let fixture = Fixture::new("echo $$ >id; exec yes", "max_output_bytes = 100000");
    let failure = fixture.permanent(json!(0)).await;
    assert_eq!(failure.cause(), Cause::TooLarge);
    assert!(failure.reason().contains("more than 100000 bytes (max_output_bytes)"), "{failure}");
    let id = fixture.file("id");
    ended(&id).await;
    // As long as is allowed.
    let text = Fixture::new("printf '\"%s\"' $(head -c 98 /dev/zero | tr '\\0' x)", "max_output_bytes = 100");
    assert_eq!(text.of(json!(0)).await.unwrap(), "x".repeat(98));
}

#[tokio::test]
async fn what_takes_too_long_is_killed_with_all_that_it_started() {
    let script = format!("echo $$ >parent; (sleep {LONG} & echo $! >child; wait) & wait");
    let mut fixture = Fixture::new(&script, "timeout_ms = 5000");
    let failure = fixture.transient(json!(0)).await;
    assert_eq!((failure.cause(), failure.reason()), (Cause::TimedOut, "it took longer than 5s (timeout_ms)"));
    for process in ["parent", "child"] {
        let id = fixture.file(process);
        assert!(!id.is_empty());
        ended(&id).await;
    }
    fixture.limit = Duration::from_millis(300);
    let failure = fixture.transient(json!(0)).await;
    assert_eq!(failure.reason(), "it took longer than 300ms (TASK_TIMEOUT)");
}

#[tokio::test]
async fn what_it_leaves_behind_is_killed_when_it_has_ended() {
    let fixture = Fixture::new(&format!("sleep {LONG} </dev/null >/dev/null 2>&1 & echo $!"), "");
    let began = Instant::now();
    let left = fixture.of(json!(0)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    ended(&left.to_string()).await;
}

#[tokio::test]
async fn whoever_is_dropped_leaves_nothing_behind() {
    let fixture = Fixture::new(&format!("echo $$ >id; exec sleep {LONG}"), "");
    let running = fixture.of(json!(0));
    let started =
        eventually(async || if fixture.file("id").is_empty() { Err("it does not run".to_owned()) } else { Ok(()) });
    tokio::select! {
        ended = running => panic!("{ended:?}"),
        () = started => {}
    }
    let id = fixture.file("id");
    ended(&id).await;
    // Nor does any other test.
    eventually(async || if zombies().is_empty() { Ok(()) } else { Err(zombies().concat()) }).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh\necho 1\n").unwrap();
    for (program, is_here) in
        [("sh", true), ("no-such-program", false), ("./script", false), ("/bin/sh", true), ("./", false)]
    {
        let text = format!("[operations.mine]\ndescription = 'Mine.'\ncommand = ['{program}']");
        let catalogue = Catalogue::built_in().with_file(&text, folder.path()).unwrap();
        let operation = catalogue.get("mine").unwrap();
        let operations::Execution::Command(command) = operation.execution() else { panic!("it is a command") };
        assert_eq!(find(command).is_some(), is_here, "{program}");
    }
}
