//! What the door and the record do for the command line: many objects at a time, events, totals that begin anew.

use std::{fmt::Write as _, fs, time::Duration};

use serde_json::{Value, json};
use testkit::{Options, Process, Signal, System, eventually};

use super::kit::{command, ebs, ebs_reading};
use crate::kit::{all_finished, everywhere, figure};

everywhere! {
    many_objects_are_submitted_from_a_file_once_however_often_that_is,
    what_happens_is_shown_as_it_happens,
    totals_begin_anew,
}

async fn many_objects_are_submitted_from_a_file_once_however_often_that_is(options: Options) {
    const OBJECTS: usize = 2500;
    let system = System::start(options).await.unwrap();
    let mut lines = String::from("{\"operation\":\"juggle\"}\n\n");
    for number in 0..OBJECTS {
        writeln!(lines, "{{\"operation\":\"plusone\",\"data\":[{number}],\"tasks\":1}}").unwrap();
    }
    let file = system.folder().join("many.ndjson");
    fs::write(&file, &lines).unwrap();
    let file = file.display().to_string();
    for _ in 0..2 {
        let ran = ebs(&system, &["submit", &file, "--key", "k"]).await;
        assert_eq!((ran.code, ran.said.as_str()), (1, "2500 accepted, 1 refused, of 2502 lines\n"), "{ran:?}");
        assert!(ran.told.contains("line 1: unknown operation `juggle`"), "{ran:?}");
    }
    all_finished(&system, OBJECTS).await;
    assert_eq!(figure(&system, "objects created").await, OBJECTS as f64);

    let line = "{\"operation\":\"plusone\",\"data\":[7]}\n";
    let said = ebs_reading(&system, &["submit", "--format", "ndjson", "-", "--json"], line).await.json_lines();
    assert_eq!(said[1], json!({"done": true, "accepted": 1, "refused": 0, "lines": 1}));
    assert_eq!(ebs(&system, &["result", said[0]["ids"][0].as_str().unwrap()]).await.ok(), "[8]\n");
}

async fn what_happens_is_shown_as_it_happens(options: Options) {
    let system = System::start(options).await.unwrap();
    let follow =
        |arguments: &[&str]| Process::start("ebs", command(&system, &[&["events"], arguments].concat())).unwrap();
    let mut all = follow(&[]);
    let finished = follow(&["--json", "--pattern", "object.finished.plusone"]);
    // What happened before they were there is not shown: something happens until both are.
    let shown = eventually(async || {
        ebs(&system, &["submit", "--operation", "plusone", "--data", "[1]", "--tasks", "1", "--wait"]).await.ok();
        let is_shown = all.lines().iter().any(|line| line.contains("OBJECT_FINISHED"));
        let shown = finished.lines();
        if is_shown && !shown.is_empty() { Ok(shown) } else { Err("not yet".to_owned()) }
    })
    .await;
    let event: Value = serde_json::from_str(&shown[0]).unwrap();
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("OBJECT_FINISHED")));
    assert_eq!(event["data"]["result"], json!([2]));
    let object = event["correlationid"].as_str().unwrap();
    let task = format!("{object}  succeeded, part 0 of 1");
    eventually(async || {
        let lines = all.lines();
        if lines.iter().any(|line| line.contains(&task)) { Ok(()) } else { Err(format!("{task}: {lines:?}")) }
    })
    .await;
    all.signal(Signal::SIGINT).unwrap();
    assert_eq!(all.ended(Duration::from_secs(10)).await.unwrap().code(), Some(0));
    let told =
        eventually(async || all.lines().into_iter().find(|line| line.starts_with("ebs: ")).ok_or("not yet".to_owned()))
            .await;
    let (_, last) = told.split_once("--after ").unwrap();

    ebs(&system, &["submit", "--operation", "nop", "--data", "1", "--wait"]).await.ok();
    let later = follow(&["--after", last]);
    eventually(async || {
        let lines = later.lines();
        if lines.iter().any(|line| line.contains("nop")) { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
}

async fn totals_begin_anew(options: Options) {
    let system = System::start(options).await.unwrap();
    ebs(&system, &["submit", "--data", "a b a", "--wait"]).await.ok();
    assert_eq!(ebs(&system, &["totals", "--reset"]).await.ok(), "Deleted: 2 totals of word-frequencies\n");
    assert_eq!(ebs(&system, &["totals"]).await.ok(), "none\n");
    let deleted = ebs(&system, &["totals", "--reset", "--json"]).await.json();
    assert_eq!(deleted, json!({"operation": "word-frequencies", "deleted": 0}));
}
