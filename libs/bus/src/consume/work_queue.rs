//! A shared queue of one type of event: each is given to one consumer, several at a time.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{retry_delay, set_aside, unacknowledged::Unacknowledged};
use crate::{
    bus::Bus,
    envelope::{Received, decode},
    events::Event,
    message::Message,
    outcome::Outcome,
    topology::Queue,
    transport::{Delivery, Receipt, Source, Subscription},
};

/// Reacts to one type of event.
///
/// A handler is idempotent: the same event may come twice, also at the same time elsewhere, and what it
/// causes must then be the same again. When it answers [`Outcome::Done`], what it caused is durable.
pub trait Handle<E: Event>: Send + Sync + 'static {
    /// Reacts to `event`.
    fn handle(&self, event: Received<E>) -> impl Future<Output = Outcome> + Send;
}

/// How to consume a work queue.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    /// The queue.
    pub queue: Queue,
    /// How many events are in the handler at a time.
    pub concurrency: u16,
    /// How many are held here, those in the handler included: a crash counts against each of them, so not
    /// many more than the handler takes at a time.
    pub prefetch: u16,
    /// How long the events in the handler may take to end after `shutdown`; then they go back.
    pub grace: Duration,
}

impl WorkQueue {
    /// Consumes until `shutdown`. What is in the handler then is finished, within the grace.
    pub async fn run<E: Event, H: Handle<E>>(self, bus: Bus, handler: Arc<H>, shutdown: CancellationToken) {
        let source = Source::Shared(self.queue.clone());
        let mut subscription = bus.subscribe(source, self.prefetch);
        let mut in_hand = Unacknowledged::default();
        let mut working = JoinSet::new();
        let name: Arc<str> = self.queue.name.as_str().into();
        loop {
            let room = working.len() < usize::from(self.concurrency);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = working.join_next() => {
                    acknowledge(&mut *subscription, &mut in_hand, done, &mut working).await;
                }
                delivery = subscription.next(), if room => {
                    let Some(delivery) = delivery else { break };
                    in_hand.insert(delivery.receipt);
                    metrics::counter!("ebs_bus_delivered_total", "queue" => name.to_string())
                        .increment(1);
                    working.spawn(work(bus.clone(), name.clone(), handler.clone(), delivery));
                }
            }
        }
        let end = Instant::now() + self.grace;
        while let Ok(Some(done)) = timeout_at(end, working.join_next()).await {
            acknowledge(&mut *subscription, &mut in_hand, done, &mut working).await;
        }
    }
}

/// Brings one message to its end: done, or set aside. Returns only then.
async fn work<E: Event, H: Handle<E>>(bus: Bus, queue: Arc<str>, handler: Arc<H>, delivery: Delivery) -> Receipt {
    let message = delivery.message;
    let mut tries = 0;
    loop {
        // A panic is the handler's defect with this message, which another try would only repeat.
        let outcome = AssertUnwindSafe(handle(&bus, &*handler, &message)).catch_unwind().await;
        match outcome.unwrap_or_else(|_| Outcome::Reject("the handler panicked".to_owned())) {
            Outcome::Done => break,
            Outcome::Reject(reason) => {
                set_aside(&bus, &queue, &message, &reason).await;
                break;
            }
            Outcome::Retry(reason) => {
                let delay = retry_delay(tries);
                warn!(queue = %queue, message.id, retry_in = ?delay, "not done: {reason}");
                sleep(delay).await;
                tries += 1;
            }
        }
    }
    delivery.receipt
}

async fn handle<E: Event, H: Handle<E>>(bus: &Bus, handler: &H, message: &Message) -> Outcome {
    match decode::<E>(message, bus.max_event_bytes()) {
        Ok(event) => handler.handle(event).await,
        Err(error) => Outcome::Reject(error.to_string()),
    }
}

/// Acknowledges what is done: this one, and whatever else ended meanwhile.
async fn acknowledge(
    subscription: &mut dyn Subscription,
    in_hand: &mut Unacknowledged,
    done: Result<Receipt, tokio::task::JoinError>,
    working: &mut JoinSet<Receipt>,
) {
    let mut ended = Some(done);
    while let Some(done) = ended {
        let receipt = done.expect("handlers' panics are caught, and none is aborted here");
        in_hand.done(receipt);
        ended = working.try_join_next();
    }
    for (receipt, scope) in in_hand.take() {
        // A delivery that was lost comes again; the handler is idempotent.
        let _ = subscription.acknowledge(receipt, scope).await;
    }
}
