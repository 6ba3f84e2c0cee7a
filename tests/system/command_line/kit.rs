//! What these tests share.

use std::{
    fs::File,
    io::Read as _,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::{sys::signal::kill, unistd::Pid};
use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::Value;
use testkit::{Signal, System, eventually, service_binary};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    /// On standard output.
    pub said: String,
    /// On standard error.
    pub told: String,
}

impl Ran {
    pub fn of(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Self { code: status.code().expect("no signal ended it"), said: text(stdout), told: text(stderr) };
        // No terminal is there to be steered, or to be coloured.
        for text in [&ran.said, &ran.told] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{ran:?}");
            assert!(!text.contains('\u{202e}'), "{ran:?}");
        }
        ran
    }

    /// What it said, if it ended well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.said
    }

    /// The JSON that it said, and nothing else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.said).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same of each line.
    pub fn json_lines(&self) -> Vec<Value> {
        let parsed = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.said.lines().map(parsed).collect()
    }
}

/// An `ebs` that asks somewhere, as in a shell that says nothing else.
pub fn command_at(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(service_binary("ebs"));
    command.args(arguments).env("EBS_URL", url);
    // The latter ones decide about colours, `CI` as well: where it is set, a terminal that is dumb has them.
    for variable in ["API_TOKEN", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// An `ebs` that asks the system.
pub fn command(system: &System, arguments: &[&str]) -> Command {
    command_at(&system.url_of("datagen", ""), arguments)
}

pub async fn ebs(system: &System, arguments: &[&str]) -> Ran {
    Ran::of(command(system, arguments).output().await.unwrap())
}

pub async fn ebs_at(url: &str, arguments: &[&str]) -> Ran {
    Ran::of(command_at(url, arguments).output().await.unwrap())
}

/// The same with something on standard input.
pub async fn ebs_reading(system: &System, arguments: &[&str], input: &str) -> Ran {
    let mut child = command(system, arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    Ran::of(child.wait_with_output().await.unwrap())
}

/// How soon what is told to end does, or what has something to say says it.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A command on a terminal.
pub struct OnTerminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl OnTerminal {
    /// On one of the usual size, of the kind that `TERM` names.
    pub fn start(mut command: Command, term: &str) -> Self {
        // Closed in every other process that a test starts: as long as it is open anywhere, it does not end.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let mut terminal = openpt(flags).map(File::from).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let end = ioctl_tiocgptpeer(&terminal, flags).unwrap();
        tcsetwinsize(&end, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let stdio = || Stdio::from(end.try_clone().unwrap());
        let child = command.env("TERM", term).stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();

        let shown = Arc::default();
        let all: Arc<Mutex<Vec<u8>>> = Arc::clone(&shown);
        let reading = spawn_blocking(move || {
            let mut piece = [0; 4096];
            // Where nobody writes any more, it is an error to read.
            while let Ok(length @ 1..) = terminal.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { child, shown, reading }
    }

    /// All that came so far, escapes and all.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until it shows this, so many times.
    pub async fn shows(&self, text: &str, times: usize) {
        eventually(async || {
            let shown = self.shown();
            if shown.matches(text).count() >= times { Ok(()) } else { Err(format!("no {text:?} in {shown:?}")) }
        })
        .await;
    }

    /// Ends it as Ctrl-C does: its exit code, and all that it has shown.
    pub async fn interrupted(self) -> (Option<i32>, String) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).unwrap();
        kill(Pid::from_raw(id), Signal::SIGINT).unwrap();
        self.ended().await
    }

    /// Waits for its end: its exit code, and all that it has shown.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = timeout(ENDS_WITHIN, self.child.wait()).await.expect("it did not end").unwrap();
        (&mut self.reading).await.unwrap();
        (status.code(), self.shown())
    }
}
