//! What is of the whole process, seen from outside: each test runs this test binary again as a child that plays one part.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use chassis::{
    config,
    settings::Settings,
    shutdown,
    telemetry::{self, LogFilter, LogFormat},
};

/// Says in the child which part it plays.
const PART: &str = "CHASSIS_TEST_PART";

#[test]
fn the_first_signal_cancels_the_token() {
    let (mut child, _stdout) = start("shuts_down", &[]);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_second_signal_ends_the_process() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let (mut child, mut stdout) = start("never_shuts_down", &[]);
        signal(&child, name);
        read_until(&mut stdout, "cancelled");
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn a_panic_does_not_break_json_lines() {
    let (mut child, _stdout) = start("panics", &[("RUST_LOG", "info")]);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    child.wait().unwrap();
    let events: Vec<serde_json::Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["message"], "about to");
    assert_eq!(events[1]["message"], "panicked: first line\nsecond line");
    assert!(events[1]["location"].as_str().unwrap().contains("process.rs:"), "{stderr}");
}

#[test]
fn a_bad_filter_is_a_configuration_error() {
    let (mut child, mut stdout) = start("reports_filter", &[("RUST_LOG", "inof")]);
    read_until(&mut stdout, r#"RUST_LOG="inof" is not allowed: expected a level"#);
    child.wait().unwrap();
}

/// The children's side; nothing when run as a test.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.as_str() {
        "shuts_down" => wait_for_signal(async |token| token.cancelled().await),
        "never_shuts_down" => wait_for_signal(async |token| {
            token.cancelled().await;
            println!("cancelled");
            std::future::pending().await
        }),
        "panics" => {
            telemetry::init(LogFormat::Json, LogFilter::default());
            tracing::info!("about to");
            panic!("first line\nsecond line");
        }
        "reports_filter" => println!("{}", config::load::<Settings>().unwrap_err()),
        _ => panic!("no such part: {part}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn wait_for_signal(play: impl AsyncFnOnce(tokio_util::sync::CancellationToken)) {
    let token = shutdown::on_signals().unwrap();
    println!("ready");
    play(token).await;
}

/// Starts a child; one that waits for signals is ready for them.
fn start(part: &str, variables: &[(&str, &str)]) -> (Child, impl BufRead) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--quiet"])
        .env(PART, part)
        .env_remove("RUST_BACKTRACE")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    if part.contains("shuts_down") {
        read_until(&mut stdout, "ready");
    }
    (child, stdout)
}

/// The test binary's own words come before and after.
fn read_until(stdout: &mut impl BufRead, wanted: &str) {
    let mut text = String::new();
    while !text.contains(wanted) {
        assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "{wanted:?} never came: {text}");
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}
