//! The whole system: the four services as processes of their own, or together as one.

use std::{
    collections::HashMap,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, Signal, eventually_within, service_binary, unique_name};

/// How long a request may take; longer than the longest wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a service may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Below 32768, where Linux begins to give ports to clients: one of them could take a process's port while the process is
/// down. Brokers have those from 20000 on.
const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 10_000;

/// A port that is free now, and that this process has not been given before.
///
/// # Errors
/// If there is none.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time begin at different ones.
    let begin = std::process::id().wrapping_mul(101);
    for _ in 0..PORTS {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST_PORT + begin.wrapping_add(given) % PORTS)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// What a system is started with.
#[derive(Clone)]
pub struct Options {
    queue_url: Option<String>,
    /// None: all services are one process.
    processors: Option<usize>,
    /// Beside one of each service and the processors.
    more: Vec<String>,
    /// None: a temporary one.
    folder: Option<PathBuf>,
    /// For every process, or the one that is named.
    variables: Vec<(Option<String>, String, String)>,
    /// Elsewhere than in the system's own folder.
    record_folder: Option<PathBuf>,
    bus_folder: Option<PathBuf>,
}

impl Options {
    /// The services on a broker, one processor, nothing else.
    pub fn on(queue_url: impl Into<String>) -> Self {
        Self { queue_url: Some(queue_url.into()), processors: Some(1), ..Self::embedded() }
    }

    /// One process, `ebs`, with the bus in a file.
    pub fn embedded() -> Self {
        Self {
            queue_url: None,
            processors: None,
            more: Vec::new(),
            folder: None,
            variables: Vec::new(),
            record_folder: None,
            bus_folder: None,
        }
    }

    /// One process, `ebs`, on a broker.
    pub fn one_process_on(queue_url: impl Into<String>) -> Self {
        Self { queue_url: Some(queue_url.into()), ..Self::embedded() }
    }

    /// So many processors; one process has one in any case.
    #[must_use]
    pub fn processors(mut self, processors: usize) -> Self {
        self.processors = self.processors.map(|_one| processors);
        self
    }

    /// Whether all services are one process.
    pub fn is_one_process(&self) -> bool {
        self.processors.is_none()
    }

    /// The file of statistics is in this folder.
    #[must_use]
    pub fn record_in(mut self, folder: &Path) -> Self {
        self.record_folder = Some(folder.to_owned());
        self
    }

    /// The file of the bus, if it has one, is in this folder.
    #[must_use]
    pub fn bus_in(mut self, folder: &Path) -> Self {
        self.bus_folder = Some(folder.to_owned());
        self
    }

    /// One more variable for every process.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((None, name.to_owned(), value.to_string()));
        self
    }

    /// Where all files are that the processes write; they stay when the system is dropped.
    #[must_use]
    pub fn in_folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    /// One more variable for one process.
    #[must_use]
    pub fn set_for(mut self, process: &str, name: &str, value: impl ToString) -> Self {
        self.variables.push((Some(process.to_owned()), name.to_owned(), value.to_string()));
        self
    }

    /// One more process of a service, named like `datagen-1`; not for one process.
    #[must_use]
    pub fn and(mut self, process: &str) -> Self {
        self.more.push(process.to_owned());
        self
    }
}

/// The processes, their files and their place on the broker. Processors are named `processor-0` and so on; in one
/// process, every service's name means that process.
pub struct System {
    options: Options,
    exchange: String,
    folder: PathBuf,
    /// Deleted with the system.
    _temporary: Option<TempDir>,
    ports: HashMap<String, u16>,
    processes: HashMap<String, Process>,
    client: reqwest::Client,
}

/// The name of the process that all services are.
const ONE_PROCESS: &str = "ebs";

