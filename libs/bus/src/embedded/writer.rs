//! The one task that writes. All that is published and acknowledged while one commit is on its way to the disk is in
//! the next one together: hence one synchronisation for many, without anybody waiting for others to come.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, warn};

use super::{
    Limits,
    group::{Group, Published, decode_message, encode_message},
    queue::Entry,
    router::Target,
    rows::Rows,
    shared::Shared,
    state::{HolderId, ListenerId, Number, QueueId, due, weight},
    store::{Commit, Settled, Store},
};
use crate::{
    calls::{Call, Reply, Results},
    message::Message,
    topology::{Exchange, Queue},
    transport::{Owner, PublishError},
};

/// A commit takes no further call when it has so many messages,
const MAX_GROUP_MESSAGES: usize = 4096;
/// or so many bytes.
const MAX_GROUP_BYTES: usize = 8 << 20;
/// How long acknowledgements wait for something to be published, whose commit they then share: nobody waits for them, and
/// what a kill makes of them is one delivery more.
const ACKNOWLEDGE_DELAY: Duration = Duration::from_millis(10);
/// How often it is tried to write when that fails, mostly because the disk is full.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What else the writer is asked to do.
pub(super) enum Order {
    /// Make sure of an exchange and queues.
    Ensure { exchange: Exchange, queues: Vec<Queue>, done: oneshot::Sender<()> },
    /// Let somebody consume a queue.
    Hold { queue: Queue, prefetch: u16, owner: Option<Owner>, holder: oneshot::Sender<HolderId> },
    /// Write what was acknowledged.
    Settle { done: oneshot::Sender<()> },
    /// Write what is left, and end.
    Close,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) rows: Rows,
    pub(super) limits: Limits,
    pub(super) calls: mpsc::Receiver<Call>,
    /// Those that never wait for room.
    pub(super) passed_on: mpsc::Receiver<Call>,
    pub(super) orders: mpsc::Receiver<Order>,
    /// What a crash has left to be counted, once.
    pub(super) delivered_first: Vec<(QueueId, u64)>,
}

/// What one commit is about.
#[derive(Default)]
struct Round {
    calls: Vec<Call>,
    orders: Vec<Order>,
}

/// What happens when the commit is durable.
#[derive(Default)]
struct Outcome {
    written_at_ms: i64,
    first: Number,
    published: Vec<Published>,
    broadcasts: Vec<(ListenerId, Arc<Message>)>,
    replies: Vec<(Reply, Results)>,
    done: Vec<oneshot::Sender<()>>,
    held: Vec<(oneshot::Sender<HolderId>, HolderId)>,
}

impl Writer {
    /// Writes until it is told to close.
    pub(super) async fn run(mut self) {
        loop {
            let Some(round) = self.wait().await else { break };
            let closes = round.orders.iter().any(|order| matches!(order, Order::Close));
            if closes {
                self.shared.state().close();
            }
            let (commit, outcome) = self.prepare(round);
            if !self.commit(commit).await {
                // Whoever waits for it hears that the bus is closed.
                self.shared.state().close();
                break;
            }
            self.tell(outcome);
            if closes {
                break;
            }
            self.load().await;
        }
        self.calls.close();
        self.passed_on.close();
        self.orders.close();
        // One that came in meanwhile would stay in the channel, and who gave it would wait for ever.
        while self.orders.recv().await.is_some() {}
        self.store.close().await;
        self.shared.ended.cancel();
    }

    /// Waits for something to do, and takes all that is there; none when nobody can ask for anything any more.
    async fn wait(&mut self) -> Option<Round> {
        let mut round = Round::default();
        let due = self.shared.state().next_due();
        let has_room = self.has_room();
        tokio::select! {
            biased;
            order = self.orders.recv() => round.orders.push(order?),
            call = self.passed_on.recv() => round.calls.push(call?),
            call = self.calls.recv(), if has_room => round.calls.push(call?),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = self.shared.news.notified() => {
                if !self.shared.state().is_waited_for() {
                    tokio::select! {
                        biased;
                        order = self.orders.recv() => round.orders.push(order?),
                        call = self.passed_on.recv() => round.calls.push(call?),
                        call = self.calls.recv(), if has_room => round.calls.push(call?),
                        () = sleep(ACKNOWLEDGE_DELAY) => {}
                    }
                }
            }
        }
        while let Ok(order) = self.orders.try_recv() {
            round.orders.push(order);
        }
        let size = |calls: &[Call]| -> (usize, usize) {
            let messages = calls.iter().flat_map(|call| &call.messages);
            (messages.clone().count(), messages.map(|message| message.body.len()).sum())
        };
        let (mut messages, mut bytes) = size(&round.calls);
        let mut outside_first = true;
        while messages < MAX_GROUP_MESSAGES && bytes < MAX_GROUP_BYTES {
            // In turn, so that neither holds up the other.
            let call = match outside_first {
                true => self.take_from_outside(has_room).or_else(|| self.passed_on.try_recv().ok()),
                false => self.passed_on.try_recv().ok().or_else(|| self.take_from_outside(has_room)),
            };
            let Some(call) = call else { break };
            outside_first = !outside_first;
            let (more, longer) = size(std::slice::from_ref(&call));
            (messages, bytes) = (messages + more, bytes + longer);
            round.calls.push(call);
        }
        Some(round)
    }

