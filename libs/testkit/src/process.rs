//! A process: its lines, its signals, its end.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The last lines of a process that are kept.
const MAX_LINES: usize = 2000;

/// A process that is killed when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// The memory of a process, as Linux counts it: what it really has, not what it has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that it has now.
    pub resident: u64,
    /// The most that it ever had.
    pub peak: u64,
}

/// A service's binary, beside the tests in the target directory.
pub fn service_binary(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows where it is");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let binary = path.join(name);
    assert!(binary.exists(), "{} is missing: run the tests by `make test`, which builds it", binary.display());
    binary
}

impl Process {
    /// Starts a command; what it prints is kept for when a test fails.
    pub fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null());
        Self::start_keeping(name, command)
    }

    /// Starts a command that reads what is typed: [`Process::type_line`].
    pub fn start_interactive(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped());
        Self::start_keeping(name, command)
    }

    fn start_keeping(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Self::spawn(name, command)?;
        if let Some(stdout) = process.child.stdout.take() {
            keep(stdout, process.lines.clone());
        }
        if let Some(stderr) = process.child.stderr.take() {
            keep(stderr, process.lines.clone());
        }
        Ok(process)
    }

    /// Starts a command that writes what it prints to the end of a file, which is there after it has been killed, too.
    pub fn start_logging(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(log).context("cannot write the log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Self::spawn(name, command)
    }

    fn spawn(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, lines: Arc::default() })
    }

    /// Types a line to a process that was started for it.
    pub async fn type_line(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().with_context(|| format!("{} reads nothing", self.name))?;
        input.write_all(format!("{line}\n").as_bytes()).await.with_context(|| format!("{} reads no more", self.name))
    }

    /// Ends what is typed, as Ctrl-D does.
    pub fn end_input(&mut self) {
        self.child.stdin.take();
    }

    /// What it printed, the last lines of it.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process's number, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The memory that it has now, and the most that it ever had, in bytes.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let id = self.id().with_context(|| format!("{} has ended", self.name))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            anyhow::Ok(line.trim().trim_end_matches(" kB").parse::<u64>()?)
        };
        Ok(Memory { resident: kib("VmRSS:")? * 1024, peak: kib("VmHWM:")? * 1024 })
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.id().with_context(|| format!("{} has ended", self.name))?;
        signal::kill(Pid::from_raw(i32::try_from(id)?), signal).context("cannot signal")
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub async fn stop(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended(patience).await
    }

    /// Waits for its end.
    pub async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        // Waiting would end what is typed, and the process perhaps for that reason.
        let input = self.child.stdin.take();
        let ended = timeout(patience, self.child.wait()).await;
        self.child.stdin = input;
        ended.with_context(|| format!("{} did not end within {patience:?}", self.name))?.context("cannot wait")
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the last lines of {} ---", self.name);
            let lines = self.lines();
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
    }
}

fn keep(output: impl AsyncRead + Unpin + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() >= MAX_LINES {
                lines.drain(..MAX_LINES / 2);
            }
            lines.push(line);
        }
    });
}