impl System {
    /// A system of which nothing runs yet.
    pub fn prepare(options: Options) -> anyhow::Result<Self> {
        let names = match options.processors {
            None => vec![ONE_PROCESS.to_owned()],
            Some(processors) => ["datagen", "distributor", "statistics"]
                .map(str::to_owned)
                .into_iter()
                .chain((0..processors).map(|number| format!("processor-{number}")))
                .chain(options.more.iter().cloned())
                .collect(),
        };
        let temporary = if options.folder.is_none() { Some(tempfile::tempdir()?) } else { None };
        let folder = options.folder.clone().or(temporary.as_ref().map(|folder| folder.path().to_owned()));
        let ports = names.into_iter().map(|name| Ok((name, free_port()?))).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            folder: folder.context("there is one of the two")?,
            options,
            exchange: unique_name(),
            _temporary: temporary,
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

    /// Starts every process that does not run.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for name in self.names() {
            if !self.processes.contains_key(&name) {
                self.start_service(&name)?;
            }
        }
        Ok(())
    }

    /// Starts one process.
    pub fn start_service(&mut self, name: &str) -> anyhow::Result<()> {
        let name = self.process_of(name);
        let process = Process::start(name, self.command(name))?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// Sets a variable for every process that is started from now on.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.options.variables.push((None, name.to_owned(), value.to_string()));
    }

    /// What starts a process of this system.
    pub fn command(&self, name: &str) -> Command {
        let name = self.process_of(name);
        let kind = name.split('-').next().unwrap_or(name);
        let mut command = Command::new(service_binary(kind));
        command
            .current_dir(&self.folder)
            .env("EXCHANGE", &self.exchange)
            .env("LISTEN", format!("127.0.0.1:{}", self.ports[name]))
            .env("DATABASE_URL", format!("sqlite://{}", self.database().display()));
        match &self.options.queue_url {
            Some(url) => command.env("QUEUE_URL", url),
            None => command.env("QUEUE_URL", format!("embedded:{}", self.bus_file().display())),
        };
        if let Some(port) = self.ports.get("statistics") {
            command.env("STATISTICS_URL", format!("http://127.0.0.1:{port}"));
        }
        match kind {
            "processor" => command.env("PROCESSOR", name),
            ONE_PROCESS => command.env("PROCESSOR", "processor-0"),
            _ => &mut command,
        };
        let variables = self.options.variables.iter();
        for (_, variable, value) in variables.filter(|(of, ..)| of.as_deref().is_none_or(|of| of == name)) {
            command.env(variable, value);
        }
        command
    }

    /// The process that a service is, or is part of.
    fn process_of<'a>(&self, name: &'a str) -> &'a str {
        if self.options.processors.is_some() { name } else { ONE_PROCESS }
    }

    /// Waits until every process says that it is ready.
    pub async fn all_ready(&self) {
        for name in self.names() {
            self.ready(&name).await;
        }
    }

    /// Waits until one process says that it is ready.
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

    /// Kills a process as `kill -9` does.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let name = self.process_of(name);
        let mut process = self.processes.remove(name).with_context(|| format!("{name} does not run"))?;
        process.kill().await
    }

    /// Asks a process to stop (SIGTERM); it must end well.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.stop_by(Signal::SIGTERM, name).await
    }

    /// Asks a process to stop by a signal; it must end well.
    pub async fn stop_by(&mut self, signal: Signal, name: &str) -> anyhow::Result<()> {
        let name = self.process_of(name);
        let mut process = self.processes.remove(name).with_context(|| format!("{name} does not run"))?;
        process.signal(signal)?;
        let status = process.ended(REQUEST_TIMEOUT).await?;
        ensure!(status.success(), "{name} ended with {status}: {:?}", process.lines());
        Ok(())
    }

    /// The names of all processes.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.ports.keys().cloned().collect();
        names.sort();
        names
    }

    /// What a process says it is missing; empty if it is ready.
    pub async fn missing(&self, name: &str) -> anyhow::Result<String> {
        let answer = self.client.get(self.url_of(name, "/readyz")).send().await?;
        let is_ready = answer.status().is_success();
        let text = answer.text().await?;
        Ok(if is_ready { String::new() } else { text })
    }

    /// Whether a process runs.
    pub fn runs(&mut self, name: &str) -> bool {
        let name = self.process_of(name).to_owned();
        self.processes.get_mut(&name).is_some_and(|process| !process.has_ended())
    }

    /// One of the processes.
    pub fn process(&self, name: &str) -> &Process {
        &self.processes[self.process_of(name)]
    }

    /// The broker's address; none if the bus is a file.
    pub fn broker(&self) -> Option<&str> {
        self.options.queue_url.as_deref()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the bus, if it has one.
    pub fn bus_file(&self) -> PathBuf {
        self.options.bus_folder.as_deref().unwrap_or(&self.folder).join("bus.db")
    }

    /// The exchange, and so the prefix of every queue.
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The file of statistics.
    pub fn database(&self) -> PathBuf {
        self.options.record_folder.as_deref().unwrap_or(&self.folder).join("stats.db")
    }

    /// The address of a path at a process.
    pub fn url_of(&self, name: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[self.process_of(name)])
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
