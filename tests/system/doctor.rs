//! `ebs doctor`: what is wrong, and what to do.

use std::{fs, os::unix::fs::FileExt, path::Path};

use serde_json::Value;
use testkit::{Broker, Options, System, eventually, free_port, service_binary, shared_broker_url};
use tokio::process::Command;

use crate::kit::everywhere;

everywhere! {
    of_a_system_that_works_all_is_well,
    a_token_that_is_missing_or_wrong_is_told,
}

const TOKEN: &str = "t0ken-0123456789abcdef";
const PASSWORD: &str = "pa55w0rd-m4rk";

/// An `ebs doctor` that looks at nothing but what it is told.
fn doctor(folder: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(service_binary("ebs"));
    command.arg("doctor").current_dir(folder).kill_on_drop(true);
    for variable in ["QUEUE_URL", "DATABASE_URL", "API_TOKEN", "EBS_URL"] {
        command.env_remove(variable);
    }
    command.envs(variables.iter().copied());
    command
}

/// What it finds: exit code, and subjects with their verdicts and words.
struct Found {
    code: Option<i32>,
    checks: Vec<Value>,
    all: String,
}

async fn found(mut command: Command) -> Found {
    let output = command.arg("--json").output().await.unwrap();
    let all = String::from_utf8(output.stdout).unwrap();
    let told: Value = serde_json::from_str(&all).unwrap_or_else(|error| panic!("{error}: {all}"));
    Found { code: output.status.code(), checks: told["checks"].as_array().unwrap().clone(), all }
}

impl Found {
    /// There is a problem with this, in words that hold these, and something to do about it.
    fn problem(&self, subject: &str, told: &str) {
        self.has(subject, "problem", told);
        assert_eq!(self.code, Some(1), "{}", self.all);
    }

    fn says_ok(&self, subject: &str) -> bool {
        self.checks.iter().any(|check| check["subject"] == subject && check["verdict"] == "ok")
    }

    fn has(&self, subject: &str, verdict: &str, told: &str) {
        let fits = |check: &&Value| {
            let says = |name: &str| check[name].as_str().is_some_and(|says| says.contains(told));
            check["subject"] == subject && check["verdict"] == verdict && (says("says") || says("to_do"))
        };
        let check = self.checks.iter().find(fits).unwrap_or_else(|| panic!("{subject} {verdict} {told}: {}", self.all));
        assert!(verdict == "ok" || check["to_do"].as_str().is_some_and(|to_do| !to_do.is_empty()), "{check}");
    }
}

/// As a system's user would ask.
fn of(system: &System, more: &[(&str, &str)]) -> Command {
    let queue_url = system.broker().map_or(format!("embedded:{}", system.bus_file().display()), str::to_owned);
    let url = system.url_of("datagen", "");
    let database = system.database().display().to_string();
    let exchange = system.exchange().to_owned();
    let mut command = doctor(system.folder(), more);
    command.env("QUEUE_URL", queue_url).env("DATABASE_URL", database).env("EXCHANGE", exchange).env("EBS_URL", url);
    command
}

async fn of_a_system_that_works_all_is_well(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let object = system.submit(&serde_json::json!({})).await.unwrap();
    system.finished(object["id"].as_str().unwrap()).await.unwrap();
    let told = found(of(&system, &[])).await;
    assert_eq!(told.code, Some(0), "{}", told.all);
    told.has("system", "ok", env!("CARGO_PKG_VERSION"));
    told.has("ready", "ok", "bus");
    told.has("record", "ok", "in use by");
    match system.broker() {
        Some(_) => told.has("queues", "ok", "as they must be"),
        None => told.has("bus", "ok", "in use by ebs"),
    }
    // For people the same.
    let output = of(&system, &[]).output().await.unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("ok "));

    for name in system.names() {
        system.stop(&name).await.unwrap();
    }
    let told = found(of(&system, &[])).await;
    told.problem("system", "ebs up");
    told.has("record", "ok", "whole, nobody has it open");
    if system.broker().is_none() {
        told.has("bus", "ok", "whole, and nobody has it open");
    }
}

