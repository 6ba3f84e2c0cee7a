//! RabbitMQ: the broker that all tests share, or a private one that a case may harm.

use std::sync::{Arc, Mutex, PoisonError};

use bus::{
    Transport,
    amqp::{Address, Amqp},
};
use tempfile::TempDir;
use testkit::{Broker, shared_broker_url, unique_name};
use tokio::task::JoinHandle;

use super::{Foreign, Mortal, Network, Pressured, Subject};
use crate::work::{Ledger, Manner, work};

/// Memory that is always exceeded, and RabbitMQ's default, as parts of what the machine has.
const WATERMARK_BLOCKED: &str = "0";
const WATERMARK_DEFAULT: &str = "0.4";

pub struct RabbitMq {
    url: String,
    exchange: String,
    given: Mutex<Vec<Arc<Amqp>>>,
    /// The private broker, where there is one.
    broker: Option<Broker>,
    work: Option<Work>,
}

struct Work {
    _folder: TempDir,
    ledger: Ledger,
    transport: Arc<Amqp>,
    task: JoinHandle<()>,
}

fn address(url: &str) -> Address {
    Address::parse(url).unwrap()
}

impl RabbitMq {
    fn at(url: String, broker: Option<Broker>) -> Self {
        Self { url, exchange: unique_name(), given: Mutex::default(), broker, work: None }
    }

    async fn private() -> Self {
        let broker = Broker::start().await.unwrap();
        Self::at(broker.url(), Some(broker))
    }

    fn connect(&self) -> Arc<Amqp> {
        let transport = Arc::new(Amqp::connect(&address(&self.url), "test"));
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(transport.clone());
        transport
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("a private broker")
    }

    fn broker_mut(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("a private broker")
    }

    fn work(&self) -> &Work {
        self.work.as_ref().expect("work that goes on")
    }
}

impl Subject for RabbitMq {
    async fn fresh() -> Self {
        Self::at(shared_broker_url(), None)
    }

    fn exchange(&self) -> &str {
        &self.exchange
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.connect()
    }

    async fn leave(&self, transport: &dyn Transport) {
        transport.close().await;
    }

    async fn reopen(&self) -> Arc<dyn Transport> {
        let given = std::mem::take(&mut *self.given.lock().unwrap_or_else(PoisonError::into_inner));
        for transport in given {
            transport.close().await;
        }
        self.transport()
    }
}

impl Pressured for RabbitMq {
    async fn alone() -> Self {
        Self::private().await
    }

    async fn block(&self) {
        self.broker().ctl(&["set_vm_memory_high_watermark", WATERMARK_BLOCKED]).await.unwrap();
    }

    async fn unblock(&self) {
        self.broker().ctl(&["set_vm_memory_high_watermark", WATERMARK_DEFAULT]).await.unwrap();
    }
}

impl Mortal for RabbitMq {
    async fn at_work(manner: Manner) -> Self {
        let broker = Broker::prepare().unwrap();
        let mut subject = Self::at(broker.url(), Some(broker));
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_folder(folder.path());
        let transport = subject.connect();
        let task = tokio::spawn(work(transport.clone(), subject.exchange.clone(), manner, 0, ledger.clone()));
        subject.work = Some(Work { _folder: folder, ledger, transport, task });
        // The broker comes after those who use it: they wait for it.
        subject.broker_mut().resume().await.unwrap();
        subject
    }

    fn ledger(&self) -> &Ledger {
        &self.work().ledger
    }

    async fn kill(&mut self) {
        self.broker_mut().kill().await.unwrap();
    }

    async fn resume(&mut self) {
        assert!(!self.work().task.is_finished(), "the work goes on over a restart");
        self.broker_mut().resume().await.unwrap();
    }

    async fn remains(&mut self) -> Arc<dyn Transport> {
        self.kill().await;
        // It ends before the broker is back, else it would publish what was not confirmed once more.
        if let Some(work) = &mut self.work {
            work.task.abort();
            assert!((&mut work.task).await.unwrap_err().is_cancelled(), "it worked until now");
            work.transport.close().await;
        }
        self.broker_mut().resume().await.unwrap();
        self.transport()
    }
}

impl Foreign for RabbitMq {
    async fn foreign_client(&self) -> lapin::Channel {
        let properties = lapin::ConnectionProperties::default();
        lapin::Connection::connect(&self.url, properties).await.unwrap().create_channel().await.unwrap()
    }
}

impl Network for RabbitMq {
    fn transport_to(port: u16) -> Arc<dyn Transport> {
        Arc::new(Amqp::connect(&address(&format!("127.0.0.1:{port}")), "test"))
    }

    async fn alone() -> Self {
        Self::private().await
    }

    async fn freeze(&self, frozen: bool) {
        let done = if frozen { self.broker().pause().await } else { self.broker().unpause().await };
        done.unwrap();
    }
}
