//! A peer in the same run: Celery does the same work on the same broker. A chord of three word counts and a merge, quorum
//! queues, publisher confirms, tasks acknowledged after their end, results in Redis.
//!
//! It does less: no HTTP, no durable results (Redis keeps them in memory), no statistics and no totals.

use std::{
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use testkit::{Process, free_port, repository, unique_name};
use tokio::{process::Command, time::timeout};

use crate::workload::{self, Counts};

/// Threads that submit: one is slower, four are no faster than two.
const PUBLISHERS: u32 = 2;
/// How long a round may take, and longer than the client waits for it.
const PATIENCE: Duration = Duration::from_secs(330);

/// Celery, installed.
pub struct Celery {
    venv: PathBuf,
}

impl Celery {
    /// Installs it, where that is possible.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn install() -> Result<Self, String> {
        let venv = repository().join("target").join("bench").join("celery-venv");
        let installing = Command::new(folder().join("setup")).arg(&venv).output().await;
        let output = installing.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(Self { venv });
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(said.lines().last().unwrap_or("it does not say why").to_owned())
    }

    /// How many texts a second it counts.
    pub async fn round(&self, broker_url: &str, texts: &[String]) -> anyhow::Result<f64> {
        let scratch = tempfile::tempdir()?;
        let file = scratch.path().join("texts");
        let lines: Vec<String> = texts.iter().map(|text| workload::split(text).join("\t")).collect();
        tokio::fs::write(&file, lines.join("\n")).await?;
        let port = free_port()?;
        let _redis = redis(scratch.path(), port)?;
        let variables = [
            ("BENCH_BROKER_URL", broker_url.to_owned()),
            ("BENCH_REDIS_URL", format!("redis://127.0.0.1:{port}/0")),
            ("BENCH_QUEUE", unique_name()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        let mut command = self.command("celery");
        // A process a core, as its default is, and none of the talk among workers that one worker does not need.
        let processes = available_parallelism()?.to_string();
        command.args(["-A", "tasks", "worker", "-c", &processes, "-l", "warning"]);
        command.args(["--without-gossip", "--without-mingle", "--without-heartbeat"]).envs(variables.clone());
        let mut worker = Process::start("celery", command)?;
        let mut command = self.command("python");
        command.arg("client.py").arg(&file).arg(PUBLISHERS.to_string()).envs(variables).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.context("Celery took too long")??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Celery's client: {said}\nits worker: {:#?}", worker.lines());
        worker.stop(Duration::from_secs(30)).await?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let counted: Counts = serde_json::from_value(answer["totals"].clone())?;
        workload::ensure_same(&workload::count(texts.iter().map(String::as_str)), &counted)?;
        Ok(texts.len() as f64 / answer["seconds"].as_f64().context("no seconds")?)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.venv.join("bin").join(program));
        command.current_dir(folder());
        command
    }
}

/// Without persistence, which is the fastest.
fn redis(folder: &Path, port: u16) -> anyhow::Result<Process> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]).arg(port.to_string());
    command.arg("--dir").arg(folder);
    Process::start("redis", command)
}

fn folder() -> PathBuf {
    repository().join("benches").join("celery")
}
