//! The four services as processes.

use std::{collections::HashMap, net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, eventually_within, service_binary, unique_name};

/// How long a request may take; longer than the longest wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a service may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// A port that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// What a system is started with.
pub struct Options {
    /// The broker.
    pub queue_url: String,
    /// How many processors.
    pub processors: usize,
    /// More variables for every service.
    pub variables: Vec<(String, String)>,
}

impl Options {
    /// One processor, nothing else.
    pub fn on(queue_url: impl Into<String>) -> Self {
        Self { queue_url: queue_url.into(), processors: 1, variables: Vec::new() }
    }

    /// So many processors.
    #[must_use]
    pub fn processors(mut self, processors: usize) -> Self {
        self.processors = processors;
        self
    }

    /// One more variable for every service.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }
}

/// The services, their database and their place on the broker. Processors are named `processor-0` and so on.
pub struct System {
    options: Options,
    exchange: String,
    folder: TempDir,
    ports: HashMap<String, u16>,
    processes: HashMap<String, Process>,
    client: reqwest::Client,
}

impl System {
    /// A system of which nothing runs yet.
    pub fn prepare(options: Options) -> anyhow::Result<Self> {
        let mut names = vec!["datagen".to_owned(), "distributor".to_owned(), "statistics".to_owned()];
        names.extend((0..options.processors).map(|number| format!("processor-{number}")));
        let ports = names.into_iter().map(|name| Ok((name, free_port()?))).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            options,
            exchange: unique_name(),
            folder: tempfile::tempdir()?,
            ports,
            processes: HashMap::new(),
            client: reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?,
        })
    }

    /// A system that runs and is ready.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut system = Self::prepare(options)?;
        system.start_all()?;
        system.all_ready().await;
        Ok(system)
    }

    /// Starts every service that does not run.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for name in self.names() {
            if !self.processes.contains_key(&name) {
                self.start_service(&name)?;
            }
        }
        Ok(())
    }

    /// Starts one service.
    pub fn start_service(&mut self, name: &str) -> anyhow::Result<()> {
        let kind = name.split('-').next().unwrap_or(name);
        let mut command = Command::new(service_binary(kind));
        command
            .env("QUEUE_URL", &self.options.queue_url)
            .env("EXCHANGE", &self.exchange)
            .env("LISTEN", format!("127.0.0.1:{}", self.ports[name]))
            .env("STATISTICS_URL", format!("http://127.0.0.1:{}", self.ports["statistics"]))
            .env("DATABASE_URL", format!("sqlite://{}", self.database().display()))
            .envs(self.options.variables.iter().cloned());
        if kind == "processor" {
            command.env("PROCESSOR", name);
        }
        let process = Process::start(name, command)?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// Waits until every service says that it is ready.
    pub async fn all_ready(&self) {
        for name in self.names() {
            self.ready(&name).await;
        }
    }

    /// Waits until one service says that it is ready.
    pub async fn ready(&self, name: &str) {
        let url = self.url_of(name, "/readyz");
        eventually_within(READY_PATIENCE, async || {
            let answer = self.client.get(&url).send().await.map_err(|error| format!("{name}: {error}"))?;
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if status.is_success() { Ok(()) } else { Err(format!("{name}: {text}")) }
        })
        .await;
    }

    /// Kills a service as `kill -9` does.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let mut process = self.processes.remove(name).with_context(|| format!("{name} does not run"))?;
        process.kill().await
    }

    /// Asks a service to stop (SIGTERM); it must end well.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let mut process = self.processes.remove(name).with_context(|| format!("{name} does not run"))?;
        let status = process.stop(REQUEST_TIMEOUT).await?;
        ensure!(status.success(), "{name} ended with {status}: {:?}", process.lines());
        Ok(())
    }

    /// The names of all services.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.ports.keys().cloned().collect();
        names.sort();
        names
    }

    /// One of the processes.
    pub fn process(&self, name: &str) -> &Process {
        &self.processes[name]
    }

    /// The exchange, and so the prefix of every queue.
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The file of statistics.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("stats.db")
    }

    /// The address of a path at a service.
    pub fn url_of(&self, name: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[name])
    }

    /// The HTTP client.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// `GET path` at the front door: the JSON of a 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(self.url_of("datagen", path)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
    }

    /// `POST /api/objects` at the front door with a JSON body: the object of a 201.
    pub async fn submit(&self, body: &Value) -> anyhow::Result<Value> {
        let answer = self.client.post(self.url_of("datagen", "/api/objects")).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.as_u16() == 201, "POST: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// The object when it is finished, however it ended.
    pub async fn finished(&self, id: &str) -> anyhow::Result<Value> {
        let object = self.get(&format!("/api/objects/{id}?wait=60")).await?;
        match object["status"].as_str() {
            Some("succeeded" | "failed" | "timed_out") => Ok(object),
            status => bail!("object {id} is {status:?} after a minute"),
        }
    }

    /// What `sqlite3 stats.db QUERY` prints.
    pub async fn sqlite3(&self, query: &str) -> anyhow::Result<String> {
        let output = Command::new("sqlite3").arg(self.database()).arg(query).output().await;
        let output = output.context("sqlite3 is missing: run the tests by `make test`, which installs it")?;
        ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}
