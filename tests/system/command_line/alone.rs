//! Where no system runs, and before one is asked.

use super::kit::ebs_at;

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
    for (file, told) in [("no/such/file", "--data"), ("/", "directory")] {
        let ran = ebs_at(NOWHERE, &["submit", file]).await;
        assert!(ran.code == 66 && ran.told.contains(told), "{ran:?}");
    }
}

#[tokio::test]
async fn the_help_lists_every_command_and_each_says_its_exit_codes_in_eighty_columns() {
    let help = ebs_at(NOWHERE, &["--help"]).await.ok();
    for command in ["up", "submit", "result", "operations", "objects", "totals", "statistics", "events", "dead-letters"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
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
