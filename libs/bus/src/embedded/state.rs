//! Everything that the bus knows, under one lock: who gets what, what waits, who holds what.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::{Duration, Instant},
};

use super::{
    group::{Group, Published, Unreadable},
    listener::Listener,
    queue::{Entry, Queue},
    router::{Router, Target},
    rows::Rows,
};
use crate::{
    message::Message,
    topology::{self, Binding, Exchange, QueueKind},
    transport::{Acknowledge, AcknowledgeError, MAX_HELD_BYTES, Owner},
};

/// Names a queue. Never used for another one.
pub(super) type QueueId = u32;
/// Names a message in the order of publishing, from 1.
pub(super) type Number = u64;
/// Names who consumes a queue.
pub(super) type HolderId = u64;
/// Names who listens to broadcasts.
pub(super) type ListenerId = u64;

/// What a message counts for beside its body: its address, properties and headers, roughly.
const MESSAGE_OVERHEAD_BYTES: u64 = 512;
/// When a message in a retry queue cannot go where it should because that queue is not there.
const NOWHERE_TO_GO: Duration = Duration::from_secs(30);

/// The state. What waits to be committed is in `acknowledged`, `deliveries`, `windows` and `definitions`.
#[derive(Debug, Default)]
pub(super) struct State {
    router: Router,
    pub(super) queues: Vec<Queue>,
    by_name: HashMap<String, QueueId>,
    holders: HashMap<HolderId, Holder>,
    listeners: HashMap<ListenerId, Listener>,
    /// Who owns which name, and how many times.
    owners: HashMap<String, (Owner, usize)>,
    /// Told when an owner goes.
    pub(super) owner_left: Arc<Notify>,
    last_id: u64,
    kept_messages: usize,
    pub(super) acknowledged: Vec<(QueueId, Number)>,
    pub(super) deliveries: Vec<(QueueId, Number, u32)>,
    windows: BTreeSet<QueueId>,
    exchanges_to_write: Vec<Exchange>,
    queues_to_write: BTreeSet<QueueId>,
    /// Of all messages in all queues.
    pub(super) waiting_bytes: u64,
    /// What was asked for and does not work, by its name.
    pub(super) refused: BTreeMap<String, String>,
    pub(super) closed: bool,
}

/// Who consumes a queue, and what it holds.
#[derive(Debug)]
struct Holder {
    queue: QueueId,
    prefetch: usize,
    owner: Option<Owner>,
    last_tag: u64,
    unacknowledged: BTreeMap<u64, (Number, Entry)>,
    /// Bytes of their bodies.
    held_bytes: usize,
}

impl Holder {
    /// Whether it holds as much as it may.
    fn is_full(&self) -> bool {
        self.unacknowledged.len() >= self.prefetch
    }

    /// Whether a message of so many bytes would be too much beside what it holds.
    fn has_no_room_for(&self, bytes: usize) -> bool {
        !self.unacknowledged.is_empty() && self.held_bytes + bytes > MAX_HELD_BYTES
    }
}

/// What a consumer gets when it asks for the next message.
pub(super) enum Next {
    Delivery {
        tag: u64,
        earlier_deliveries: u32,
        message: Arc<Message>,
    },
    /// Nothing is there: ask again after this.
    Nothing(OwnedNotified),
    /// It holds as much as it may.
    Full,
    Closed,
}

/// What a message counts for in the bound on what waits.
pub(super) fn weight(message: &Message) -> u64 {
    message.body.len() as u64 + MESSAGE_OVERHEAD_BYTES
}

/// Declaring and routing.
impl State {
    /// One whose queues keep so many messages in memory when the rest goes to disk.
    pub(super) fn new(kept_messages: usize) -> Self {
        Self { kept_messages, ..Self::default() }
    }

    /// Makes sure of an exchange.
    pub(super) fn declare_exchange(&mut self, exchange: &Exchange) -> Result<(), String> {
        if self.router.declare(exchange)? {
            self.exchanges_to_write.push(exchange.clone());
        }
        Ok(())
    }

    /// Makes sure of a queue with all its bindings.
    pub(super) fn declare_queue(&mut self, queue: &topology::Queue) -> Result<QueueId, String> {
        if let QueueKind::Work { dead_letters } = &queue.kind {
            self.declare_exchange(dead_letters)?;
        }
        let id = match self.by_name.get(&queue.name) {
            Some(id) => *id,
            None => self.add_queue(topology::Queue { bindings: Vec::new(), ..queue.clone() })?,
        };
        let known = &mut self.queues[id as usize].definition;
        if known.kind != queue.kind {
            return Err(format!("queue {} exists with other properties: {:?}", queue.name, known.kind));
        }
        for binding in &queue.bindings {
            self.declare_exchange(&binding.exchange)?;
            self.router.bind(binding, Target::Queue(id));
            let known = &mut self.queues[id as usize].definition;
            if !known.bindings.contains(binding) {
                known.bindings.push(binding.clone());
                self.queues_to_write.insert(id);
            }
        }
        Ok(id)
    }

