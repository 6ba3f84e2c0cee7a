//! Where no system runs, and before one is asked.

use std::{fs::File, process::Stdio};

use super::kit::{Ran, command_at, ebs_at};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn without_a_system_every_command_says_how_to_start_one_and_ends_with_69() {
    for arguments in [
        &["submit"][..],
        &["submit", "--data", "a", "--wait"],
        &["submit", "--format", "ndjson", "--data", "{}"],
        &["result"],
        &["result", "00000000-0000-0000-0000-000000000000"],
        &["totals"],
        &["totals", "--reset"],
        &["objects"],
        &["objects", "--all", "--json"],
        &["operations"],
        &["statistics", "--json"],
        &["statistics", "--watch"],
        &["events"],
        &["dead-letters", "list"],
    ] {
        let ran = ebs_at(NOWHERE, arguments).await;
        assert_eq!((ran.code, ran.said.as_str()), (69, ""), "{arguments:?}: {ran:?}");
        assert!(ran.told.contains("ebs up") && ran.told.contains("--url"), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_ends_with_64_and_says_what_can() {
    for (arguments, told) in [
        (&["submit", "--tasks", "0"][..], "10000"),
        (&["submit", "--deadline", "soon"], "24h"),
        (&["submit", "--parameters", "3", "--operation", "pow"], "exponent"),
        (&["submit", "--data", "{", "--format", "json"], "--format text"),
        (&["submit", "a", "--data", "b"], "--data"),
        (&["submit", "--format", "ndjson", "--data", "{}", "--wait"], "--wait"),
        (&["submit", "--key", "a\nb"], "--key"),
        (&["submit", "--wait", "soon", "--data", "a"], "5m"),
        (&["result", "--timeout", "soon"], "5m"),
        (&["result", "../statistics"], "ebs objects"),
        (&["dead-letters", "replay", "7"], "dead-letters list"),
        (&["dead-letters", "list", "--object", "7"], "ebs objects"),
        (&["totals", "--limit", "0"], "1000"),
        (&["totals", "--limit", "1", "--reset"], "--reset"),
        (&["objects", "--status", "asleep"], "timed_out"),
        (&["objects", "--limit", "501"], "500"),
        (&["statistics", "--watch", "often"], "250ms"),
        (&["statistics", "--url", "ftp://here"], "http://localhost:8000"),
        (&["completions", "tcl"], "bash"),
        (&["juggle"], "juggle"),
    ] {
        let ran = ebs_at(NOWHERE, arguments).await;
        assert_eq!((ran.code, ran.said.as_str()), (64, ""), "{arguments:?}: {ran:?}");
        assert!(ran.told.contains(told), "{arguments:?}: {ran:?}");
    }
    for (command, file, told) in [
        ("submit", "no/such/file", "--data"),
        ("submit", "/", "directory"),
        ("spam", "no/such/file", "No such file"),
        ("spam", "/", "directory"),
    ] {
        let ran = ebs_at(NOWHERE, &[command, file]).await;
        assert!(ran.code == 66 && ran.told.contains(told), "{command} {file}: {ran:?}");
    }
}

/// Each way in which a command ends, where it can be without a system.
const ENDS: [(i32, &[&str]); 6] = [
    (64, &["spam", "--size", "0"]),
    (64, &["up", "--concurrency", "many"]),
    (66, &["spam", "no/such/file"]),
    (66, &["backup", "-", "--database-url", "no-such-record"]),
    (69, &["spam"]),
    (69, &["statistics"]),
];

#[tokio::test]
async fn when_nobody_hears_what_is_wrong_the_exit_code_says_it_all_the_same() {
    for (code, arguments) in ENDS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unheard = command_at(NOWHERE, arguments).stderr(writer).spawn().unwrap().wait_with_output().await;
        assert_eq!(Ran::of(unheard.unwrap()).code, code, "{arguments:?}");
    }
}

#[tokio::test]
async fn where_there_is_no_room_for_what_was_asked_for_it_ends_with_74_and_says_so() {
    for arguments in [&["doctor"][..], &["doctor", "--json"], &["completions", "bash"]] {
        let full = Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let ran = command_at(NOWHERE, arguments).stdout(full).spawn().unwrap().wait_with_output().await;
        let ran = Ran::of(ran.unwrap());
        assert!(ran.code == 74 && ran.told.contains("cannot write"), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn the_help_lists_every_command_and_each_says_its_exit_codes_in_eighty_columns() {
    let help = ebs_at(NOWHERE, &["--help"]).await.ok();
    for command in ["up", "submit", "result", "operations", "objects", "totals", "statistics", "events", "dead-letters"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    for command in ["submit", "result", "operations", "objects", "totals", "statistics", "events", "dead-letters"] {
        let help = ebs_at(NOWHERE, &[command, "--help"]).await.ok();
        let (_, last_words) = help.split_once("Print help\n").unwrap();
        assert!(last_words.contains("Exit codes: 0 ") && last_words.contains("API_TOKEN"), "{help}");
        assert!(last_words.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}

#[tokio::test]
async fn a_shell_learns_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ebs_at(NOWHERE, &["completions", shell]).await.ok();
        assert!(script.contains("dead-letters") && script.contains("cursor"), "{shell}");
    }
}