    fn take_from_outside(&mut self, has_room: bool) -> Option<Call> {
        if has_room { self.calls.try_recv().ok() } else { None }
    }

    /// Whether anything is taken from outside. Consuming always goes on, with what comes of it, which makes room.
    fn has_room(&self) -> bool {
        let waiting = self.shared.state().waiting_bytes;
        metrics::gauge!("ebs_bus_waiting_bytes").set(waiting as f64);
        let has_room = waiting < self.limits.max_waiting_bytes;
        let reason = || format!("{waiting} bytes wait to be consumed: no more are taken until they are fewer");
        self.shared.set_trouble("publishing", (!has_room).then(reason));
        has_room
    }

    /// What this round changes, in the file and then for everybody.
    fn prepare(&mut self, round: Round) -> (Commit, Outcome) {
        let mut commit = Commit::default();
        let mut outcome = Outcome { written_at_ms: now_ms(), first: self.rows.next_number, ..Outcome::default() };
        let mut state = self.shared.state();
        for order in round.orders {
            match order {
                Order::Ensure { exchange, queues, done } => {
                    let declared = state.declare_exchange(&exchange);
                    let refused = queues.iter().map(|queue| state.declare_queue(queue).map(|_| ())).chain([declared]);
                    let refused: Vec<String> = refused.filter_map(Result::err).collect();
                    refused.into_iter().for_each(|reason| state.refuse("publishing", reason));
                    outcome.done.push(done);
                }
                Order::Hold { queue, prefetch, owner, holder } => match state.declare_queue(&queue) {
                    Ok(id) => outcome.held.push((holder, state.hold(id, prefetch, owner))),
                    Err(reason) => {
                        state.refuse(&format!("consuming {}", queue.name), reason);
                        owner.iter().for_each(|owner| state.disown(owner));
                    }
                },
                Order::Settle { done } => outcome.done.push(done),
                Order::Close => {}
            }
        }
        for (target, message) in state.expire(Instant::now()) {
            outcome.published.push(Published { queues: vec![target], message: Arc::new(message) });
        }
        // Whoever has stopped waiting will send it again, if at all.
        for call in round.calls.into_iter().filter(|call| !call.reply.is_closed()) {
            let mut results = Vec::with_capacity(call.messages.len());
            for message in call.messages {
                let targets = state.route(&message);
                results.push(match targets.is_empty() {
                    true => Err(PublishError::Unroutable { routing_key: message.routing_key.clone() }),
                    false => Ok(()),
                });
                outcome.publish(message, &targets);
            }
            outcome.replies.push((call.reply, results));
        }
        let acknowledged = std::mem::take(&mut state.acknowledged);
        let deliveries = std::mem::take(&mut state.deliveries);
        (commit.exchanges, commit.queues) = state.take_definitions();
        commit.windows = state.take_windows();
        commit.delivered_first = std::mem::take(&mut self.delivered_first);
        acknowledged.iter().for_each(|(_, number)| self.rows.one_is_done(*number));
        let settled_before = self.rows.settled;
        if let Some(forget) = self.rows.forget(self.limits.max_journal_bytes) {
            commit.forget_through = Some(forget.sequence);
            commit.settled = state.live(settled_before, forget.last).into_iter().map(settle).collect();
            state.queues.iter_mut().for_each(|queue| queue.unload(forget.last));
        }
        drop(state);
        self.journal(&mut commit, &mut outcome, acknowledged, deliveries, settled_before);
        (commit, outcome)
    }

    /// Puts what is about messages in the journal into the journal, and what is about the backlog there. What is about
    /// messages that leave the journal just now has been considered already.
    fn journal(
        &mut self,
        commit: &mut Commit,
        outcome: &mut Outcome,
        acknowledged: Vec<(QueueId, Number)>,
        deliveries: Vec<(QueueId, Number, u32)>,
        settled_before: Number,
    ) {
        let settled = self.rows.settled;
        let mut group = Group {
            written_at_ms: outcome.written_at_ms,
            first: outcome.first,
            published: std::mem::take(&mut outcome.published),
            ..Group::default()
        };
        for (queue, number) in acknowledged {
            match number {
                number if number > settled => group.acknowledged.push((queue, number)),
                number if number <= settled_before => commit.acknowledged.push((queue, number)),
                _ => {}
            }
        }
        for (queue, number, count) in deliveries {
            match number {
                number if number > settled => group.deliveries.push((queue, number, count)),
                number if number <= settled_before => commit.deliveries.push((queue, number, count)),
                _ => {}
            }
        }
        if !group.is_empty() {
            let row = (self.rows.next_sequence(), group.encode());
            let live = group.published.iter().map(|published| published.queues.len()).sum();
            self.rows.next_number += group.published.len() as Number;
            self.rows.push(row.0, row.1.len(), live);
            commit.row = Some(row);
        }
        outcome.published = group.published;
    }

