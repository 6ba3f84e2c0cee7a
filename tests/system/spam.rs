//! `ebs spam`: load, and an honest report of it.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Options, Process, Signal, System, eventually, service_binary};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::kit::{everywhere, totals};

everywhere! {
    what_it_reports_is_what_the_system_has_counted,
    what_is_killed_meanwhile_costs_no_object_and_makes_none_twice,
    files_are_submitted_and_what_is_refused_is_said,
    what_has_not_finished_in_time_is_said,
    interrupted_it_reports_what_there_is_so_far,
}

/// For how many seconds it is compared with what the system says; `EBS_TEST_SECONDS` says otherwise, as `make check-spam` does.
const SECONDS: u64 = 3;
/// Objects a second: few enough for any machine, so that what is measured is not the queue before it.
const RATE: u64 = 40;

/// How long one that was told to end may take: generous, as machines are slow at times.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

fn spam(system: &System, line: &str) -> Command {
    let mut command = Command::new(service_binary("ebs"));
    command.arg("spam").args(line.split_whitespace()).env("EBS_URL", system.url_of("datagen", ""));
    command.current_dir(system.folder()).kill_on_drop(true);
    command
}

/// `ebs spam --json …`: exit code and report.
async fn report(system: &System, line: &str) -> (Option<i32>, Value) {
    reported(spam(system, &format!("--json {line}")).output().await.unwrap())
}

fn reported(output: Output) -> (Option<i32>, Value) {
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said} {told}"));
    (output.status.code(), report)
}

