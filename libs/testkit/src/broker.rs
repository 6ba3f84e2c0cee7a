//! Brokers: the one that all tests share, and private ones that a test may kill.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, free_port, repository};

/// The variable in which `make test` says where the shared broker is.
const SHARED: &str = "EBS_TEST_BROKER_URL";
/// How long a broker may take to start on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(90);

/// The address of the broker that all tests share. A test uses names of its own on it, and leaves it alone.
pub fn shared_broker_url() -> String {
    std::env::var(SHARED)
        .unwrap_or_else(|_| panic!("{SHARED} is not set: run the tests by `make test`, which starts a broker"))
}

/// A private broker, with all its state in a folder.
pub struct Broker {
    folder: PathBuf,
    /// Deleted with the broker.
    _temporary: Option<TempDir>,
    port: u16,
    tls: Option<Tls>,
    process: Option<Process>,
}

/// A second door, for TLS.
struct Tls {
    port: u16,
    certificates: PathBuf,
    clients_show_theirs: bool,
}

impl Broker {
    /// A broker that has a temporary folder and a port, but does not run yet.
    pub fn prepare() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut broker = Self::prepare_in(folder.path().to_owned())?;
        broker._temporary = Some(folder);
        Ok(broker)
    }

    /// A broker whose folder stays when it is dropped.
    pub fn prepare_in(folder: PathBuf) -> anyhow::Result<Self> {
        // Not any free port: a broker takes some that follow from it.
        let output = std::process::Command::new(script_path()).arg("free-port").output()?;
        let port = String::from_utf8(output.stdout)?.trim().parse().context("scripts/broker free-port")?;
        Ok(Self { folder, _temporary: None, port, tls: None, process: None })
    }

    /// The same with TLS on a port of its own, for `ca.pem`, `certificate.pem` and `key.pem` of a folder; for all clients,
    /// or for those only that show a certificate, too.
    pub fn prepare_with_tls(certificates: &Path, clients_show_theirs: bool) -> anyhow::Result<Self> {
        let mut broker = Self::prepare()?;
        broker.tls = Some(Tls { port: free_port()?, certificates: certificates.to_owned(), clients_show_theirs });
        Ok(broker)
    }

    /// A broker that runs.
    pub async fn start() -> anyhow::Result<Self> {
        let mut broker = Self::prepare()?;
        broker.resume().await?;
        Ok(broker)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port for TLS, if it has one.
    pub fn tls_port(&self) -> Option<u16> {
        self.tls.as_ref().map(|tls| tls.port)
    }

    /// The process's number, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::id)
    }

    /// Starts it, with whatever it had, and waits until it answers.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let port = self.port.to_string();
        let mut run = script();
        run.arg("run").arg(&self.folder).arg(&port);
        if let Some(tls) = &self.tls {
            run.env("EBS_BROKER_TLS", tls.port.to_string())
                .env("EBS_BROKER_CERTIFICATES", &tls.certificates)
                .env("EBS_BROKER_TLS_CLIENTS", tls.clients_show_theirs.to_string());
        }
        self.process = Some(Process::start("broker", run)?);
        let mut wait = script();
        wait.arg("wait").arg(&port).arg(START_PATIENCE.as_secs().to_string());
        ensure!(wait.status().await?.success(), "the broker does not answer on port {port}");
        Ok(())
    }

    /// Kills it as `kill -9` does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if self.is_container() {
            // The process is only the client that shows what it says.
            self.command("kill").await?;
        }
        process.kill().await
    }

    /// Kills it, and loses all that it kept.
    pub async fn lose_everything(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        match self.is_container() {
            true => self.command("remove").await,
            false => std::fs::remove_dir_all(self.folder.join("data")).context("cannot remove what the broker kept"),
        }
    }

    /// Makes it silent: it neither ends nor answers.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.command("pause").await
    }

    /// Lets it go on.
    pub async fn unpause(&self) -> anyhow::Result<()> {
        self.command("unpause").await
    }

    async fn command(&self, name: &str) -> anyhow::Result<()> {
        let status = script().arg(name).arg(&self.folder).status().await?;
        ensure!(status.success(), "scripts/broker {name} failed");
        Ok(())
    }

    fn is_container(&self) -> bool {
        self.folder.join("container").exists()
    }

    /// What `rabbitmqctl` says about it.
    pub async fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = script().arg("ctl").arg(&self.folder).args(arguments).output().await?;
        ensure!(output.status.success(), "rabbitmqctl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.is_container() {
            let _ = std::process::Command::new(script_path()).arg("remove").arg(&self.folder).status();
        }
    }
}

/// How many messages wait in a queue; none if there is no such queue.
pub async fn waiting_messages(url: &str, queue: &str) -> anyhow::Result<Option<u32>> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    let declared = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
    let count = match declared {
        Ok(queue) => Some(queue.message_count()),
        Err(error) if error.is_amqp_soft_error() => None,
        Err(error) => return Err(error.into()),
    };
    connection.close(200, "bye".into()).await?;
    Ok(count)
}

fn script() -> Command {
    Command::new(script_path())
}

fn script_path() -> PathBuf {
    repository().join("scripts").join("broker")
}
