//! What goes on until Ctrl-C: over a system that comes and goes, and until nobody reads on.

use std::{process::Stdio, time::Duration};

use testkit::{Options, Process, Signal, System, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::kit::{command, ebs};
use crate::{command_line::kit::Ran, kit::everywhere};

/// How soon it ends after Ctrl-C.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

everywhere! {
    the_figures_are_watched_while_the_system_comes_and_goes,
    whoever_has_read_enough_ends_it_quietly,
}

async fn the_figures_are_watched_while_the_system_comes_and_goes(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let mut watching = Process::start("ebs", command(&system, &["statistics", "--watch", "100ms"])).unwrap();
    let told = async |text: &str| {
        eventually(async || {
            let lines = watching.lines();
            if lines.iter().any(|line| line.contains(text)) { Ok(()) } else { Err(format!("{text}: {lines:?}")) }
        })
        .await;
    };
    told("objects: 0 created").await;
    system.stop("datagen").await.unwrap();
    told("going on when it is back").await;
    system.start_all().unwrap();
    system.all_ready().await;
    told("the system is back").await;
    ebs(&system, &["submit", "--data", "a", "--wait"]).await.ok();
    told("objects: 1 created, 1 finished").await;
    let away = watching.lines().iter().filter(|line| line.contains("going on when it is back")).count();
    assert_eq!(away, 1, "it is said once: {:?}", watching.lines());
    watching.signal(Signal::SIGINT).unwrap();
    assert_eq!(watching.ended(ENDS_WITHIN).await.unwrap().code(), Some(0));
}

async fn whoever_has_read_enough_ends_it_quietly(options: Options) {
    let system = System::start(options).await.unwrap();
    for arguments in [&["statistics", "--watch", "100ms"][..], &["statistics", "--watch", "100ms", "--json"]] {
        let mut watching = command(&system, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        assert!(first.contains("created"), "{first}");
        drop(lines);
        let ran = Ran::of(watching.wait_with_output().await.unwrap());
        assert_eq!((ran.code, ran.told.as_str()), (0, ""), "{arguments:?}");
    }
    // Nobody reads from the beginning.
    let spam = ["spam", "--count", "1"];
    for arguments in [&["operations"][..], &["objects", "--all"], &["completions", "bash"], &spam] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut unread = command(&system, arguments);
        let ran = Ran::of(unread.stdout(writer).spawn().unwrap().wait_with_output().await.unwrap());
        assert_eq!((ran.code, ran.told.as_str()), (0, ""), "{arguments:?}");
    }
}
