//! Operations of one's own: declared in a file that all services read, executed by commands, or by processors in another
//! language.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Options, Process, System, eventually, service_binary, shared_broker_url};
use tokio::process::Command;

use crate::kit::{everywhere, partials};

everywhere! {
    commands_give_the_same_result_whatever_the_number_of_parts,
    what_the_file_does_not_allow_is_refused_at_the_door,
    a_command_that_fails_is_tried_again_or_set_aside_and_can_be_replayed,
    a_command_that_takes_too_long_is_a_task_that_timed_out,
    a_command_is_given_no_secret,
    a_processor_that_is_killed_takes_its_commands_with_it_and_loses_nothing,
    a_processor_that_is_told_to_stop_leaves_no_command_behind_and_loses_nothing,
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> PathBuf {
    repository().join("examples/operations/operations.toml")
}

/// A file with operations of commands, each a name and a script, in a folder of its own.
fn scripts(scripts: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let operation = |(name, script): &(&str, &str)| {
        format!("[operations.{name}]\ndescription = 'Of a test.'\ncommand = ['sh', '-c', '''{script}''']\n")
    };
    let file = write(&folder, &scripts.iter().map(operation).collect::<String>());
    (folder, file)
}

fn write(folder: &TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("operations.toml");
    std::fs::write(&file, text).unwrap();
    file
}

async fn finished(system: &System, submission: &Value) -> Value {
    let object = system.submit(submission).await.unwrap();
    system.finished(object["id"].as_str().unwrap()).await.unwrap()
}

/// Whether a process of that number runs; one that only waits for being reaped does not.
fn runs(id: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The numbers of the processes that a script wrote into a file, one a line.
async fn started(file: &Path, count: usize) -> Vec<String> {
    eventually(async || {
        let ids: Vec<String> = std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect();
        if ids.len() >= count { Ok(ids) } else { Err(format!("{ids:?} run, of {count}")) }
    })
    .await
}

async fn all_ended(ids: &[String]) {
    eventually(async || match ids.iter().find(|id| runs(id)) {
        None => Ok(()),
        Some(id) => Err(format!("{id} still runs")),
    })
    .await;
}

async fn commands_give_the_same_result_whatever_the_number_of_parts(options: Options) {
    let system = System::start(options.processors(2).set("OPERATIONS_FILE", examples().display())).await.unwrap();
    let listed = system.get("/api/operations").await.unwrap();
    let listed: BTreeMap<&str, &Value> =
        listed["operations"].as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap(), one)).collect();
    assert_eq!(listed["digest"]["summary"], "The digest of each text of an array, in hexadecimal.");
    assert_eq!(listed["digest"]["parameters"]["additionalProperties"], false);
    assert!(listed.contains_key("plusone") && listed.contains_key("reverse"));

    // As sha256sum prints them.
    let digests = json!([
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
        "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6",
    ]);
    let digest = |tasks: usize, data: Value| json!({"operation": "digest", "parameters": {"algorithm": "sha256"}, "data": data, "tasks": tasks});
    let upper = |tasks: usize| json!({"operation": "upper", "data": "one\ntwo\n\nthree", "tasks": tasks});
    for (submission, parts, result) in [
        (digest(1, json!(["a", "b", "c"])), 1, digests.clone()),
        (digest(2, json!(["a", "b", "c"])), 2, digests.clone()),
        (digest(50, json!(["a", "b", "c"])), 3, digests),
        (digest(3, json!([])), 1, json!([])),
        (upper(1), 1, json!("ONE\nTWO\n\nTHREE")),
        (upper(3), 3, json!("ONE\nTWO\n\nTHREE")),
        (upper(50), 4, json!("ONE\nTWO\n\nTHREE")),
    ] {
        let object = finished(&system, &submission).await;
        assert_eq!(object["status"], "succeeded", "{object}");
        assert_eq!(object["result"], result, "{submission}");
        assert_eq!(partials(&object).len(), parts, "{submission}");
    }
}

async fn what_the_file_does_not_allow_is_refused_at_the_door(options: Options) {
    let system = System::start(options.set("OPERATIONS_FILE", examples().display())).await.unwrap();
    for (submission, told) in [
        (json!({"operation": "digest", "data": []}), "\"algorithm\" is a required property"),
        (json!({"operation": "digest", "data": [], "parameters": {"algorithm": "md5"}}), "`/algorithm`"),
        (json!({"operation": "digest", "data": [], "parameters": {"algoritm": "sha256"}}), "allowed: algorithm"),
        (json!({"operation": "digest", "data": "a", "parameters": {"algorithm": "sha256"}}), "allowed: an array"),
        (json!({"operation": "upper", "data": ["a"]}), "allowed: a text"),
        (json!({"operation": "upper", "data": "a", "parameters": {"any": 1}}), "allowed: none"),
        (json!({"operation": "lower", "data": "a"}), "digest"),
    ] {
        let request = system.client().post(system.url_of("datagen", "/api/objects")).json(&submission);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{submission}");
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(told), "{submission}: {problem}");
    }
}