    fn add_queue(&mut self, definition: topology::Queue) -> Result<QueueId, String> {
        let id = QueueId::try_from(self.queues.len()).map_err(|_| "too many queues".to_owned())?;
        self.by_name.insert(definition.name.clone(), id);
        self.queues.push(Queue::new(definition, self.kept_messages));
        self.queues_to_write.insert(id);
        Ok(id)
    }

    /// Puts a queue back that the file has; its id is the number of those before.
    pub(super) fn restore_queue(&mut self, definition: topology::Queue) -> Result<(), String> {
        self.declare_queue(&definition)?;
        self.queues_to_write.clear();
        self.exchanges_to_write.clear();
        Ok(())
    }

    /// Each target that gets the message, once.
    pub(super) fn route(&self, message: &Message) -> Vec<Target> {
        self.router.route(&message.exchange, &message.routing_key)
    }

    /// What was declared and is not written yet.
    pub(super) fn take_definitions(&mut self) -> (Vec<Exchange>, Vec<(QueueId, topology::Queue)>) {
        let definition = |id: QueueId| (id, self.queues[id as usize].definition.clone());
        let queues = self.queues_to_write.iter().copied().map(definition).collect();
        self.queues_to_write.clear();
        (std::mem::take(&mut self.exchanges_to_write), queues)
    }
}

/// Consuming.
impl State {
    /// Becomes the owner of a name, or says that another one is.
    pub(super) fn own(&mut self, owner: &Owner) -> bool {
        let (known, times) = self.owners.entry(owner.name().to_owned()).or_insert_with(|| (owner.clone(), 0));
        let may = known == owner;
        *times += usize::from(may);
        may
    }

    /// Takes back one time of what was owned.
    pub(super) fn disown(&mut self, owner: &Owner) {
        let Some((_, times)) = self.owners.get_mut(owner.name()).filter(|(known, _)| known == owner) else { return };
        *times -= 1;
        if *times == 0 {
            self.owners.remove(owner.name());
            self.owner_left.notify_waiters();
        }
    }

    /// Begins to consume a queue.
    pub(super) fn hold(&mut self, queue: QueueId, prefetch: u16, owner: Option<Owner>) -> HolderId {
        let prefetch = usize::from(prefetch.max(1));
        self.last_id += 1;
        let unacknowledged = BTreeMap::new();
        let holder = Holder { queue, prefetch, owner, last_tag: 0, unacknowledged, held_bytes: 0 };
        self.holders.insert(self.last_id, holder);
        self.queues[queue as usize].window += prefetch as u64;
        self.windows.insert(queue);
        self.last_id
    }

    /// Ends consuming: what was held goes back, delivered once more than before.
    pub(super) fn release(&mut self, id: HolderId) {
        let Some(holder) = self.holders.remove(&id) else { return };
        let queue = &mut self.queues[holder.queue as usize];
        queue.window = queue.window.saturating_sub(holder.prefetch as u64);
        self.windows.insert(holder.queue);
        for (number, mut entry) in holder.unacknowledged.into_values() {
            entry.deliveries += 1;
            self.deliveries.push((holder.queue, number, entry.deliveries));
            queue.put_back(number, entry);
        }
        // It may have been told of a message that it cannot take any more.
        queue.came.notify_one();
        if let Some(owner) = holder.owner {
            self.disown(&owner);
        }
    }

    /// The next message for a consumer.
    pub(super) fn next(&mut self, id: HolderId) -> Next {
        let Some(holder) = self.holders.get_mut(&id).filter(|_| !self.closed) else { return Next::Closed };
        if holder.is_full() {
            return Next::Full;
        }
        let queue = &mut self.queues[holder.queue as usize];
        if queue.first().is_some_and(|first| holder.has_no_room_for(first.message.body.len())) {
            // Another consumer may have room for it.
            queue.came.notify_one();
            return Next::Full;
        }
        let Some((number, entry)) = queue.take() else { return Next::Nothing(queue.came.clone().notified_owned()) };
        holder.last_tag += 1;
        holder.held_bytes += entry.message.body.len();
        let delivery = Next::Delivery {
            tag: holder.last_tag,
            earlier_deliveries: entry.deliveries,
            message: entry.message.clone(),
        };
        holder.unacknowledged.insert(holder.last_tag, (number, entry));
        delivery
    }

