//! A queue of everything, by one consumer, many messages at a time.

use std::{future::Future, ops::Range, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    caution::{GIVE_UP_AT, crash_loop},
    delay, set_aside,
};
use crate::{
    bus::Bus,
    copies,
    envelope::{AnyEvent, DecodeError, Received, decode_any},
    message::Message,
    outcome::{Cause, Failure},
    topology::{Queue, QueueKind},
    transport::{Acknowledge, Delivery, Owner, Receipt, Source, Subscription},
};

/// More messages than a lone object of the usual size brings: there is so much to do that waiting pays.
const SMALL_BATCH: usize = 32;

/// What a message is read as, before a batch of them is handled.
pub trait Item: Sized + Send + Sync + 'static {
    /// Reads a message.
    ///
    /// # Errors
    /// Why it cannot be read: it is set aside then.
    fn read(message: &Message, max_event_bytes: usize) -> Result<Self, DecodeError>;
}

impl Item for Received<AnyEvent> {
    fn read(message: &Message, max_event_bytes: usize) -> Result<Self, DecodeError> {
        decode_any(message, max_event_bytes)
    }
}

/// Reacts to batches of what was in a queue.
pub trait HandleBatch<T: Item>: Send + Sync + 'static {
    /// Reacts to all of `items`, or to none. After `Ok` all that they caused is committed. It may be given
    /// the same again, in other batches.
    ///
    /// # Errors
    /// Why it has not reacted to any of them. A panic counts as [`BatchError::Bad`].
    fn handle(&self, items: &[T]) -> impl Future<Output = Result<(), BatchError>> + Send;
}

/// Why a batch is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// What is needed is away, through no fault of the batch: the same is given again later, and nothing is acknowledged
    /// until then.
    #[error("{0}")]
    Unavailable(String),
    /// Something in it can never be done. Its halves are given again, and so on, until what is bad is alone: that is set aside
    /// with this reason, and everything else is done.
    #[error("{0}")]
    Bad(String),
}

/// How to consume a queue in batches.
#[derive(Clone, Debug)]
pub struct Batches {
    /// The queue.
    pub queue: Queue,
    /// Who consumes it; while another one is the owner of that name, this waits.
    pub owner: Owner,
    /// A batch has at most this many messages. Twice as many are held here: the next batch arrives while
    /// one is committed.
    pub max_events: u16,
    /// A batch that has this many bytes takes no more messages.
    pub max_bytes: usize,
    /// A batch is handled at the latest so long after its first message came,
    pub max_wait: Duration,
    /// and a small one as soon as no message has come for so long: whoever waits for a lone object gets it sooner.
    pub max_pause: Duration,
    /// How long the batch in hand may take to end after `shutdown`; then it goes back.
    pub grace: Duration,
}

/// How much a consumer takes in hand. A message that crashes its process does so beside all that are held, and the number of
/// deliveries tells suspects only, as in [`caution`](super::caution).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// One message: at the start, and from when a suspect is met until one comes that is none.
    OneByOne,
    /// Batches.
    Many,
}

impl Batches {
    /// Consumes until `shutdown`, while it is the owner.
    pub async fn run<T: Item, H: HandleBatch<T>>(self, bus: Bus, handler: &H, shutdown: CancellationToken) {
        let mut pace = Some(Pace::OneByOne);
        while let Some(current) = pace {
            pace = self.consume(current, &bus, handler, &shutdown).await;
        }
    }

    /// Consumes as long as it may be at this pace; how to go on, unless this is the end.
    async fn consume<T: Item, H: HandleBatch<T>>(
        &self,
        pace: Pace,
        bus: &Bus,
        handler: &H,
        shutdown: &CancellationToken,
    ) -> Option<Pace> {
        let (max_events, prefetch) = match pace {
            Pace::OneByOne => (1, 1),
            Pace::Many => (self.max_events, self.max_events.saturating_mul(2)),
        };
        let source = Source::Exclusive { queue: self.queue.clone(), owner: self.owner.clone() };
        let mut subscription = bus.subscribe(source, prefetch);
        loop {
            let batch = shutdown.run_until_cancelled(self.collect(&mut *subscription, max_events)).await?;
            let last = batch.last()?.receipt;
            let suspects = batch.iter().any(Delivery::is_suspect);
            if suspects && pace == Pace::Many {
                warn!(
                    queue = self.queue.name,
                    "something in it was delivered again and again: to be handled one by one"
                );
                return Some(Pace::OneByOne);
            }
            #[cfg(feature = "break-rules")]
            if crate::broken::is_broken("acknowledge-before-commit") {
                acknowledge(&mut *subscription, last).await;
                sleep(crate::broken::MOMENT).await;
            }
            tokio::select! {
                () = self.handle(bus, handler, &batch) => {}
                () = async { shutdown.cancelled().await; sleep(self.grace).await } => return None,
            }
            acknowledge(&mut *subscription, last).await;
            if !suspects && pace == Pace::OneByOne {
                return Some(Pace::Many);
            }
        }
    }