async fn a_command_that_fails_is_tried_again_or_set_aside_and_can_be_replayed(options: Options) {
    let (folder, file) = scripts(&[
        ("third-time", r#"[ "$EBS_ATTEMPT" -ge 3 ] || { echo "not yet" >&2; exit 75; }; cat"#),
        ("mended", r#"[ -e mended ] || { echo "broken" >&2; exit 1; }; cat"#),
    ]);
    let system = System::start(options.set("OPERATIONS_FILE", file.display())).await.unwrap();
    let object = finished(&system, &json!({"operation": "third-time", "data": [1]})).await;
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!([1])), "{object}");
    assert_eq!(object["tasks"][0]["attempt"], 3, "{object}");

    let object = finished(&system, &json!({"operation": "mended", "data": [1]})).await;
    assert_eq!(object["status"], "failed", "{object}");
    assert_eq!(object["errors"][0]["error"], "the command failed (exit code 1): broken", "{object}");
    let id = object["id"].as_str().unwrap();
    let letters = eventually(async || {
        let letters = system.get("/api/dead-letters?operation=mended").await.map_err(|error| error.to_string())?;
        let found = letters["dead_letters"].as_array().is_some_and(|letters| letters.len() == 1);
        if found { Ok(letters) } else { Err(letters.to_string()) }
    })
    .await;
    assert!(letters.to_string().contains("broken") && letters.to_string().contains("rejected"), "{letters}");
    std::fs::write(folder.path().join("mended"), "").unwrap();
    let replay = system.client().post(system.url_of("datagen", "/api/dead-letters/replay")).json(&json!({"all": true}));
    assert_eq!(replay.send().await.unwrap().status(), 202);
    eventually(async || {
        let object = system.get(&format!("/api/objects/{id}")).await.map_err(|error| error.to_string())?;
        if object["status"] == "succeeded" && object["result"] == json!([1]) { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
}

async fn a_command_that_takes_too_long_is_a_task_that_timed_out(options: Options) {
    let (folder, file) = scripts(&[("endless", "echo $$ >>ids; sleep 1000 & echo $! >>ids; wait")]);
    let options = options.set("OPERATIONS_FILE", file.display()).set("TASK_TIMEOUT", "5s").set("MAX_ATTEMPTS", 2);
    let system = System::start(options).await.unwrap();
    let object = finished(&system, &json!({"operation": "endless", "data": 1})).await;
    assert_eq!(object["status"], "failed", "{object}");
    let told = object["errors"][0]["error"].as_str().unwrap();
    assert_eq!(told, "attempts used up (2): it took longer than 5s (TASK_TIMEOUT)");
    all_ended(&started(&folder.path().join("ids"), 4).await).await;
}

async fn a_command_is_given_no_secret(options: Options) {
    let (_folder, file) = scripts(&[("show", r#"env | grep -c -e t0ken-m4rk -e QUEUE_URL -e DATABASE_URL; true"#)]);
    let options = options.set("OPERATIONS_FILE", file.display());
    // With a token every request needs it, and that is another test's matter: any other secret will do.
    let system = System::start(options.set("SOME_PASSWORD", "t0ken-m4rk")).await.unwrap();
    let object = finished(&system, &json!({"operation": "show", "data": null})).await;
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!(0)), "{object}");
}

/// A command that says that it runs, with something that it has started, and waits until it may go on.
const WAITING: (&str, &str) =
    ("waiting", "sleep 1000 >out 2>&1 & echo $! >>ids; echo $$ >>ids; while [ ! -e go ]; do sleep 0.05; done; cat");

async fn a_processor_that_is_killed_takes_its_commands_with_it_and_loses_nothing(options: Options) {
    let (folder, file) = scripts(&[WAITING]);
    let mut system = System::start(options.set("OPERATIONS_FILE", file.display())).await.unwrap();
    let object = system.submit(&json!({"operation": "waiting", "data": "kept"})).await.unwrap();
    let ids = started(&folder.path().join("ids"), 2).await;
    assert!(ids.iter().all(|id| runs(id)), "{ids:?}");
    system.kill("processor-0").await.unwrap();
    all_ended(&ids).await;
    std::fs::write(folder.path().join("go"), "").unwrap();
    system.start_service("processor-0").unwrap();
    system.all_ready().await;
    let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!("kept")), "{object}");
    all_ended(&started(&folder.path().join("ids"), 4).await).await;
}

async fn a_processor_that_is_told_to_stop_leaves_no_command_behind_and_loses_nothing(options: Options) {
    let (folder, file) = scripts(&[WAITING]);
    let options = options.set("OPERATIONS_FILE", file.display()).set("SHUTDOWN_GRACE", "500ms");
    let mut system = System::start(options).await.unwrap();
    let object = system.submit(&json!({"operation": "waiting", "data": "kept"})).await.unwrap();
    let ids = started(&folder.path().join("ids"), 2).await;
    system.stop("processor-0").await.unwrap();
    all_ended(&ids).await;
    std::fs::write(folder.path().join("go"), "").unwrap();
    system.start_service("processor-0").unwrap();
    system.all_ready().await;
    let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!("kept")), "{object}");
    assert_eq!(object["tasks"][0]["attempt"], 1, "what was handed back cost no attempt: {object}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_ends_every_service_with_its_line_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "[operations.mine]\ndescription = 'Mine.'\ncommand = ['cat']\nscatter = 'words'\n");
    for service in ["ebs", "datagen", "distributor", "processor", "statistics"] {
        let mut command = Command::new(service_binary(service));
        let output = command.current_dir(&folder).env("OPERATIONS_FILE", &file).env("LISTEN", "127.0.0.1:0").output();
        let output = output.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{service}: {said}");
        assert!(said.contains("OPERATIONS_FILE") && said.contains(file.to_str().unwrap()), "{service}: {said}");
        assert!(said.contains("line 4") && said.contains("`whole`, `array`, `lines`"), "{service}: {said}");
    }
}

#[tokio::test]
async fn a_processor_offers_only_what_it_can_execute() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[operations.mine]\ndescription = 'Mine.'\ncommand = ['./no-such-program']\n\
                [operations.others]\ndescription = 'Not mine.'\nexternal = true\n";
    let file = write(&folder, text);
    for (operations, told) in [("", "no program \"./no-such-program\", for mine"), ("nop,others", "others is external")]
    {
        let mut command = Command::new(service_binary("processor"));
        command.env("OPERATIONS_FILE", &file).env("OPERATIONS", operations).env("LISTEN", "127.0.0.1:0");
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("OPERATIONS=") && said.contains(told), "{said}");
    }
}

