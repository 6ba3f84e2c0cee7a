//! RabbitMQ. Nothing outside this folder knows lapin.
//!
//! lapin's own recovery stays off: it is young, a publish during it may neither return nor fail, and it
//! gives up. Instead every part (the publisher, each subscription) has a session that breaks at the first
//! error and a supervisor that builds the next: connection, channel, topology, prefetch, consumer.

mod address;
mod consumer;
mod convert;
mod declare;
mod examine;
mod frames;
mod link;
mod meter;
mod publisher;
mod status;
mod supervise;
mod tls;
mod wire;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    address::{Address, InvalidAddress, read_address},
    declare::arguments,
    examine::{Finding, Verdict, examine},
};
use self::{
    consumer::AmqpSubscription,
    link::Link,
    meter::{Meter, Question, WAITING_QUESTIONS},
    publisher::{Command, Publisher},
    status::Status,
    supervise::supervise,
};
use crate::{
    calls::{Room, WAITING_CALLS},
    message::Message,
    topology::{Exchange, Queue},
    transport::{DEPTH_PATIENCE, DepthError, PublishError, Source, Subscription, Transport},
};

/// How long closing waits for what is being published.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The transport over RabbitMQ.
pub struct Amqp {
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    commands: mpsc::Sender<Command>,
    room: Room,
    publisher: Mutex<Option<JoinHandle<()>>>,
    /// Begins with the first question.
    meter: OnceLock<mpsc::Sender<Question>>,
    status: Status,
    closed: CancellationToken,
}

impl Amqp {
    /// Begins to connect to a broker and keeps at it for ever; `app` names the connections there.
    pub fn connect(address: &Address, app: &str) -> Self {
        let status = Status::default();
        let link = |purpose: &str| Arc::new(Link::new(address.clone(), format!("{app} {purpose}"), status.clone()));
        let (publishing, consuming) = (link("publishing"), link("consuming"));
        let closed = CancellationToken::new();
        let (commands, received) = mpsc::channel(WAITING_CALLS);
        let publisher = {
            let publisher = Publisher::new(publishing.clone(), status.clone(), received);
            tokio::spawn(supervise(publisher, status.clone(), closed.clone()))
        };
        Self {
            publishing,
            consuming,
            commands,
            room: Room::default(),
            publisher: Mutex::new(Some(publisher)),
            meter: OnceLock::new(),
            status,
            closed,
        }
    }

    fn meter(&self) -> &mpsc::Sender<Question> {
        self.meter.get_or_init(|| {
            let (questions, received) = mpsc::channel(WAITING_QUESTIONS);
            let meter = Meter::new(self.consuming.clone(), self.status.clone(), received);
            tokio::spawn(supervise(meter, self.status.clone(), self.closed.clone()));
            questions
        })
    }
}

#[async_trait]
impl Transport for Amqp {
    async fn ensure(&self, exchange: Exchange, queues: Vec<Queue>) {
        // If the publisher is gone, so is everything that would be published.
        let _ = self.commands.send(Command::Ensure(exchange, queues)).await;
    }

    async fn publish(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        self.room.publish(&self.commands, Command::Publish, messages, patience).await
    }

    fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        Box::new(AmqpSubscription::start(self.consuming.clone(), self.status.clone(), source, prefetch, &self.closed))
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, DepthError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.meter().send(Question { queue: queue.name.clone(), reply }).await.ok()?;
            answer.await.ok()
        };
        match timeout(DEPTH_PATIENCE, asked).await {
            Ok(Some(depth)) => Ok(depth),
            _ if self.closed.is_cancelled() => Err(DepthError::Closed),
            _ => Err(DepthError::Unknown),
        }
    }

    fn status(&self) -> Result<(), String> {
        self.status.get()
    }

    async fn failed(&self) -> String {
        self.status.failed().await
    }

    async fn close(&self) {
        self.closed.cancel();
        if let Some(publisher) = self.publisher.lock().await.take() {
            let _ = timeout(CLOSE_TIMEOUT, publisher).await;
        }
        self.consuming.close().await;
        self.publishing.close().await;
    }
}
