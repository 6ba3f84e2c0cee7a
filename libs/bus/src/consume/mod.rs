//! The consumer loops: the only code that acknowledges.

mod batches;
mod broadcast;
mod burst;
mod caution;
mod isolation;
mod lanes;
mod slots;
mod unacknowledged;
mod work;
mod work_queue;

use std::{future::Future, time::Duration};

use tokio::time::sleep;
use tracing::{error, warn};

pub use self::{
    batches::{BatchError, Batches, HandleBatch, Item},
    broadcast::Hear,
    isolation::Isolation,
    slots::{Slot, Slots},
    work_queue::{Handle, WorkQueue},
};
use crate::{bus::Bus, message::Message, outcome::Failure, topology::RETRY_DELAYS, transport::PublishError};

/// The wait after failure number `failures` (from 0), whether the message is kept in hand meanwhile or lies in a retry queue.
fn delay(failures: usize) -> Duration {
    RETRY_DELAYS[failures.min(RETRY_DELAYS.len() - 1)]
}

/// Sets a message aside, however long it takes: until then it is not acknowledged.
async fn set_aside(bus: &Bus, queue: &str, message: &Message, failure: &Failure) {
    error!(queue, message.id, message.kind, cause = %failure.cause(), "set aside: {failure}");
    until_published(queue, message, || bus.set_aside(queue, message, failure)).await;
}

/// Publishes what takes a message's place, however long it takes.
async fn until_published<F>(queue: &str, message: &Message, publish: impl Fn() -> F)
where
    F: Future<Output = Result<(), PublishError>>,
{
    let mut failures = 0;
    while let Err(error) = publish().await {
        let delay = delay(failures);
        warn!(queue, message.id, retry_in = ?delay, "kept in hand, its copy was not published: {error}");
        sleep(delay).await;
        failures += 1;
    }
}