    /// The next batch; empty when the bus is closed.
    async fn collect(&self, subscription: &mut dyn Subscription, max_events: u16) -> Vec<Delivery> {
        let mut batch = Vec::new();
        let Some(first) = next(subscription).await else {
            return batch;
        };
        let mut bytes = first.message.body.len();
        batch.push(first);
        let end = Instant::now() + self.max_wait;
        while batch.len() < usize::from(max_events) && bytes < self.max_bytes {
            let pause = if batch.len() < SMALL_BATCH { self.max_pause } else { self.max_wait };
            match timeout_at(end.min(Instant::now() + pause), next(subscription)).await {
                Ok(Some(delivery)) => {
                    bytes += delivery.message.body.len();
                    batch.push(delivery);
                }
                Ok(None) | Err(_) => break,
            }
        }
        batch
    }

    /// Brings every delivery of the batch to its end, however long it takes.
    async fn handle<T: Item, H: HandleBatch<T>>(&self, bus: &Bus, handler: &H, batch: &[Delivery]) {
        let (mut items, mut messages) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Delivery { message, earlier_deliveries, .. } in batch {
            // A dead letter has nowhere else to go.
            if *earlier_deliveries >= GIVE_UP_AT && self.queue.kind != QueueKind::DeadLetters {
                set_aside(bus, &self.queue.name, message, &crash_loop(*earlier_deliveries)).await;
                continue;
            }
            match T::read(message, bus.max_event_bytes()) {
                Ok(item) => {
                    items.push(item);
                    messages.push(message);
                }
                Err(error) => {
                    set_aside(bus, &self.queue.name, message, &error.into()).await;
                }
            }
        }
        // What is left of it, in order, the first last.
        let mut portions = Vec::from_iter((!items.is_empty()).then_some(0..items.len()));
        while let Some(Range { start, end }) = portions.pop() {
            let Err(failure) = self.handle_or_wait(handler, &items[start..end]).await else { continue };
            if end - start > 1 {
                let middle = start + (end - start) / 2;
                warn!(queue = self.queue.name, messages = end - start, "to be handled in halves: {failure}");
                portions.extend([middle..end, start..middle]);
            } else {
                set_aside(bus, &self.queue.name, messages[start], &failure).await;
            }
        }
        metrics::counter!("ebs_bus_delivered_total", "queue" => self.queue.name.clone()).increment(batch.len() as u64);
    }

    /// Has some of the batch handled, as soon as it can be; the error is why it can never be.
    async fn handle_or_wait<T: Item, H: HandleBatch<T>>(&self, handler: &H, items: &[T]) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            // A panic is the handler's defect with something in it, which another try would only repeat.
            let handled = AssertUnwindSafe(handler.handle(items)).catch_unwind().await;
            let (failure, may_help) = match handled {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(BatchError::Unavailable(reason))) => (Failure::new(Cause::Rejected, reason), true),
                Ok(Err(BatchError::Bad(reason))) => (Failure::new(Cause::Rejected, reason), false),
                Err(_panic) => (Failure::new(Cause::Panicked, "the handler panicked"), false),
            };
            // Nor has a dead letter now.
            if !may_help && (items.len() > 1 || self.queue.kind != QueueKind::DeadLetters) {
                return Err(failure);
            }
            let delay = delay(tries);
            warn!(queue = self.queue.name, retry_in = ?delay, "batch not done: {failure}");
            sleep(delay).await;
            tries += 1;
        }
    }
}

/// The next delivery, as it was published: it may have come by way of a retry queue.
async fn next(subscription: &mut dyn Subscription) -> Option<Delivery> {
    let mut delivery = subscription.next().await?;
    copies::restore(&mut delivery.message);
    Some(delivery)
}

/// Acknowledges the whole batch: all of it is done, and so is all that came before.
async fn acknowledge(subscription: &mut dyn Subscription, last: Receipt) {
    const ENOUGH: Duration = Duration::from_secs(5);
    // A batch that cannot be acknowledged comes again, and changes nothing then.
    let _ = timeout(ENOUGH, subscription.acknowledge(last, Acknowledge::UpTo)).await;
}
