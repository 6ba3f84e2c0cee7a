//! The delivery contract. Whatever carries messages keeps it, and nothing here knows what that is.
//!
//! **Publishing.** A publish that returned `Ok` is durable in every queue that its address leads to: no
//! kill of any process, of the broker included, loses it. A message that no queue gets is an error, for
//! exactly that message. [`PublishError::Unknown`] means just that: the message may have been taken, or
//! may yet be; publish it again with the same id. Messages of one call arrive in their order, unless one
//! had to be sent again. No call waits longer than its patience, and what waits has a bound: for more than that the
//! caller keeps what it has, and waits for room.
//!
//! **Delivering.** Every message in a queue is delivered to one of its subscriptions, again and again,
//! until one acknowledges it: at least once. At most `prefetch` are unacknowledged at a time, and of long messages
//! fewer: at most [`MAX_HELD_BYTES`] of bodies, or one message that is longer. One
//! subscription without failures gets them in the order of publishing.
//!
//! **Acknowledging.** `Ok` means written, not that the broker has it: a message may come again even so.
//! [`AcknowledgeError::Lost`] means that the delivery is void, and it will come again. Either way
//! a handler is idempotent: it may be given the same message twice, also at the same time elsewhere.
//!
//! **Lasting.** A subscription outlives the connection that carries it. While the transport rebuilds what
//! broke, for ever, `next` waits and [`Transport::status`] says what is wrong.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    message::Message,
    topology::{Binding, Exchange, Queue},
};

/// The bytes of bodies that one subscription holds unacknowledged, at most, unless a single message has more: twice the
/// longest event that any setting allows. The number of messages alone would be no bound: a thousand of 4 MiB are 4 GiB.
pub const MAX_HELD_BYTES: usize = 32 << 20;

/// How long a reading of [`Transport::depth`] may take.
pub const DEPTH_PATIENCE: Duration = Duration::from_secs(5);

/// Carries messages.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// From now on, nothing is confirmed before these exchanges and queues exist, also after
    /// the connection, or all that the broker had, is lost. Costs nothing when repeated.
    async fn ensure(&self, exchange: Exchange, queues: Vec<Queue>);

    /// Publishes messages, each for itself, and waits until all are durable, refused, or `patience`
    /// is at its end. Safe to drop: what was not sent yet is then not sent.
    async fn publish(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>>;

    /// Publishes what comes of a message that somebody holds, as [`publish`](Self::publish) does. A transport that takes no more
    /// while too much waits lets this pass: only then can what is held be acknowledged, and become less.
    async fn pass_on(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        self.publish(messages, patience).await
    }

    /// Begins to consume.
    fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription>;

    /// Waits until what was acknowledged stays so if this process crashes now. A broker delivers the next message only then, and
    /// so nothing is to be done.
    async fn settle(&self) {}

    /// How many messages wait in a queue to be delivered; those that somebody holds are not among them. None wait in a queue
    /// that there is not. RabbitMQ also says none of a queue that is too busy to answer it within 250 ms: one reading of 0
    /// alone says little. Waits at most [`DEPTH_PATIENCE`].
    ///
    /// # Errors
    /// If the transport cannot say now, or was closed.
    async fn depth(&self, queue: &Queue) -> Result<u64, DepthError>;

    /// Whether everything that this transport was asked to do is running.
    ///
    /// # Errors
    /// What does not run, and why, for people.
    fn status(&self) -> Result<(), String>;

    /// Completes when the transport can never work again in this process, with the reason.
    async fn failed(&self) -> String;

    /// Ends publishing and hands back what was delivered and not acknowledged.
    async fn close(&self);
}

/// What to consume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A durable queue, shared with every other subscription of it.
    Shared(Queue),
    /// A durable queue, by one subscription at a time: it begins when it has become the owner.
    Exclusive {
        /// The queue.
        queue: Queue,
        /// Who it must be.
        owner: Owner,
    },
    /// Whatever is published while the subscription is connected: a queue of one's own that nobody else
    /// sees and that goes with the connection.
    Broadcast(Vec<Binding>),
}

/// One who wants to be the owner of a name, which one holds at a time: over RabbitMQ by an exclusive queue of that name, and
/// so for all subscriptions of one connection; inside one process for all that have a clone of this. Others wait.
#[derive(Clone, Debug)]
pub struct Owner(Arc<str>);

impl Owner {
    /// Another one than all that were made before, of the same name too.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name to own.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Owner {}

/// Delivers messages. Dropping it hands back what was not acknowledged.
#[async_trait]
pub trait Subscription: Send {
    /// The next message; none when the transport was closed. Safe to drop while it waits.
    async fn next(&mut self) -> Option<Delivery>;

    /// Acknowledges one delivery, or it and every earlier one of this subscription.
    ///
    /// # Errors
    /// If it cannot be acknowledged any more: it will be, or was, delivered again.
    async fn acknowledge(&mut self, receipt: Receipt, scope: Acknowledge) -> Result<(), AcknowledgeError>;
}

/// How much one acknowledgement covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// This delivery.
    One,
    /// This delivery and every earlier one: all of them must be done.
    UpTo,
}

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What to acknowledge it by.
    pub receipt: Receipt,
    /// How often it was delivered before, as far as the transport knows.
    pub earlier_deliveries: u64,
    /// The message.
    pub message: Message,
}

/// Names a delivery within its subscription. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// Raised whenever the transport had to begin anew: what was delivered before is void.
    pub(crate) session: u64,
    pub(crate) tag: u64,
}

impl Receipt {
    /// The receipt of a delivery, for a transport that is made elsewhere: of its subscription's session, and of its number
    /// in that session.
    pub const fn new(session: u64, tag: u64) -> Self {
        Self { session, tag }
    }
}

/// Why a message was not published, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No queue gets it.
    #[error("no queue gets a message with routing key {routing_key:?}")]
    Unroutable {
        /// The key.
        routing_key: String,
    },
    /// The broker refused it: a queue could not take it.
    #[error("the broker refused the message")]
    Refused,
    /// It is not known whether it was taken: publish it again with the same id.
    #[error("not confirmed within {0:?}")]
    Unknown(Duration),
    /// It is longer than an event may be; nothing was sent.
    #[error("the event is {bytes} bytes long: at most {max} are allowed")]
    TooLarge {
        /// Its length as it would travel.
        bytes: usize,
        /// The bound, `MAX_EVENT_BYTES`.
        max: usize,
    },
    /// The transport was closed.
    #[error("the bus is closed")]
    Closed,
}

/// Why it is not known how much waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DepthError {
    /// There was no answer in time.
    #[error("not told within {DEPTH_PATIENCE:?}")]
    Unknown,
    /// The transport was closed.
    #[error("the bus is closed")]
    Closed,
}

/// Why a delivery could not be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// The connection that it came by is gone: it comes again.
    #[error("the delivery is void: it will come again")]
    Lost,
}