async fn a_token_that_is_missing_or_wrong_is_told(options: Options) {
    let system = System::start(options.set("API_TOKEN", TOKEN)).await.unwrap();
    found(of(&system, &[])).await.problem("token", "API_TOKEN");
    found(of(&system, &[("API_TOKEN", "wrong-0123456789abcdef")])).await.problem("token", "not one of");
    let told = found(of(&system, &[("API_TOKEN", TOKEN)])).await;
    assert_eq!(told.code, Some(0), "{}", told.all);
    told.has("token", "ok", "answered");
    assert!(!told.all.contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_operations_of_ones_own_are_looked_at_too() {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/operations/operations.toml");
    let system = System::start(Options::on(shared_broker_url()).set("OPERATIONS_FILE", operations)).await.unwrap();
    // Another program would have to do this, and none is there.
    system.submit(&serde_json::json!({"operation": "reverse", "data": ["ab"], "tasks": 1})).await.unwrap();
    let told = eventually(async || {
        let told = found(of(&system, &[("OPERATIONS_FILE", operations)])).await;
        let work = |check: &Value| check["subject"] == "work";
        if told.checks.iter().any(work) { Ok(told) } else { Err(told.all) }
    });
    let told = told.await;
    told.has("work", "warning", "1 wait in");
    assert!(told.all.contains("reverse"), "{}", told.all);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_damaged_newer_or_something_else_are_told_and_left_as_they_are() {
    let mut system = System::start(Options::embedded()).await.unwrap();
    system.stop("ebs").await.unwrap();
    let sqlite = async |file: &Path, change: &str| {
        assert!(Command::new("sqlite3").arg(file).arg(change).status().await.unwrap().success());
    };
    let (bus, record) = (system.bus_file(), system.database());
    let kept = [fs::read(&bus).unwrap(), fs::read(&record).unwrap()];

    sqlite(&bus, "pragma user_version = 1000").await;
    sqlite(&record, "insert into _sqlx_migrations values (9999, 'newer', current_timestamp, 1, x'00', 1)").await;
    let newer = fs::read(&bus).unwrap();
    let told = found(of(&system, &[])).await;
    told.problem("bus", "newer version");
    told.problem("record", "newer version");
    assert_eq!(fs::read(&bus).unwrap(), newer);

    for (file, content) in [&bus, &record].into_iter().zip(&kept) {
        fs::write(file, content).unwrap();
        // What a page begins with says what it is.
        let file = fs::File::options().write(true).open(file).unwrap();
        (1..content.len() as u64 / 4096).for_each(|page| file.write_all_at(&[0xff; 100], page * 4096).unwrap());
    }
    let told = found(of(&system, &[])).await;
    told.problem("bus", "damaged");
    told.problem("record", "restore");

    fs::write(&bus, "no database").unwrap();
    fs::write(&record, "no database").unwrap();
    let told = found(of(&system, &[])).await;
    told.problem("bus", "no SQLite database");
    told.problem("record", "no SQLite database");
    let missing = system.folder().join("no/such/folder/stats.db").display().to_string();
    let mut command = of(&system, &[]);
    command.env("DATABASE_URL", missing);
    found(command).await.problem("record", "no folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_not_allowed_are_told_and_the_rest_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let variables = [("CONCURRENCY", "many"), ("QUEUE_URL", "http://me:s3cret@host"), ("EBS_URL", &nobody)];
    let told = found(doctor(folder.path(), &variables)).await;
    told.problem("settings", "CONCURRENCY");
    told.problem("settings", "QUEUE_URL");
    told.problem("system", "ebs up");
    told.has("record", "ok", "not there yet");
    assert!(!told.all.contains("s3cret"), "{}", told.all);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_broker_from_being_used_is_told() {
    let broker = Broker::start().await.unwrap();
    for arguments in [
        ["add_user", "little", PASSWORD].as_slice(),
        &["set_permissions", "little", "^other.*", "^other.*", "^other.*"],
        &["add_user", "stranger", PASSWORD],
    ] {
        broker.ctl(arguments).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let port = broker.port();
    let looked = async |url: String| {
        let told = found(doctor(folder.path(), &[("QUEUE_URL", &url), ("EBS_URL", "http://127.0.0.1:1")])).await;
        assert!(!told.all.contains(PASSWORD), "{}", told.all);
        told
    };
    let told = looked(format!("127.0.0.1:{port}")).await;
    told.has("version", "ok", "RabbitMQ");
    told.has("queues", "ok", "none is there yet");
    told.has("alarms", "ok", "takes messages");
    told.has("rights", "ok", "may write and read");

    looked(format!("amqp://guest:{PASSWORD}@127.0.0.1:{port}/%2f")).await.problem("user", "password is wrong");
    looked(format!("amqp://nobody:{PASSWORD}@127.0.0.1:{port}/%2f")).await.problem("user", "password is wrong");
    looked(format!("amqp://guest:guest@127.0.0.1:{port}/elsewhere")).await.problem("vhost", "add_vhost");
    looked(format!("amqp://stranger:{PASSWORD}@127.0.0.1:{port}/%2f")).await.problem("vhost", "set_permissions");
    looked(format!("amqp://little:{PASSWORD}@127.0.0.1:{port}/%2f")).await.problem("rights", "set_permissions");
    looked("no-such-host.invalid:5672".to_owned()).await.problem("name", "no-such-host.invalid");
    looked(format!("127.0.0.1:{}", free_port().unwrap())).await.problem("reach", "start the broker");
    looked(format!("amqps://localhost:{port}")).await.problem("tls", "");

    broker.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await.unwrap();
    // The alarm reaches connections some moments later.
    let told = eventually(async || {
        let told = looked(format!("127.0.0.1:{port}")).await;
        if told.code == Some(1) && !told.says_ok("alarms") { Ok(told) } else { Err(told.all) }
    });
    told.await.problem("alarms", "memory");
}