    pub(super) fn acknowledge(&mut self, id: HolderId, tag: u64, scope: Acknowledge) -> Result<(), AcknowledgeError> {
        let Some(holder) = self.holders.get_mut(&id).filter(|_| !self.closed) else {
            return Err(AcknowledgeError::Lost);
        };
        let known = holder.unacknowledged.remove(&tag);
        let result = known.as_ref().map(|_| ()).ok_or(AcknowledgeError::Lost);
        let earlier = match scope {
            Acknowledge::One => BTreeMap::new(),
            Acknowledge::UpTo => {
                let later = holder.unacknowledged.split_off(&tag);
                std::mem::replace(&mut holder.unacknowledged, later)
            }
        };
        let queue = holder.queue;
        let done: Vec<(Number, Entry)> = earlier.into_values().chain(known).collect();
        holder.held_bytes -= done.iter().map(|(_, entry)| entry.message.body.len()).sum::<usize>();
        for (number, entry) in done {
            self.done(queue, number, &entry.message);
        }
        result
    }

    fn done(&mut self, queue: QueueId, number: Number, message: &Message) {
        self.queues[queue as usize].done(number);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(weight(message));
        self.acknowledged.push((queue, number));
    }

    /// How many messages of a queue wait to be delivered; none of one that there is not.
    pub(super) fn depth(&self, queue: &str) -> u64 {
        self.by_name.get(queue).map_or(0, |id| self.queues[*id as usize].depth())
    }

    /// Takes everything back from everybody, and gives nothing out any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let holders: Vec<HolderId> = self.holders.keys().copied().collect();
        holders.into_iter().for_each(|id| self.release(id));
        self.queues.iter().for_each(|queue| queue.came.notify_waiters());
        self.listeners.values().for_each(|listener| listener.came.notify_one());
        self.owner_left.notify_waiters();
    }

    /// Says that something was asked for that does not work.
    pub(super) fn refuse(&mut self, what: &str, reason: String) {
        tracing::error!(what, reason, "refused");
        self.refused.insert(what.to_owned(), reason);
    }

    /// How many messages all consumers of a queue may hold, where that has changed.
    pub(super) fn take_windows(&mut self) -> Vec<(QueueId, u64)> {
        let windows = std::mem::take(&mut self.windows);
        windows.into_iter().map(|id| (id, self.queues[id as usize].window)).collect()
    }
}

/// Listening.
impl State {
    pub(super) fn listen(&mut self, bindings: &[Binding], prefetch: u16) -> Result<ListenerId, String> {
        for binding in bindings {
            self.declare_exchange(&binding.exchange)?;
        }
        self.last_id += 1;
        self.listeners.insert(self.last_id, Listener::new(prefetch));
        for binding in bindings {
            self.router.bind(binding, Target::Listener(self.last_id));
        }
        Ok(self.last_id)
    }

    pub(super) fn leave(&mut self, id: ListenerId) {
        self.listeners.remove(&id);
        self.router.unbind(Target::Listener(id));
    }

    pub(super) fn listener(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.listeners.get_mut(&id).filter(|_| !self.closed)
    }
}

/// What the writer does.
impl State {
    /// Whether somebody waits for what would be written or read now, and not only acknowledgements.
    pub(super) fn is_waited_for(&self) -> bool {
        self.queues.iter().any(|queue| queue.wants_loading())
    }

    /// Whether more must be read for this consumer soon.
    pub(super) fn wants_loading(&self, id: HolderId) -> bool {
        self.holders.get(&id).is_some_and(|holder| self.queues[holder.queue as usize].wants_loading())
    }

    /// The queues that need more from the backlog, and from where on.
    pub(super) fn start_loading(&mut self) -> Vec<(QueueId, Number)> {
        let queues = (0..).zip(&mut self.queues);
        queues.filter_map(|(id, queue)| Some((id, queue.start_loading()?))).collect()
    }

