//! `ebs up`: the whole system as one process, from its first line to its last.

use std::{path::Path, process::Output, time::Duration};

use serde_json::json;
use testkit::{Options, Process, Signal, System, eventually, free_port, service_binary, shared_broker_url};
use tokio::{process::Command, time::timeout};

use crate::kit::{all_finished, figure, stopped_with_empty_queues};

/// How soon a process ends that cannot run, or was told to stop: generous, as machines are slow at times.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// An `ebs` with files in `folder` and a port of its own.
fn ebs(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(service_binary("ebs"));
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    command.env_remove("QUEUE_URL").env("LISTEN", "127.0.0.1:0");
    command
}

/// What an `ebs` says that ends by itself: exit code and standard error.
async fn ended(mut command: Command) -> (Option<i32>, String) {
    let output: Output = timeout(ENDS_WITHIN, command.output()).await.expect("it did not end").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_command_it_runs_with_its_files_where_it_is_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let mut command = ebs(folder.path(), &[]);
    command.env("LISTEN", format!("127.0.0.1:{port}"));
    let mut running = Process::start("ebs", command).unwrap();
    let client = reqwest::Client::new();
    eventually(async || {
        let ready = client.get(format!("http://127.0.0.1:{port}/readyz")).send().await;
        let ready = ready.map_err(|error| error.to_string())?;
        if ready.status() == 200 { Ok(()) } else { Err(ready.text().await.unwrap()) }
    })
    .await;
    let said = running.lines().join("\n");
    for told in [&format!("http://127.0.0.1:{port}"), "bus.db", "stats.db"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let file = folder.path().join("bus.db");
    assert!(said.contains(file.canonicalize().unwrap().to_str().unwrap()), "{said}");
    assert!(folder.path().join("stats.db").exists());
    let healthy = ebs(folder.path(), &["healthcheck", "--listen", &format!("127.0.0.1:{port}")]);
    assert_eq!(ended(healthy).await, (Some(0), String::new()));
    running.stop(ENDS_WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_it_ends_well_and_the_next_start_goes_on_where_it_was() {
    const OBJECTS: usize = 6;
    let options = Options::embedded().set("PROCESS_TIME", "1s").set("CONCURRENCY", 2);
    let mut system = System::start(options).await.unwrap();
    for number in 0..OBJECTS {
        system.submit(&json!({"operation": "plusone", "data": [number, 2, 3]})).await.unwrap();
    }
    system.stop_by(Signal::SIGINT, "ebs").await.unwrap();
    let processed = figure(&system, "tasks processed").await;
    assert!(processed < (3 * OBJECTS) as f64, "stopped too late to show anything: {processed}");

    system.start_all().unwrap();
    system.all_ready().await;
    all_finished(&system, OBJECTS).await;
    assert_eq!(figure(&system, "objects succeeded").await, OBJECTS as f64);
    assert_eq!(figure(&system, "tasks processed").await, (3 * OBJECTS) as f64);
    stopped_with_empty_queues(&mut system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_grace_is_handed_back_and_done_by_the_next_start() {
    let options =
        Options::embedded().set("PROCESS_TIME", "7m").set("TASK_TIMEOUT", "8m").set("SHUTDOWN_GRACE", "500ms");
    let mut system = System::start(options).await.unwrap();
    let object = system.submit(&json!({"operation": "plusone", "data": [1, 2, 3]})).await.unwrap();
    let id = object["id"].as_str().unwrap();
    eventually(async || {
        let statistics = system.get("/api/statistics").await.map_err(|error| error.to_string())?;
        let begun = statistics["tasks"]["in_progress"].as_u64() > Some(0);
        if begun { Ok(()) } else { Err(statistics.to_string()) }
    })
    .await;
    // It ends well, and not after an hour.
    timeout(ENDS_WITHIN, system.stop("ebs")).await.expect("it waited for its tasks").unwrap();

    let mut hurried = system.command("ebs");
    hurried.env("PROCESS_TIME", "0s");
    let _hurried = Process::start("ebs", hurried).unwrap();
    system.ready("ebs").await;
    assert_eq!(system.finished(id).await.unwrap()["result"], json!([2, 3, 4]));
    assert_eq!(figure(&system, "tasks processed").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_files_is_refused_by_name_and_the_first_goes_on() {
    let system = System::start(Options::embedded()).await.unwrap();
    let second = |queue_url: String, database: String| {
        let mut command = system.command("ebs");
        command.env("LISTEN", "127.0.0.1:0").env("QUEUE_URL", queue_url).env("DATABASE_URL", database);
        command
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let (bus, record) = (system.bus_file().display().to_string(), system.database().display().to_string());
    let other = |name: &str| elsewhere.path().join(name).display().to_string();

    let (code, said) = ended(second(format!("embedded:{bus}"), other("stats.db"))).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&bus) && said.contains("another ebs") && said.contains("QUEUE_URL"), "{said}");

    let (code, said) = ended(second(format!("embedded:{}", other("bus.db")), record.clone())).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&record) && said.contains("another process") && said.contains("DATABASE_URL"), "{said}");

    let object = system.submit(&json!({})).await.unwrap();
    system.finished(object["id"].as_str().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = ended(ebs(folder.path(), &["up", "--listen", &address])).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("LISTEN"), "{said}");

    let missing = ["up", "--queue-url", "embedded:no/such/folder/bus.db"];
    let (code, said) = ended(ebs(folder.path(), &missing)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no/such/folder/bus.db") && said.contains("QUEUE_URL"), "{said}");

    let missing = ["up", "--database-url", "sqlite://no/such/folder/stats.db"];
    let (code, said) = ended(ebs(folder.path(), &missing)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no/such/folder/stats.db") && said.contains("DATABASE_URL"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_newer_version_are_left_alone() {
    let mut system = System::start(Options::embedded()).await.unwrap();
    system.stop("ebs").await.unwrap();
    for (file, change) in [
        (system.bus_file(), "pragma user_version = 1000"),
        (system.database(), "insert into _sqlx_migrations values (9999, 'newer', current_timestamp, 1, x'00', 1)"),
    ] {
        let kept = file.with_extension("kept");
        std::fs::copy(&file, &kept).unwrap();
        let changed = Command::new("sqlite3").arg(&file).arg(change).status().await.unwrap();
        assert!(changed.success());
        let (code, said) = ended(system.command("ebs")).await;
        assert_eq!(code, Some(65), "{said}");
        assert!(said.contains(file.to_str().unwrap()) && said.contains("newer version"), "{said}");
        std::fs::rename(kept, file).unwrap();
    }
    system.start_all().unwrap();
    system.all_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_beats_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let mut command =
        ebs(folder.path(), &["up", "--listen", &listen, "--process-time", "0s", "--processor", "flagged"]);
    command.env("LISTEN", "not an address").env("PROCESS_TIME", "1h").env("PROCESSOR", "variable");
    let _running = Process::start("ebs", command).unwrap();
    let client = reqwest::Client::new();
    let id = eventually(async || {
        let request = client.post(format!("http://{listen}/api/objects")).header("idempotency-key", "flags");
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.unwrap();
        let object: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        object["id"].as_str().map(str::to_owned).ok_or(text)
    })
    .await;
    let object = client.get(format!("http://{listen}/api/objects/{id}?wait=30")).send().await.unwrap();
    let object: serde_json::Value = object.json().await.unwrap();
    assert_eq!(object["status"], "succeeded", "{object}");
    assert_eq!(object["tasks"][0]["processor"], "flagged", "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_and_unknown_flags_end_it_with_64_each_named_as_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, variables, told) in [
        (vec!["up", "--listen", "nowhere"], vec![], vec!["--listen=\"nowhere\"", "127.0.0.1:8000"]),
        (vec![], vec![("LISTEN", "nowhere")], vec!["LISTEN=\"nowhere\"", "127.0.0.1:8000"]),
        (vec!["up", "--process-time", "x"], vec![("CONCURRENCY", "0")], vec!["--process-time", "CONCURRENCY", "1024"]),
        (vec!["up", "--queue-url", "embedded:"], vec![], vec!["--queue-url", "bus.db"]),
        (vec!["up", "--queue-url", "http://me:s3cret@host"], vec![], vec!["QUEUE_URL", "--queue-url-file"]),
        (vec!["up", "--queue-url", "http://host"], vec![], vec!["--queue-url", "amqp://", "embedded:bus.db"]),
        (vec!["up", "--api-token", "s3cret"], vec![], vec!["--api-token"]),
        (vec!["up", "--api-token=s3cret"], vec![], vec!["--api-token"]),
        (vec!["up"], vec![("API_TOKEN", "s3cret,,")], vec!["API_TOKEN", "visible"]),
        (vec!["up", "--operations", "juggle"], vec![], vec!["OPERATIONS=\"juggle\"", "word-frequencies"]),
        (vec!["up"], vec![("DATABASE_URL", "bus.db")], vec!["DATABASE_URL", "QUEUE_URL"]),
        (vec!["up", "--rust-log", "inof"], vec![], vec!["--rust-log=\"inof\"", "info"]),
        (vec!["up", "--speed", "9"], vec![], vec!["--speed"]),
        (vec!["juggle"], vec![], vec!["juggle"]),
    ] {
        let mut command = ebs(folder.path(), &arguments);
        command.envs(variables);
        let (code, said) = ended(command).await;
        assert_eq!(code, Some(64), "{arguments:?}: {said}");
        assert!(told.iter().all(|told| said.contains(told)), "{arguments:?}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_it_is_the_same_program() {
    let mut system = System::start(Options::one_process_on(shared_broker_url())).await.unwrap();
    let object = system.submit(&json!({"operation": "plusone", "data": [1, 2, 3]})).await.unwrap();
    let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(object["result"], json!([2, 3, 4]));
    assert!(!system.bus_file().exists(), "the bus is the broker");
    stopped_with_empty_queues(&mut system).await;
}
