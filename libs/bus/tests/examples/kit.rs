//! What these tests share.

use std::{process::Output, time::Duration};

use testkit::{Process, eventually, service_binary, shared_broker_url, unique_name};
use tokio::{process::Command, time::timeout};

/// How long an example may take to end when it is told to.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where the participants meet: on the broker that tests share, under a name that no other test has; or in one process.
pub struct Place {
    queue_url: String,
    exchange: String,
}

impl Place {
    pub fn on_broker() -> Self {
        Self { queue_url: shared_broker_url(), exchange: unique_name() }
    }

    /// On the exchange of a system that runs.
    pub fn on_exchange(exchange: &str) -> Self {
        Self { queue_url: shared_broker_url(), exchange: exchange.to_owned() }
    }

    pub fn embedded() -> Self {
        Self::at("embedded:")
    }

    pub fn at(queue_url: &str) -> Self {
        Self { queue_url: queue_url.to_owned(), exchange: unique_name() }
    }

    /// The name of a queue there.
    pub fn queue(&self, role: &str) -> String {
        format!("{}.{role}", self.exchange)
    }

    fn command(&self, example: &str, arguments: &str) -> Command {
        let mut command = Command::new(service_binary(&format!("examples/{example}")));
        command.args(arguments.split_whitespace());
        command.env("QUEUE_URL", &self.queue_url).env("EXCHANGE", &self.exchange);
        command
    }

    /// Starts an example whose input one can type.
    pub fn start(&self, example: &str, arguments: &str) -> Process {
        Process::start_interactive(&format!("{example} {arguments}"), self.command(example, arguments)).unwrap()
    }

    /// Runs an example until it ends by itself.
    pub async fn run(&self, example: &str, arguments: &str) -> Ended {
        let output = timeout(PATIENCE, self.command(example, arguments).kill_on_drop(true).output()).await;
        output.expect("it ends by itself").unwrap().into()
    }
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
    }
}

/// Waits for a line with this text; the whole of it.
pub async fn line(process: &Process, text: &str) -> String {
    eventually(async || {
        let lines = process.lines();
        let found = lines.iter().find(|line| line.contains(text)).cloned();
        found.ok_or_else(|| format!("no line with {text:?}: {lines:#?}"))
    })
    .await
}

/// How many lines have this text.
pub fn count(process: &Process, text: &str) -> usize {
    process.lines().iter().filter(|line| line.contains(text)).count()
}

/// Ends a process as Ctrl-C does; it must end well.
pub async fn interrupt(process: &mut Process) {
    process.signal(testkit::Signal::SIGINT).unwrap();
    let status = process.ended(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}: {:#?}", process.lines());
}