    /// Makes it durable, however long it takes; only when the bus is to close is it given up: false if that is so.
    async fn commit(&mut self, commit: Commit) -> bool {
        if commit.is_empty() {
            return true;
        }
        let began = Instant::now();
        while let Err(error) = self.store.commit(&commit).await {
            let reason = format!("cannot write: {error}");
            if self.shared.closing.is_cancelled() {
                error!("what was acknowledged last will be delivered again: {reason}");
                return false;
            }
            warn!(retry_in = ?RETRY_DELAY, "{reason}");
            self.shared.set_trouble("writing", Some(reason));
            self.shared.closing.run_until_cancelled(sleep(RETRY_DELAY)).await;
        }
        self.shared.set_trouble("writing", None);
        metrics::histogram!("ebs_bus_commit_duration_seconds").record(began.elapsed());
        true
    }

    /// Gives out what is durable now, and answers those who waited for it.
    fn tell(&self, outcome: Outcome) {
        let mut state = self.shared.state();
        for (number, published) in (outcome.first..).zip(outcome.published) {
            state.deliver(number, published, outcome.written_at_ms);
        }
        for (listener, message) in outcome.broadcasts {
            state.broadcast(listener, message);
        }
        for (holder, id) in outcome.held {
            if holder.send(id).is_err() {
                state.release(id);
            }
        }
        drop(state);
        for (reply, results) in outcome.replies {
            reply.send(results);
        }
        for done in outcome.done {
            let _ = done.send(());
        }
    }

    /// Reads from the backlog for every queue that soon has nothing to deliver.
    async fn load(&mut self) {
        // Again, because what was read may have been in memory already.
        loop {
            let wanted = self.shared.state().start_loading();
            if wanted.is_empty() {
                return;
            }
            for (id, from) in wanted {
                self.load_page(id, from).await;
            }
        }
    }

    async fn load_page(&mut self, id: QueueId, from: Number) {
        let page = loop {
            match self.store.page(id, from, self.limits.kept_messages).await {
                Ok(page) => break page,
                // It is read by whoever opens the file next.
                Err(_) if self.shared.closing.is_cancelled() => return,
                Err(error) => {
                    self.shared.set_trouble("reading", Some(format!("cannot read: {error}")));
                    self.shared.closing.run_until_cancelled(sleep(RETRY_DELAY)).await;
                }
            }
        };
        self.shared.set_trouble("reading", None);
        let now_ms = now_ms();
        let mut state = self.shared.state();
        let kind = state.queues[id as usize].definition.kind.clone();
        let mut entries = Vec::with_capacity(page.messages.len());
        for settled in page.messages {
            let Settled { number, deliveries, since_ms, .. } = settled;
            match decode_message(&settled.message) {
                Ok(message) => {
                    let due = due(&kind, since_ms, now_ms);
                    entries.push((number, Entry { message: Arc::new(message), deliveries, since_ms, due }));
                }
                Err(reason) => {
                    let queue = &state.queues[id as usize].definition.name;
                    self.shared.fail(&format!("message {number} of queue {queue} is damaged: {reason}"));
                    return;
                }
            }
        }
        let gone: BTreeSet<Number> =
            state.acknowledged.iter().filter(|(queue, _)| *queue == id).map(|(_, number)| *number).collect();
        state.queues[id as usize].loaded(entries, &gone, page.is_last);
    }
}

impl Outcome {
    fn publish(&mut self, message: Message, targets: &[Target]) {
        let message = Arc::new(message);
        let mut queues = Vec::new();
        for target in targets {
            match target {
                Target::Queue(queue) => queues.push(*queue),
                Target::Listener(listener) => self.broadcasts.push((*listener, message.clone())),
            }
        }
        if !queues.is_empty() {
            self.published.push(Published { queues, message });
        }
    }
}

fn settle((queue, number, entry): (QueueId, Number, Entry)) -> Settled {
    Settled {
        queue,
        number,
        deliveries: entry.deliveries,
        since_ms: entry.since_ms,
        weight: weight(&entry.message),
        message: encode_message(&entry.message),
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
