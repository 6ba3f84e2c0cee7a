//! One queue: what waits in memory, what waits on disk, and who is told when something comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included},
    sync::Arc,
};

use tokio::{sync::Notify, time::Instant};

use super::state::Number;
use crate::{message::Message, topology};

/// When fewer than this part of what may stay in memory is there to be delivered, more is read from disk.
const FEW: usize = 8;
/// Bytes of bodies of one queue that stay in memory when the rest goes to disk: a thousand long messages would be gigabytes.
const KEPT_BYTES: usize = 16 << 20;

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    /// How often it was delivered and not acknowledged.
    pub(super) deliveries: u32,
    /// When it came, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// When it leaves by itself, if it is in a retry queue.
    pub(super) due: Option<Instant>,
}

/// A queue. Messages leave in the order of their numbers.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) definition: topology::Queue,
    /// What is in memory and not delivered.
    ready: BTreeMap<Number, Entry>,
    /// What was delivered and not acknowledged.
    held: BTreeSet<Number>,
    /// How many messages are on disk only. None of them has a number below `unloaded_from`.
    unloaded: u64,
    unloaded_from: Number,
    loading: bool,
    /// How many messages stay in memory when the rest goes to disk.
    kept: usize,
    /// How many messages all consumers together may hold: after a crash, so many of the first ones count as delivered.
    pub(super) window: u64,
    /// Told once for each message that comes.
    pub(super) came: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(definition: topology::Queue, kept: usize) -> Self {
        Self {
            definition,
            ready: BTreeMap::new(),
            held: BTreeSet::new(),
            unloaded: 0,
            unloaded_from: 0,
            loading: false,
            kept,
            window: 0,
            came: Arc::default(),
        }
    }

    pub(super) fn push(&mut self, number: Number, entry: Entry) {
        self.ready.insert(number, entry);
        self.came.notify_one();
    }

    /// The next message, now held by whoever took it.
    pub(super) fn take(&mut self) -> Option<(Number, Entry)> {
        let next = self.ready.first_entry().filter(|first| self.unloaded == 0 || *first.key() < self.unloaded_from)?;
        let (number, entry) = next.remove_entry();
        self.held.insert(number);
        if !self.ready.is_empty() {
            // Whoever was told of the next one may be unable to take it.
            self.came.notify_one();
        }
        Some((number, entry))
    }

    /// The first message, if it can be taken.
    pub(super) fn first(&self) -> Option<&Entry> {
        let (number, entry) = self.ready.first_key_value()?;
        (self.unloaded == 0 || *number < self.unloaded_from).then_some(entry)
    }

    /// Takes back what was held and is not done.
    pub(super) fn put_back(&mut self, number: Number, entry: Entry) {
        self.held.remove(&number);
        self.push(number, entry);
    }

    /// Forgets what was held and is done.
    pub(super) fn done(&mut self, number: Number) {
        self.held.remove(&number);
    }

    /// Forgets a message wherever it is: for reading the journal.
    pub(super) fn remove(&mut self, number: Number) -> Option<Entry> {
        self.ready.remove(&number)
    }

    pub(super) fn ready_mut(&mut self, number: Number) -> Option<&mut Entry> {
        self.ready.get_mut(&number)
    }

    /// The first messages in memory, in order.
    pub(super) fn ready_iter_mut(&mut self) -> impl Iterator<Item = (Number, &mut Entry)> {
        self.ready.iter_mut().map(|(number, entry)| (*number, entry))
    }

    /// What waits in memory with numbers after `after`, up to `through`.
    pub(super) fn waiting(&self, after: Number, through: Number) -> impl Iterator<Item = (Number, &Entry)> {
        self.ready.range((Excluded(after), Included(through))).map(|(number, entry)| (*number, entry))
    }

    /// Lets go of what is on disk with numbers up to `through`, all but the first ones.
    pub(super) fn unload(&mut self, through: Number) {
        let mut bytes = 0;
        let beyond_kept = self.ready.iter().zip(1..).find_map(|((number, entry), count)| {
            bytes += entry.message.body.len();
            (count > self.kept || bytes > KEPT_BYTES).then_some(*number)
        });
        let Some(from) = beyond_kept.filter(|from| *from <= through) else { return };
        let mut rest = self.ready.split_off(&from);
        let newer = rest.split_off(&(through + 1));
        self.unloaded += rest.len() as u64;
        self.unloaded_from = if self.unloaded == rest.len() as u64 { from } else { self.unloaded_from.min(from) };
        self.ready.extend(newer);
    }

    /// Says that messages are on disk: for opening the file.
    pub(super) fn on_disk(&mut self, count: u64, from: Number) {
        self.unloaded = count;
        self.unloaded_from = from;
    }

    pub(super) fn unloaded(&self) -> u64 {
        self.unloaded
    }

    /// Whether more must be read from disk soon.
    pub(super) fn wants_loading(&self) -> bool {
        self.unloaded > 0 && !self.loading && !self.has_enough()
    }

    /// Whether what is in memory lasts until more is read. It is never nothing, or nobody could go on.
    fn has_enough(&self) -> bool {
        let mut bytes = 0;
        self.ready.range(..self.unloaded_from).zip(1..).any(|((_, entry), count)| {
            bytes += entry.message.body.len();
            count > self.kept / FEW || bytes > KEPT_BYTES / FEW
        })
    }

    /// How many messages wait to be delivered, in memory and on disk.
    pub(super) fn depth(&self) -> u64 {
        self.ready.len() as u64 + self.unloaded
    }

    /// From which number on more is read from disk now, if so.
    pub(super) fn start_loading(&mut self) -> Option<Number> {
        self.loading = self.wants_loading();
        self.loading.then_some(self.unloaded_from)
    }

    /// Takes what was read from disk, in order; `gone` are numbers that were acknowledged meanwhile. Fewer than asked
    /// for means that there are no more.
    pub(super) fn loaded(&mut self, entries: Vec<(Number, Entry)>, gone: &BTreeSet<Number>, were_all: bool) {
        self.loading = false;
        if let Some((last, _)) = entries.last() {
            self.unloaded_from = last + 1;
        }
        for (number, entry) in entries {
            if gone.contains(&number) || self.held.contains(&number) || self.ready.contains_key(&number) {
                continue;
            }
            self.unloaded = self.unloaded.saturating_sub(1);
            self.push(number, entry);
        }
        if were_all {
            self.unloaded = 0;
        }
        // What was in memory behind them may be next now.
        self.came.notify_one();
    }
}