fn in_background(system: &System, line: &str) -> Child {
    spam(system, &format!("--json {line}")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn created(system: &System) -> Result<u64, String> {
    let statistics = system.get("/api/statistics").await.map_err(|error| format!("{error:#}"))?;
    Ok(statistics["objects"]["created"].as_u64().unwrap_or_default())
}

async fn more_than(system: &System, count: u64) {
    eventually(async || match created(system).await? {
        created if created > count => Ok(()),
        created => Err(format!("{created} objects")),
    })
    .await;
}

async fn what_it_reports_is_what_the_system_has_counted(options: Options) {
    let system = System::start(options.set("PROCESS_TIME", "20ms..60ms").set("CONCURRENCY", 16)).await.unwrap();
    let seconds = std::env::var("EBS_TEST_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let all = RATE * seconds;
    let (code, report) = report(&system, &format!("--duration {seconds}s --rate {RATE} --seed 7")).await;
    println!("{report:#}");
    assert_eq!((code, &report["trouble"]), (Some(0), &json!({})), "no error: {report:#}");
    let objects = &report["objects"];
    assert_eq!((&objects["due"], &objects["submitted"], &objects["accepted"]), (&all.into(), &all.into(), &all.into()));
    assert_eq!(report["outcomes"]["succeeded"], all, "{report:#}");
    let statistics = system.get("/api/statistics").await.unwrap();
    assert_eq!((&statistics["objects"]["created"], &statistics["objects"]["succeeded"]), (&all.into(), &all.into()));
    assert_eq!(report["statistics"]["created"], all);
    assert_eq!(report["statistics"]["of_these_objects_alone"], true);
    let latency = |name: &str, percentile: &str| report["latencies_ms"][name][percentile].as_f64().unwrap();
    for percentile in ["p50", "p99"] {
        let (ours, theirs) = (latency("recorded", percentile), latency("statistics", percentile));
        assert!((ours - theirs).abs() <= theirs / 10.0, "{percentile}: {report:#}");
        assert_eq!(statistics["durations_ms"]["objects"][percentile].as_f64().unwrap(), theirs);
        // From when it was due, and with the way to the door.
        assert!(latency("finished", percentile) >= ours, "{percentile}: {report:#}");
    }
    let definition = |name: &str| report["definitions"][name].as_str().unwrap().to_owned();
    assert!(definition("recorded").contains("acceptance") && definition("statistics").contains("/api/statistics"));
    let words: u64 = totals(&system).await.values().sum();
    assert!(words > all * 30, "prose has words: {words}");

    // On top of them, for people.
    let output = spam(&system, "--count 10 --random-strings --size 100").output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("as many as were accepted here") && said.contains(&format!("{all} before")), "{said}");
    for name in ["recorded", "statistics"] {
        assert!(said.contains(&format!("\n{name:<12}{}\n", definition(name))), "{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
}

async fn what_is_killed_meanwhile_costs_no_object_and_makes_none_twice(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let running = in_background(&system, "--count 180 --rate 30");
    more_than(&system, 20).await;
    for name in ["datagen", "statistics"] {
        system.kill(name).await.unwrap();
        // In one process they are the same.
        system.start_service(name).unwrap();
        system.ready(name).await;
    }
    let (code, report) = reported(running.wait_with_output().await.unwrap());
    let objects = &report["objects"];
    assert!(objects["retried"].as_u64() > Some(0), "{report:#}");
    assert!(report["trouble"].as_object().is_some_and(|trouble| !trouble.is_empty()), "{report:#}");
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(objects["accepted"], 180, "{report:#}");
    assert_eq!(report["outcomes"]["succeeded"], 180, "{report:#}");
    assert_eq!(created(&system).await, Ok(180));
}

async fn files_are_submitted_and_what_is_refused_is_said(options: Options) {
    let system = System::start(options.set("MAX_EVENT_BYTES", "64KiB")).await.unwrap();
    std::fs::write(system.folder().join("a.txt"), "one two two").unwrap();
    std::fs::write(system.folder().join("b.txt"), "two three").unwrap();
    let (code, told) = report(&system, "a.txt b.txt").await;
    assert_eq!((code, &told["objects"]["accepted"]), (Some(0), &2.into()), "{told:#}");
    let expected = [("one", 1), ("three", 1), ("two", 3)].map(|(word, count)| (word.to_owned(), count));
    assert_eq!(totals(&system).await, expected.into());

    let (code, told) = report(&system, "--count 3 --size 128KiB").await;
    assert_eq!((code, &told["objects"]["refused"]), (Some(1), &3.into()), "{told:#}");
    assert!(told["trouble"].as_object().unwrap().keys().all(|kind| kind.starts_with("413")), "{told:#}");
    let (code, told) = report(&system, "--count 100000 --operation juggle").await;
    assert_eq!((code, &told["stopped_because_all_was_refused"]), (Some(1), &true.into()), "{told:#}");
    assert!(told["objects"]["submitted"].as_u64() < Some(1000), "{told:#}");
    assert!(told["trouble"].to_string().contains("word-frequencies"), "it says what there is: {told:#}");

    let output = spam(&system, "no-such-file").output().await.unwrap();
    assert_eq!(output.status.code(), Some(66));
    let output = spam(&system, "--url http://127.0.0.1:1").output().await.unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn what_has_not_finished_in_time_is_said(options: Options) {
    let system = System::start(options.set("PROCESS_TIME", "50s")).await.unwrap();
    let (code, told) = report(&system, "--count 2 --wait 1s").await;
    assert_eq!((code, &told["outcomes"]["unfinished"]), (Some(75), &2.into()), "{told:#}");
    let (code, told) = report(&system, "--count 2 --wait 0").await;
    assert_eq!((code, &told["objects"]["accepted"]), (Some(0), &2.into()), "who does not wait does not know: {told:#}");
}

async fn interrupted_it_reports_what_there_is_so_far(options: Options) {
    let system = System::start(options).await.unwrap();
    let running = in_background(&system, "--duration 1h --rate 20");
    more_than(&system, 10).await;
    interrupt(&running);
    let output = timeout(ENDS_WITHIN, running.wait_with_output()).await.expect("it did not end").unwrap();
    let (code, told) = reported(output);
    assert_eq!((code, &told["interrupted"]), (Some(0), &true.into()), "{told:#}");
    let accepted = told["objects"]["accepted"].as_u64().unwrap();
    assert!((10..10_000).contains(&accepted), "{told:#}");
    assert_eq!(told["followed"], accepted, "{told:#}");

    // A system that does not answer holds nobody: the second time ends it at once.
    let mut stuck = in_background(&system, "--duration 1h --rate 20");
    more_than(&system, accepted + 5).await;
    for name in system.names() {
        system.process(&name).signal(Signal::SIGSTOP).unwrap();
    }
    interrupt(&stuck);
    interrupt_until_it_ends(&mut stuck).await;
    system.names().iter().map(|name| system.process(name)).for_each(go_on);
}

fn interrupt(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), Signal::SIGINT).unwrap();
}

/// Two signals that come at once may be one.
async fn interrupt_until_it_ends(child: &mut Child) {
    let code = eventually(async || match child.try_wait().unwrap() {
        Some(status) => Ok(status.code()),
        None => {
            interrupt(child);
            Err("it goes on".to_owned())
        }
    })
    .await;
    assert_eq!(code, Some(130));
}

fn go_on(process: &Process) {
    process.signal(Signal::SIGCONT).unwrap();
}
