//! The bus inside one process, in a file of its own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::{
    Acknowledge, Message, Source, Transport,
    embedded::{Embedded as Bus, Limits, OpenError},
};
use serde_json::json;
use tempfile::TempDir;
use testkit::{Process, eventually, unique_name};
use tokio::{process::Command, time::timeout};

use super::{Mortal, Pressured, Subject};
use crate::{
    cases::CASE_TIMEOUT,
    kit::{message, next, queue, topic},
    work::{Ledger, Manner, work},
};

/// What the process that is killed is to do: this same program, told so by this variable.
const ORDERS: &str = "EBS_TEST_ORDERS";
/// The test that reads it.
const ENTRY: &str = "embedded_only::work_that_nobody_kills_loses_nothing_and_ends_with_what_it_confirmed";

/// Small, so that little fills it, and far more than the messages of a case.
const LIMIT_BYTES: u64 = 1024 * 1024;
/// What fills it is in messages of so many bytes.
const BALLAST_BYTES: usize = 64 * 1024;
/// Much longer than a commit: what is not confirmed by then is held back.
const HELD_BACK: Duration = Duration::from_secs(3);

pub struct Embedded {
    folder: TempDir,
    exchange: String,
    limits: Limits,
    /// None while another process has the file.
    bus: Mutex<Option<Arc<Bus>>>,
    process: Option<Process>,
    lives: usize,
    ledger: Ledger,
}

/// The bus of a folder.
pub fn bus_file(folder: &Path) -> PathBuf {
    folder.join("bus.db")
}

/// Opens a file that nobody has open any more. It may seem to be in use for an instant even so: a process that another test
/// starts has our lock with it from its fork to its exec.
pub async fn open(path: &Path, limits: Limits) -> Result<Bus, OpenError> {
    eventually(async || match Bus::open(path, limits).await {
        Err(error @ OpenError::InUse { .. }) => Err(error.to_string()),
        opened => Ok(opened),
    })
    .await
}

impl Embedded {
    fn closed(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_folder(folder.path());
        let (bus, process) = (Mutex::default(), None);
        Self { folder, exchange: unique_name(), limits, bus, process, lives: 0, ledger }
    }

    async fn new(limits: Limits) -> Self {
        let subject = Self::closed(limits);
        subject.open_file().await;
        subject
    }

    async fn open_file(&self) {
        let bus = open(&bus_file(self.folder.path()), self.limits).await.unwrap();
        *self.bus() = Some(Arc::new(bus));
    }

    fn bus(&self) -> MutexGuard<'_, Option<Arc<Bus>>> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process that has the file open, and works.
    fn start(&mut self, manner: Manner) {
        let orders = json!([self.folder.path(), self.exchange, manner == Manner::Acknowledges, self.lives]);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", ENTRY, "--nocapture", "--test-threads=1"]).env(ORDERS, orders.to_string());
        self.process = Some(Process::start("the process that has the bus", command).unwrap());
        self.lives += 1;
    }
}

/// Works as told by whoever started this process, until killed. Returns at once if nobody told anything.
pub async fn obey() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let (folder, exchange, acknowledges, life): (PathBuf, String, bool, usize) = serde_json::from_str(&orders).unwrap();
    let manner = if acknowledges { Manner::Acknowledges } else { Manner::Holds };
    let bus = open(&bus_file(&folder), Limits::default()).await.unwrap();
    let work = work(Arc::new(bus), exchange, manner, life, Ledger::in_folder(&folder));
    // Whoever started this may have been killed too, and then nobody kills it.
    timeout(CASE_TIMEOUT, work).await.unwrap_or_else(|_| panic!("nobody killed this in {CASE_TIMEOUT:?}"));
}

impl Subject for Embedded {
    async fn fresh() -> Self {
        Self::new(Limits::default()).await
    }

    fn exchange(&self) -> &str {
        &self.exchange
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.bus().clone().expect("the file is open in this process")
    }

    async fn leave(&self, _: &dyn Transport) {}

    async fn reopen(&self) -> Arc<dyn Transport> {
        let bus = self.bus().take().expect("the file is open in this process");
        bus.close().await;
        drop(bus);
        self.open_file().await;
        self.transport()
    }
}

impl Pressured for Embedded {
    async fn alone() -> Self {
        Self::new(Limits { max_waiting_bytes: LIMIT_BYTES, ..Limits::default() }).await
    }

    async fn block(&self) {
        let (transport, exchange) = (self.transport(), self.ballast_exchange());
        transport.ensure(topic(&exchange), vec![queue(&exchange, "ballast", "#")]).await;
        let ballast = |number| Message { body: vec![0; BALLAST_BYTES].into(), ..message(&exchange, "a", number) };
        for number in 0.. {
            if transport.publish(vec![ballast(number)], HELD_BACK).await != [Ok(())] {
                return;
            }
            assert!(number * BALLAST_BYTES < 4 * usize::try_from(LIMIT_BYTES).unwrap(), "it takes more than its limit");
        }
    }

    async fn unblock(&self) {
        let exchange = self.ballast_exchange();
        let mut subscription = self.transport().subscribe(Source::Shared(queue(&exchange, "ballast", "#")), 1);
        // More than half of what fills it.
        for _ in 0..LIMIT_BYTES / BALLAST_BYTES as u64 / 2 + 1 {
            let delivery = timeout(HELD_BACK, next(&mut *subscription)).await.expect("ballast");
            subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
        }
    }
}

impl Embedded {
    fn ballast_exchange(&self) -> String {
        format!("{}.ballast", self.exchange)
    }
}

impl Mortal for Embedded {
    async fn at_work(manner: Manner) -> Self {
        let mut subject = Self::closed(Limits::default());
        subject.start(manner);
        subject
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            assert!(!process.has_ended(), "it works until it is killed");
            process.kill().await.unwrap();
        }
    }

    async fn resume(&mut self) {
        self.start(Manner::Acknowledges);
    }

    async fn remains(&mut self) -> Arc<dyn Transport> {
        self.kill().await;
        self.open_file().await;
        self.transport()
    }
}
