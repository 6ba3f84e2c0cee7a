//! Where messages are kept: a file, or memory that a test looks after.

mod examine;
mod file;
mod memory;
mod wal;

pub(super) use self::file::File;
pub use self::{
    examine::{Examined, examine},
    memory::Memory,
};
use super::state::{Number, QueueId};
use crate::topology::{Exchange, Queue};

/// What is kept, as it is found when the bus is opened.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) exchanges: Vec<Exchange>,
    /// Queues in the order of their ids, from 0, and what their consumers could hold when they were last heard of.
    pub(super) queues: Vec<(Queue, u64)>,
    /// Rows in the order of their sequence.
    pub(super) journal: Vec<(u64, Vec<u8>)>,
    pub(super) backlog: Vec<InBacklog>,
}

/// What the backlog of a queue consists of.
#[derive(Debug)]
pub(super) struct InBacklog {
    pub(super) queue: QueueId,
    pub(super) messages: u64,
    pub(super) first: Number,
    pub(super) last: Number,
    /// As the bound on what waits counts them.
    pub(super) weight: u64,
}

/// A message in the backlog.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) queue: QueueId,
    pub(super) number: Number,
    pub(super) deliveries: u32,
    pub(super) since_ms: i64,
    pub(super) weight: u64,
    pub(super) message: Vec<u8>,
}

/// All that changes in one transaction.
#[derive(Debug, Default)]
pub(super) struct Commit {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<(QueueId, Queue)>,
    pub(super) windows: Vec<(QueueId, u64)>,
    /// A new row of the journal.
    pub(super) row: Option<(u64, Vec<u8>)>,
    /// Rows of the journal up to this one are deleted.
    pub(super) forget_through: Option<u64>,
    /// Messages that go to the backlog,
    pub(super) settled: Vec<Settled>,
    /// leave it,
    pub(super) acknowledged: Vec<(QueueId, Number)>,
    /// or were delivered so often.
    pub(super) deliveries: Vec<(QueueId, Number, u32)>,
    /// So many first messages of a queue's backlog were delivered once more.
    pub(super) delivered_first: Vec<(QueueId, u64)>,
}

impl Commit {
    /// Whether it is nothing but a new row, which is most often so.
    fn is_row_only(&self) -> bool {
        self.exchanges.is_empty()
            && self.queues.is_empty()
            && self.windows.is_empty()
            && self.forget_through.is_none()
            && self.settled.is_empty()
            && self.acknowledged.is_empty()
            && self.deliveries.is_empty()
            && self.delivered_first.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row.is_none() && self.is_row_only()
    }
}

/// What was read from the backlog.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) messages: Vec<Settled>,
    /// Whether there are no more after these.
    pub(super) is_last: bool,
}

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct StoreError(#[from] sqlx::Error);

/// Keeps what the bus has promised to keep.
#[derive(Debug)]
pub(super) enum Store {
    File(File),
    Memory(Memory),
}

impl Store {
    /// Makes all of it durable, or nothing.
    pub(super) async fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        match self {
            Self::File(file) => Ok(file.commit(commit).await?),
            Self::Memory(memory) => {
                memory.commit(commit);
                Ok(())
            }
        }
    }

    /// Reads messages of a queue's backlog from a number on, in order, at most so many.
    pub(super) async fn page(&mut self, queue: QueueId, from: Number, max: usize) -> Result<Page, StoreError> {
        match self {
            Self::File(file) => Ok(file.page(queue, from, max).await?),
            Self::Memory(memory) => Ok(memory.page(queue, from, max)),
        }
    }

    pub(super) async fn close(self) {
        if let Self::File(file) = self {
            file.close().await;
        }
    }
}