/// The example of a processor in Python, of an operation.
fn python_processor(system: &System, name: &str) -> Process {
    let python = repository().join("target/tools/pika/bin/python");
    assert!(python.exists(), "{} is missing: run the tests by `make test`, which installs it", python.display());
    let mut command = Command::new(python);
    command.arg(repository().join("examples/python/processor.py")).arg("reverse");
    command.env("QUEUE_URL", system.broker().unwrap()).env("EXCHANGE", system.exchange());
    Process::start(name, command).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_in_another_language_executes_an_external_operation() {
    let options = Options::on(shared_broker_url()).set("OPERATIONS_FILE", examples().display());
    let system = System::start(options).await.unwrap();
    // Nobody is there to do it: it waits.
    let waiting =
        system.submit(&json!({"operation": "reverse", "data": ["ab", "cd", "ef"], "tasks": 2})).await.unwrap();
    let mut first = python_processor(&system, "first.py");
    let object = system.finished(waiting["id"].as_str().unwrap()).await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!(["ba", "dc", "fe"])), "{object}");
    assert!(object["tasks"].as_array().unwrap().iter().all(|task| task["started_at"].is_string()), "{object}");

    // What fails is told, and among the dead letters; replayed, it fails again in its next round.
    let object = finished(&system, &json!({"operation": "reverse", "data": [1], "tasks": 1})).await;
    assert_eq!(object["status"], "failed", "{object}");
    assert!(object["errors"][0]["error"].as_str().unwrap().starts_with("TypeError"), "{object}");
    let letters = |count: usize| {
        let system = &system;
        eventually(async move || {
            let letters = system.get("/api/dead-letters?operation=reverse").await.map_err(|error| error.to_string())?;
            let found = letters["dead_letters"].as_array().is_some_and(|letters| letters.len() == count);
            if found { Ok(letters) } else { Err(letters.to_string()) }
        })
    };
    assert!(letters(1).await.to_string().contains("TypeError"));
    let replay = system.client().post(system.url_of("datagen", "/api/dead-letters/replay")).json(&json!({"all": true}));
    assert_eq!(replay.send().await.unwrap().status(), 202);
    letters(2).await;

    // Killed while it works, and another one goes on: each element once.
    let many: Vec<String> = (0..400).map(|number| format!("{number}x")).collect();
    let expected: Vec<String> = many.iter().map(|text| text.chars().rev().collect()).collect();
    let object = system.submit(&json!({"operation": "reverse", "data": many, "tasks": 400})).await.unwrap();
    eventually(async || {
        let object = system
            .get(&format!("/api/objects/{}", object["id"].as_str().unwrap()))
            .await
            .map_err(|error| error.to_string())?;
        let done =
            object["tasks"].as_array().into_iter().flatten().filter(|task| task["status"] == "succeeded").count();
        if done >= 20 { Ok(()) } else { Err(format!("{done} are done")) }
    })
    .await;
    first.kill().await.unwrap();
    let _second = python_processor(&system, "second.py");
    let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!(expected)));
}
