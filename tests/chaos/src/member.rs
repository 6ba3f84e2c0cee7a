//! A process of the system, which is killed, stopped and restarted.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{bail, ensure};
use testkit::{Process, Signal, System};
use tokio::time::{Instant, sleep};

use crate::{plan::Fault, victims::Victim};

/// `SHUTDOWN_GRACE` of every process.
pub const GRACE: Duration = Duration::from_secs(5);
/// How much longer a process may take to end: what closes the bus has a bound of its own, and machines are slow at times.
const GRACE_MARGIN: Duration = Duration::from_secs(10);
/// How long a process may take until it hears signals.
const START_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A process.
pub struct Member {
    name: String,
    system: Arc<System>,
    process: Process,
}

/// Where a process writes what it has to say.
pub fn log(system: &System, name: &str) -> PathBuf {
    system.folder().join(format!("{name}.log"))
}

impl Member {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(system: Arc<System>, name: String) -> anyhow::Result<Self> {
        let process = start(&system, &name)?;
        Ok(Self { name, system, process })
    }

    /// Waits until it answers, and so hears signals, too.
    ///
    /// # Errors
    /// If it ends by itself, or takes too long.
    pub async fn is_there(&mut self) -> anyhow::Result<()> {
        let url = self.system.url_of(&self.name, "/livez");
        let end = Instant::now() + START_PATIENCE;
        while !self.system.client().get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            self.runs()?;
            ensure!(Instant::now() < end, "it does not answer within {START_PATIENCE:?}");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// If it ended by itself.
    pub fn runs(&mut self) -> anyhow::Result<()> {
        ensure!(!self.process.has_ended(), "{} ended by itself", self.name);
        Ok(())
    }

    /// Tells it to end, which it must, well and in time.
    ///
    /// # Errors
    /// If it does not.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.is_there().await?;
        let status = self.process.stop(GRACE + GRACE_MARGIN).await?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Starts it again.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = start(&self.system, &self.name)?;
        Ok(())
    }

    async fn endure(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.runs()?;
        match fault {
            Fault::Kill { down } => {
                self.process.kill().await?;
                sleep(down).await;
                self.start_again()
            }
            Fault::Restart { down } => {
                self.stop().await?;
                sleep(down).await;
                self.start_again()
            }
            Fault::Freeze { lasts } => {
                self.process.signal(Signal::SIGSTOP)?;
                sleep(lasts).await;
                self.process.signal(Signal::SIGCONT)
            }
            _ => bail!("this cannot happen to a process"),
        }
    }
}

impl Victim for Member {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        let endured = self.endure(fault).await;
        if endured.is_err() {
            // The run goes on, and shows what else is wrong.
            let _ = self.process.kill().await;
            self.start_again()?;
        }
        endured
    }
}

fn start(system: &System, name: &str) -> anyhow::Result<Process> {
    Process::start_logging(name, system.command(name), &log(system, name))
}
