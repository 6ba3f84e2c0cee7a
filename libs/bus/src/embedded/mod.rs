//! The transport inside one process: durable, without a broker.
//!
//! What is published is routed and written to a journal, one row and one synchronisation with the disk for all that came
//! together (`writer`); then it waits in queues in memory (`state`). Acknowledgements are written with the next
//! row. A row is deleted when all its messages are done and all older rows are gone; so the file stays small and what was
//! delivered soon never leaves the memory. What the journal has no more room for moves to the backlog, a table that is
//! read again piece by piece: memory has a bound, the backlog has the disk.
//!
//! What differs from a broker: one process owns the file; there is no length limit of a queue, nobody from outside can
//! delete one, and no network in between.

mod group;
mod listener;
mod queue;
mod router;
mod rows;
mod shared;
mod state;
mod store;
mod subscription;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

pub use self::store::{Examined, Memory, examine};
use self::{
    rows::Rows,
    shared::Shared,
    state::{QueueId, State},
    store::{Contents, File, Store},
    subscription::{Consumer, Hearer},
    writer::{Order, Writer, now_ms},
};
use crate::{
    calls::{Call, Room, WAITING_CALLS},
    message::Message,
    topology::{Exchange, Queue},
    transport::{DepthError, PublishError, Source, Subscription, Transport},
};

/// Orders that wait for the writer: one at a time for each subscription and each `ensure`.
const WAITING_ORDERS: usize = 64;

/// The transport inside one process. Dropping it without [`Transport::close`] is to it what a kill is: nothing
/// published is lost, and what was not acknowledged, or was only just now, comes again.
pub struct Embedded {
    shared: Arc<Shared>,
    calls: mpsc::Sender<Call>,
    room: Room,
    /// What comes of messages that are held, with a way and a room of its own: it never waits for what comes from outside.
    passed_on: mpsc::Sender<Call>,
    room_to_pass: Room,
    orders: mpsc::Sender<Order>,
    writer: AbortHandle,
}

/// What an embedded bus may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of messages that wait in all queues; beyond, publishing waits until they are fewer, except for what comes of
    /// those that wait. 8 GiB.
    pub max_waiting_bytes: u64,
    /// Bytes of the journal, all of which may be in memory; beyond, its oldest messages move to the backlog. 64 MiB.
    pub max_journal_bytes: usize,
    /// Messages of each queue that stay in memory, to be delivered without waiting for the disk, when the rest of the queue
    /// is in the backlog; at least 8, and of long messages fewer, so many as have 16 MiB. 1024.
    pub kept_messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_waiting_bytes: 8 << 30, max_journal_bytes: 64 << 20, kept_messages: 1024 }
    }
}

/// Why a file cannot be a bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another bus of this one, has it open.
    #[error("the bus {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program wrote it.
    #[error("a newer version of this program wrote the bus {}: its format is {format}, known are up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// It is not what was written to it. Nothing was changed.
    #[error("the bus {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is a file of something else. Nothing was changed.
    #[error("{} is not a bus: it is a database of something else", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Its place cannot be written now: no room, mounted read-only, an error of the disk. It may be later.
    #[error("the bus {} cannot be written now: {reason}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There can be no file, or none that keeps what is written to it.
    #[error("the bus {} cannot be opened: {reason}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Embedded {
    /// Opens the bus that a file holds, or makes it: SQLite in WAL mode with `synchronous=FULL`, which is asserted.
    ///
    /// # Errors
    /// If another process has it, if it is damaged or something else, or if it cannot be written, now or safely.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let (file, contents) = File::open(path).await?;
        Self::start(Store::File(file), contents, limits)
            .map_err(|reason| OpenError::Damaged { path: path.to_owned(), reason })
    }

    /// A bus that is as durable as a piece of memory: for tests and demonstrations.
    ///
    /// # Panics
    /// Outside a tokio runtime, or if the memory holds what no bus has written.
    pub fn in_memory(memory: &Memory, limits: Limits) -> Self {
        let contents = memory.contents();
        Self::start(Store::Memory(memory.clone()), contents, limits)
            .expect("what one bus has written another one reads")
    }

    fn start(store: Store, contents: Contents, limits: Limits) -> Result<Self, String> {
        let Recovered { state, rows, delivered_first } = recover(contents, limits.kept_messages)?;
        let shared = Arc::new(Shared::new(state));
        let (calls, waiting_calls) = mpsc::channel(WAITING_CALLS);
        let (passed_on, waiting_to_pass) = mpsc::channel(WAITING_CALLS);
        let (orders, waiting_orders) = mpsc::channel(WAITING_ORDERS);
        let writer = Writer {
            shared: Arc::clone(&shared),
            store,
            rows,
            limits,
            calls: waiting_calls,
            passed_on: waiting_to_pass,
            orders: waiting_orders,
            delivered_first,
        };
        // What recovering has found is written before anything else.
        shared.news.notify_one();
        let running = tokio::spawn(writer.run());
        let writer = running.abort_handle();
        watch(Arc::clone(&shared), running);
        let (room, room_to_pass) = (Room::default(), Room::default());
        Ok(Self { shared, calls, room, passed_on, room_to_pass, orders, writer })
    }
}

