//! A broadcast subscription: what is said while it listens, in memory only.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::sync::Notify;
use tracing::warn;

use crate::message::Message;

/// Messages that wait for a listener, at most: whoever is slower than this loses them all, as one whose connection to a
/// broker broke would, instead of taking all memory.
const MAX_UNHEARD: usize = 10_000;
/// Bytes that wait for a listener, at most.
const MAX_UNHEARD_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Listener {
    unheard: VecDeque<Arc<Message>>,
    unheard_bytes: usize,
    unacknowledged: BTreeSet<u64>,
    prefetch: usize,
    last_tag: u64,
    pub(super) came: Arc<Notify>,
}

impl Listener {
    pub(super) fn new(prefetch: u16) -> Self {
        Self {
            unheard: VecDeque::new(),
            unheard_bytes: 0,
            unacknowledged: BTreeSet::new(),
            prefetch: usize::from(prefetch.max(1)),
            last_tag: 0,
            came: Arc::default(),
        }
    }

    pub(super) fn hear(&mut self, message: Arc<Message>) {
        if self.unheard.len() >= MAX_UNHEARD || self.unheard_bytes >= MAX_UNHEARD_BYTES {
            warn!(lost = self.unheard.len(), "a listener is too slow: what it has not heard is lost to it");
            self.unheard.clear();
            self.unheard_bytes = 0;
        }
        self.unheard_bytes += message.body.len();
        self.unheard.push_back(message);
        self.came.notify_one();
    }

    /// The next message and its tag.
    pub(super) fn take(&mut self) -> Option<(u64, Arc<Message>)> {
        if self.unacknowledged.len() >= self.prefetch {
            return None;
        }
        let message = self.unheard.pop_front()?;
        self.unheard_bytes -= message.body.len();
        self.last_tag += 1;
        self.unacknowledged.insert(self.last_tag);
        Some((self.last_tag, message))
    }

    /// Whether that tag was there to acknowledge.
    pub(super) fn acknowledge(&mut self, tag: u64, and_earlier: bool) -> bool {
        let known = self.unacknowledged.remove(&tag);
        if and_earlier {
            self.unacknowledged = self.unacknowledged.split_off(&tag);
        }
        known
    }
}
