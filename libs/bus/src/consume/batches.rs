//! A queue of everything, by one consumer, many events at a time.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{delay, set_aside};
use crate::{
    bus::Bus,
    copies,
    envelope::{AnyEvent, Received, decode_any},
    topology::Queue,
    transport::{Acknowledge, Delivery, Receipt, Source, Subscription},
};

/// More events than a lone object of the usual size brings: there is so much to do that waiting pays.
const SMALL_BATCH: usize = 32;

/// Reacts to batches of events of any type.
pub trait HandleBatch: Send + Sync + 'static {
    /// Reacts to all of `events`, or to none. After `Ok` all that they caused is committed. It may be given
    /// the same events again, in other batches.
    ///
    /// # Errors
    /// Why it cannot react now. The same batch is given again later, and nothing is acknowledged until then.
    fn handle(&self, events: &[Received<AnyEvent>]) -> impl Future<Output = Result<(), String>> + Send;
}

/// How to consume a queue in batches.
#[derive(Clone, Debug)]
pub struct Batches {
    /// The queue.
    pub queue: Queue,
    /// What the one active consumer holds; others wait.
    pub owner: String,
    /// A batch has at most this many events. Twice as many are held here: the next batch arrives while
    /// one is committed.
    pub max_events: u16,
    /// A batch that has this many bytes takes no more events.
    pub max_bytes: usize,
    /// A batch is handled at the latest so long after its first event came,
    pub max_wait: Duration,
    /// and a small one as soon as no event has come for so long: whoever waits for a lone object gets it sooner.
    pub max_pause: Duration,
    /// How long the batch in hand may take to end after `shutdown`; then it goes back.
    pub grace: Duration,
}

impl Batches {
    /// Consumes until `shutdown`, while it is the owner.
    pub async fn run<H: HandleBatch>(self, bus: Bus, handler: &H, shutdown: CancellationToken) {
        let source = Source::Exclusive { queue: self.queue.clone(), owner: self.owner.clone() };
        let mut subscription = bus.subscribe(source, self.max_events.saturating_mul(2));
        loop {
            let batch = tokio::select! {
                () = shutdown.cancelled() => return,
                batch = self.collect(&mut *subscription) => batch,
            };
            let Some(last) = batch.last().map(|delivery| delivery.receipt) else {
                return;
            };
            let handled = tokio::select! {
                () = self.handle(&bus, handler, &batch) => true,
                () = async { shutdown.cancelled().await; sleep(self.grace).await } => false,
            };
            if !handled {
                return;
            }
            acknowledge(&mut *subscription, last).await;
        }
    }

    /// The next batch; empty when the bus is closed.
    async fn collect(&self, subscription: &mut dyn Subscription) -> Vec<Delivery> {
        let mut batch = Vec::new();
        let Some(first) = next(subscription).await else {
            return batch;
        };
        let mut bytes = first.message.body.len();
        batch.push(first);
        let end = Instant::now() + self.max_wait;
        while batch.len() < usize::from(self.max_events) && bytes < self.max_bytes {
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
    async fn handle<H: HandleBatch>(&self, bus: &Bus, handler: &H, batch: &[Delivery]) {
        let mut events = Vec::with_capacity(batch.len());
        for Delivery { message, .. } in batch {
            match decode_any(message, bus.max_event_bytes()) {
                Ok(event) => events.push(event),
                Err(error) => {
                    set_aside(bus, &self.queue.name, message, &error.to_string()).await;
                }
            }
        }
        let mut tries = 0;
        while let Err(reason) = handler.handle(&events).await {
            let delay = delay(tries);
            warn!(queue = self.queue.name, retry_in = ?delay, "batch not done: {reason}");
            sleep(delay).await;
            tries += 1;
        }
        metrics::counter!("ebs_bus_delivered_total", "queue" => self.queue.name.clone()).increment(batch.len() as u64);
    }
}

/// The next delivery, as it was published: it may be a dead letter's that was redriven.
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