/// A writer that ends by a defect takes the bus with it.
fn watch(shared: Arc<Shared>, writer: tokio::task::JoinHandle<()>) {
    tokio::spawn(async move {
        if let Err(error) = writer.await {
            if error.is_panic() {
                shared.fail("the writer panicked");
            }
            shared.state().close();
            shared.ended.cancel();
        }
    });
}

/// What the last commit left.
struct Recovered {
    state: State,
    rows: Rows,
    /// How many first messages of a queue's backlog count as delivered once more.
    delivered_first: Vec<(QueueId, u64)>,
}

fn recover(contents: Contents, kept_messages: usize) -> Result<Recovered, String> {
    let mut state = State::new(kept_messages);
    let mut windows = Vec::new();
    for exchange in &contents.exchanges {
        state.declare_exchange(exchange)?;
    }
    for (id, (queue, window)) in (0..).zip(contents.queues) {
        state.restore_queue(queue)?;
        windows.push((id, window));
    }
    let mut rows = Rows::after(contents.backlog.iter().map(|backlog| backlog.last).max().unwrap_or(0));
    for backlog in contents.backlog {
        let queue = state.queues.get_mut(backlog.queue as usize);
        queue.ok_or("the backlog names a queue that there is not")?.on_disk(backlog.messages, backlog.first);
        state.waiting_bytes += backlog.weight;
    }
    let now_ms = now_ms();
    for (sequence, bytes) in contents.journal {
        let replayed = state.replay(&mut rows, sequence, &bytes, now_ms);
        replayed.map_err(|error| format!("row {sequence} of the journal cannot be read: {error}"))?;
    }
    let mut delivered_first = Vec::new();
    for (id, window) in windows.into_iter().filter(|(_, window)| *window > 0) {
        let in_backlog = state.count_as_delivered(id, window);
        delivered_first.push((id, in_backlog));
    }
    Ok(Recovered { state, rows, delivered_first })
}

#[async_trait]
impl Transport for Embedded {
    async fn ensure(&self, exchange: Exchange, queues: Vec<Queue>) {
        let (done, ensured) = oneshot::channel();
        // If the writer is gone, so is everything that would be published.
        if self.orders.send(Order::Ensure { exchange, queues, done }).await.is_ok() {
            let _ = ensured.await;
        }
    }

    async fn publish(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        self.room.publish(&self.calls, |call| call, messages, patience).await
    }

    async fn pass_on(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        self.room_to_pass.publish(&self.passed_on, |call| call, messages, patience).await
    }

    fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        let (shared, orders) = (Arc::clone(&self.shared), self.orders.clone());
        match source {
            Source::Shared(queue) => Box::new(Consumer::new(shared, orders, queue, prefetch, None)),
            Source::Exclusive { queue, owner } => Box::new(Consumer::new(shared, orders, queue, prefetch, Some(owner))),
            Source::Broadcast(bindings) => {
                let mut state = self.shared.state();
                let id = state.listen(&bindings, prefetch).map_err(|reason| state.refuse("listening", reason)).ok();
                drop(state);
                Box::new(Hearer::new(shared, id))
            }
        }
    }

    async fn settle(&self) {
        let (done, settled) = oneshot::channel();
        if self.orders.send(Order::Settle { done }).await.is_ok() {
            let _ = settled.await;
        }
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, DepthError> {
        let state = self.shared.state();
        if state.closed { Err(DepthError::Closed) } else { Ok(state.depth(&queue.name)) }
    }

    fn status(&self) -> Result<(), String> {
        self.shared.status()
    }

    async fn failed(&self) -> String {
        self.shared.failed.cancelled().await;
        self.shared.failure()
    }

    async fn close(&self) {
        self.shared.closing.cancel();
        let _ = self.orders.send(Order::Close).await;
        self.shared.ended.cancelled().await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.writer.abort();
    }
}