    /// When the next message leaves a retry queue.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queues.iter().filter_map(|queue| queue.first()?.due).min()
    }

    /// Takes what has been in a retry queue for its time: acknowledged there, to be published where it goes.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(QueueId, Message)> {
        let mut leaving = Vec::new();
        for id in 0..self.queues.len() {
            while self.queues[id].first().and_then(|first| first.due).is_some_and(|due| due <= now) {
                let Some((number, mut entry)) = self.queues[id].take() else { break };
                let Some(target) = self.by_name.get(&entry.message.routing_key).copied() else {
                    tracing::error!(queue = entry.message.routing_key, "cannot be tried again: there is no such queue");
                    entry.due = Some(now + NOWHERE_TO_GO);
                    self.queues[id].put_back(number, entry);
                    break;
                };
                self.done(QueueId::try_from(id).unwrap_or(QueueId::MAX), number, &entry.message);
                leaving.push((target, Message { exchange: String::new(), ..(*entry.message).clone() }));
            }
        }
        leaving
    }

    /// Gives out what is committed now.
    pub(super) fn deliver(&mut self, number: Number, published: Published, since_ms: i64) {
        let Published { queues, message } = published;
        for id in queues {
            self.waiting_bytes += weight(&message);
            let queue = &mut self.queues[id as usize];
            let due = match queue.definition.kind {
                QueueKind::Retry { delay } => Some(Instant::now() + delay),
                QueueKind::Work { .. } | QueueKind::DeadLetters => None,
            };
            queue.push(number, Entry { message: message.clone(), deliveries: 0, since_ms, due });
        }
    }

    pub(super) fn broadcast(&mut self, listener: ListenerId, message: Arc<Message>) {
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.hear(message);
        }
    }

    /// Every message in the journal with a number in `after+1..=through`, with its queue: what must go to the backlog
    /// before their rows go.
    pub(super) fn live(&self, after: Number, through: Number) -> Vec<(QueueId, Number, Entry)> {
        let mut live = Vec::new();
        for (id, queue) in (0..).zip(&self.queues) {
            live.extend(queue.waiting(after, through).map(|(number, entry)| (id, number, entry.clone())));
        }
        for holder in self.holders.values() {
            let held = holder.unacknowledged.values().filter(|(number, _)| (after + 1..=through).contains(number));
            live.extend(held.map(|(number, entry)| (holder.queue, *number, entry.clone())));
        }
        live
    }
}

/// Reading the file.
impl State {
    /// Takes one row of the journal, in their order.
    pub(super) fn replay(
        &mut self,
        rows: &mut Rows,
        sequence: u64,
        bytes: &[u8],
        now_ms: i64,
    ) -> Result<(), Unreplayable> {
        let group = Group::decode(bytes)?;
        if !rows.follows(sequence, group.first) {
            return Err(Unreplayable::Gap);
        }
        let mut live = 0;
        for (number, published) in (group.first..).zip(group.published) {
            let Published { queues, message } = published;
            for id in queues {
                let queue = self.queues.get_mut(id as usize).ok_or(Unreplayable::UnknownQueue)?;
                self.waiting_bytes += weight(&message);
                let due = due(&queue.definition.kind, group.written_at_ms, now_ms);
                let message = message.clone();
                queue.push(number, Entry { message, deliveries: 0, since_ms: group.written_at_ms, due });
                live += 1;
            }
            rows.next_number = number + 1;
        }
        rows.push(sequence, bytes.len(), live);
        for (id, number) in group.acknowledged {
            let queue = self.queues.get_mut(id as usize).ok_or(Unreplayable::UnknownQueue)?;
            if let Some(entry) = queue.remove(number) {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(weight(&entry.message));
                rows.one_is_done(number);
            }
        }
        for (id, number, deliveries) in group.deliveries {
            let queue = self.queues.get_mut(id as usize).ok_or(Unreplayable::UnknownQueue)?;
            if let Some(entry) = queue.ready_mut(number) {
                entry.deliveries = deliveries;
            }
        }
        Ok(())
    }

    /// After a crash: whoever consumed the queue may have held this many of its first messages. How many of them are in
    /// the backlog, where the caller must count them.
    pub(super) fn count_as_delivered(&mut self, id: QueueId, window: u64) -> u64 {
        self.windows.insert(id);
        let queue = &mut self.queues[id as usize];
        let in_backlog = queue.unloaded().min(window);
        let in_memory = usize::try_from(window - in_backlog).unwrap_or(usize::MAX);
        for (number, entry) in queue.ready_iter_mut().take(in_memory) {
            entry.deliveries += 1;
            self.deliveries.push((id, number, entry.deliveries));
        }
        in_backlog
    }
}

/// When a message that came at `since_ms` leaves by itself. A clock that was set in between shifts it by at most the delay.
pub(super) fn due(kind: &QueueKind, since_ms: i64, now_ms: i64) -> Option<Instant> {
    let QueueKind::Retry { delay } = kind else { return None };
    let waited = Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or_default());
    Some(Instant::now() + delay.saturating_sub(waited))
}

/// Why a row of the journal cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreplayable {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("a row before it is missing")]
    Gap,
    #[error("it names a queue that there is not")]
    UnknownQueue,
}
