//! The system as people run it: release binaries, each a process, on a free port, with the default settings.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tempfile::TempDir;
use testkit::{Process, free_port, service_binary, unique_name};
use tokio::{process::Command, time::sleep};

use crate::{
    client::Client,
    proc::{self, Memory},
};

/// The services, in the order in which they start.
const SERVICES: [&str; 4] = ["statistics", "distributor", "processor", "datagen"];
/// How long a process may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How exactly the start is measured.
const READY_POLL: Duration = Duration::from_millis(2);

/// Which processes, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Four services over the broker at this address.
    Services(&'a str),
    /// `ebs up` over the broker at this address.
    EbsOverRabbitmq(&'a str),
    /// `ebs up` on the embedded bus.
    EbsEmbedded,
}

/// A process of the system.
pub struct Part {
    /// `ebs` or the service.
    pub name: &'static str,
    /// From its spawn to its being ready.
    pub started_in: Duration,
    /// Its memory before any work.
    pub memory_at_start: Memory,
    process: Process,
}

/// A system that runs.
pub struct Deployment {
    /// Its processes.
    pub parts: Vec<Part>,
    /// The front door.
    pub port: u16,
    /// Names everything on the broker.
    pub exchange: String,
    folder: TempDir,
}

impl Deployment {
    /// Starts it, one process after another, and waits until each is ready.
    pub async fn start(kind: Kind<'_>, log: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let exchange = unique_name();
        let (queue_url, names): (String, &[&str]) = match kind {
            Kind::Services(broker) => (broker.to_owned(), &SERVICES),
            Kind::EbsOverRabbitmq(broker) => (broker.to_owned(), &["ebs"]),
            Kind::EbsEmbedded => (format!("embedded:{}", folder.path().join("bus.db").display()), &["ebs"]),
        };
        let ports = names.iter().map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
        let database = folder.path().join("stats.db");
        let mut parts = Vec::new();
        for (name, port) in names.iter().zip(&ports) {
            let mut command = Command::new(service_binary(name));
            command
                .env("QUEUE_URL", &queue_url)
                .env("EXCHANGE", &exchange)
                .env("LISTEN", format!("127.0.0.1:{port}"))
                .env("STATISTICS_URL", format!("http://127.0.0.1:{}", ports[0]))
                .env("DATABASE_URL", format!("sqlite://{}", database.display()))
                .env("RUST_LOG", log)
                .current_dir(folder.path());
            if *name == "ebs" {
                command.arg("up");
            }
            parts.push(Part::start(name, command, *port).await?);
        }
        let port = ports.last().copied().context("no process")?;
        Ok(Self { parts, port, exchange, folder })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks every process to end, the front door first; each must end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for part in self.parts.iter_mut().rev() {
            let status = part.process.stop(PATIENCE).await?;
            ensure!(status.success(), "{} ended with {status}: {:#?}", part.name, part.process.lines());
        }
        Ok(())
    }
}

impl Part {
    async fn start(name: &'static str, command: Command, port: u16) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut process = Process::start(name, command)?;
        while !is_ready(port).await {
            let gave_up = process.has_ended() || began.elapsed() > PATIENCE;
            ensure!(!gave_up, "{name} is not ready: {:#?}", process.lines());
            sleep(READY_POLL).await;
        }
        let started_in = began.elapsed();
        let memory_at_start = proc::memory(process.id().context("it has ended")?)?;
        Ok(Self { name, started_in, memory_at_start, process })
    }

    /// The process's number.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.process.id().with_context(|| format!("{} has ended: {:#?}", self.name, self.process.lines()))
    }
}

async fn is_ready(port: u16) -> bool {
    let ready = async { Client::connect(port).await?.is_ready().await };
    // Not even listening, at first.
    ready.await.unwrap_or(false)
}
