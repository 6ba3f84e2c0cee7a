//! The transport inside one process, durable, without a broker.

use std::{path::Path, path::PathBuf, time::Duration};

use async_trait::async_trait;

use crate::{
    message::Message,
    topology::{Exchange, Queue},
    transport::{PublishError, Source, Subscription, Transport},
};

/// The transport inside one process.
pub struct Embedded {}

/// What an embedded bus may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of messages that wait, on disk; over it, publishing waits until it is less.
    pub max_waiting_bytes: u64,
    /// Bytes of the journal, which is also in memory.
    pub max_journal_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_waiting_bytes: 8 << 30, max_journal_bytes: 64 << 20 }
    }
}

/// Why a file cannot be a bus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("another process uses the bus {0}")]
    InUse(PathBuf),
}

impl Embedded {
    /// Opens the bus in a file, or makes it.
    ///
    /// # Errors
    /// If it cannot be used.
    pub async fn open(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let _ = limits;
        Err(OpenError::InUse(path.to_owned()))
    }

    /// A bus that keeps nothing when it is dropped.
    pub fn in_memory() -> Self {
        Self {}
    }
}

#[async_trait]
impl Transport for Embedded {
    async fn ensure(&self, _: Exchange, _: Vec<Queue>) {
        unimplemented!()
    }
    async fn publish(&self, _: Vec<Message>, _: Duration) -> Vec<Result<(), PublishError>> {
        unimplemented!()
    }
    fn subscribe(&self, _: Source, _: u16) -> Box<dyn Subscription> {
        unimplemented!()
    }
    fn status(&self) -> Result<(), String> {
        unimplemented!()
    }
    async fn failed(&self) -> String {
        unimplemented!()
    }
    async fn close(&self) {
        unimplemented!()
    }
}
