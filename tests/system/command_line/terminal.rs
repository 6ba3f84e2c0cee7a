//! What people see on a terminal, and what is seen elsewhere.

use testkit::{Options, Process, Signal, System, eventually};

use super::kit::{OnTerminal, command, command_at, ebs};

/// What moves, colours or deletes begins with it.
const ESCAPE: char = '\u{1b}';
/// Of the bar of a progress, what is done and what is not.
const BAR: [char; 2] = ['█', '░'];
/// What goes on until it is told to end.
const SPAM: [&str; 5] = ["spam", "--duration", "1h", "--rate", "20"];

/// Whether there are colours, or bold letters: `ESC [ numbers m`.
fn is_styled(shown: &str) -> bool {
    let is_style = |sequence: &str| {
        sequence
            .strip_prefix('[')
            .is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
    };
    shown.split(ESCAPE).skip(1).any(is_style)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_moves_on_a_terminal_and_elsewhere_there_is_a_line_from_time_to_time() {
    let system = System::start(Options::embedded()).await.unwrap();
    let terminal = OnTerminal::start(command(&system, &SPAM), "xterm");
    terminal.shows("submitting, 1 s: ", 1).await;
    assert!(terminal.shown().contains(BAR) && terminal.shown().contains(ESCAPE), "{:?}", terminal.shown());
    let (code, shown) = terminal.interrupted().await;
    assert_eq!(code, Some(0), "{shown:?}");
    // Whatever the bar was, the report begins on a line that is empty.
    let (before, report) = shown.rsplit_once(" accepted in ").unwrap();
    assert!(before.rsplit_once(['\r', 'K']).unwrap().1.trim().parse::<u64>().is_ok(), "{before:?}");
    assert!(!report.contains(BAR) && report.contains("interrupted"), "{report:?}");

    let dumb = OnTerminal::start(command(&system, &SPAM), "dumb");
    dumb.shows("ebs: submitting, ", 1).await;
    let (code, shown) = dumb.interrupted().await;
    assert!(code == Some(0) && !shown.contains(ESCAPE) && !shown.contains(BAR), "{shown:?}");

    let mut pipe = Process::start("ebs", command(&system, &SPAM)).unwrap();
    eventually(async || {
        let lines = pipe.lines();
        if lines.iter().any(|line| line.starts_with("ebs: submitting, ")) { Ok(()) } else { Err(lines.join("\n")) }
    })
    .await;
    pipe.signal(Signal::SIGINT).unwrap();
    assert!(pipe.ended(std::time::Duration::from_secs(30)).await.unwrap().success());
    let lines = pipe.lines().concat();
    assert!(!lines.contains(ESCAPE) && !lines.contains(BAR), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_replaced_on_a_terminal_and_below_one_another_on_one_that_cannot_do_that() {
    let system = System::start(Options::embedded()).await.unwrap();
    let watch = || command(&system, &["statistics", "--watch", "100ms"]);
    let terminal = OnTerminal::start(watch(), "xterm");
    terminal.shows("every 100 ms; Ctrl-C ends it", 3).await;
    let (code, shown) = terminal.interrupted().await;
    let (_, last) = shown.rsplit_once("every 100 ms").unwrap();
    assert!(code == Some(0) && shown.contains("\u{1b}[K") && last.contains("\u{1b}[J"), "{shown:?}");

    let dumb = OnTerminal::start(watch(), "dumb");
    dumb.shows("every 100 ms; Ctrl-C ends it", 3).await;
    let (code, shown) = dumb.interrupted().await;
    assert!(code == Some(0) && !shown.contains(ESCAPE), "{shown:?}");
    assert!(shown.contains("finished a second: 0.0 objects"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_colours_on_a_terminal_unless_they_are_not_wanted() {
    let system = System::start(Options::embedded()).await.unwrap();
    ebs(&system, &["submit", "--data", "a", "--wait"]).await.ok();
    for arguments in
        [&["objects"][..], &["operations"], &["statistics"], &["--help"], &["submit", "--help"], &["juggle"]]
    {
        let (_, shown) = OnTerminal::start(command(&system, arguments), "xterm").ended().await;
        assert!(is_styled(&shown), "{arguments:?}: {shown:?}");
        let mut plain = command(&system, arguments);
        plain.env("NO_COLOR", "1");
        let (_, shown) = OnTerminal::start(plain, "xterm").ended().await;
        assert!(!shown.contains(ESCAPE), "{arguments:?}: {shown:?}");
        let (_, shown) = OnTerminal::start(command(&system, arguments), "dumb").ended().await;
        assert!(!shown.contains(ESCAPE), "{arguments:?}: {shown:?}");
    }
    // What moves may go on doing so.
    let mut watch = command(&system, &["statistics", "--watch", "100ms"]);
    watch.env("NO_COLOR", "1");
    let terminal = OnTerminal::start(watch, "xterm");
    terminal.shows("every 100 ms", 3).await;
    let (_, shown) = terminal.interrupted().await;
    assert!(shown.contains("\u{1b}[K") && !is_styled(&shown), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_at_the_start_fits_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = command_at("", &["up", "--listen", "127.0.0.1:0"]);
    up.current_dir(folder.path()).env("RUST_LOG", "off");
    for variable in ["QUEUE_URL", "DATABASE_URL"] {
        up.env_remove(variable);
    }
    let terminal = OnTerminal::start(up, "xterm");
    terminal.shows("QUEUE_URL=", 1).await;
    let (code, shown) = terminal.interrupted().await;
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.contains("curl -X POST http://localhost:"), "{shown:?}");
    let is_path = |line: &str| line.starts_with("The bus") || line.starts_with("The record");
    assert!(shown.lines().all(|line| is_path(line) || line.chars().count() <= 80), "{shown}");
}
