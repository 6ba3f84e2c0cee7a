//! The consumer loops: the only code that acknowledges.

mod batches;
mod broadcast;
mod unacknowledged;
mod work_queue;

use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, warn};

pub use self::{
    batches::{Batches, HandleBatch},
    broadcast::Hear,
    work_queue::{Handle, WorkQueue},
};
use crate::{bus::Bus, message::Message};

/// The waits before a message is tried again, the last one again and again. They are spent with the message
/// in hand, so they count against the queue's concurrency.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// The wait before try number `tries` (from 0) is repeated.
fn retry_delay(tries: usize) -> Duration {
    RETRY_DELAYS[tries.min(RETRY_DELAYS.len() - 1)]
}

/// Sets a message aside, however long it takes: until then it is not acknowledged.
async fn set_aside(bus: &Bus, queue: &str, message: &Message, reason: &str) {
    error!(queue, message.id, message.kind, reason, "set aside");
    let mut tries = 0;
    while let Err(error) = bus.set_aside(queue, message, reason).await {
        let delay = retry_delay(tries);
        warn!(queue, message.id, retry_in = ?delay, "not set aside: {error}");
        sleep(delay).await;
        tries += 1;
    }
}
