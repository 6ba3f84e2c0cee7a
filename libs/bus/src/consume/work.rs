//! One message of a work queue, from its delivery to its end.

use std::{marker::PhantomData, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::time::sleep;
use tracing::warn;

use super::{Handle, Slot, Slots, caution::crash_loop, delay, set_aside, until_published};
use crate::{
    bus::Bus,
    cloud_event::CloudEvent,
    copies,
    envelope::decode,
    headers::attempt,
    message::Message,
    outcome::{Cause, Failure, Outcome},
    topology::Queue,
};

/// What every message of a queue is brought to its end with.
pub(super) struct Work<E, H> {
    bus: Bus,
    pub(super) queue: Queue,
    pub(super) slots: Slots,
    max_attempts: u32,
    handler: Arc<H>,
    event: PhantomData<fn(E)>,
}

impl<E: CloudEvent, H: Handle<E>> Work<E, H> {
    pub(super) fn new(bus: Bus, queue: Queue, slots: Slots, max_attempts: u32, handler: Arc<H>) -> Self {
        Self { bus, queue, slots, max_attempts, handler, event: PhantomData }
    }

    /// Brings a message to its end: done, set aside, or sent on to its next attempt. Returns only then.
    pub(super) async fn execute(&self, mut message: Message, mut slot: Slot) {
        copies::restore(&mut message);
        let mut tries = 0;
        loop {
            // A panic is the handler's defect with this message, which another try would only repeat.
            let outcome = AssertUnwindSafe(self.handle(&message, slot)).catch_unwind().await;
            match outcome.unwrap_or_else(|_| Outcome::Reject(Failure::new(Cause::Panicked, "the handler panicked"))) {
                Outcome::Done => return,
                Outcome::Reject(failure) => return self.set_aside(&message, &failure).await,
                Outcome::Retry(failure) => return self.retry(&message, &failure).await,
                Outcome::Unavailable(reason) => {
                    let delay = delay(tries);
                    warn!(queue = self.queue.name, message.id, retry_in = ?delay, "kept in hand: {reason}");
                    sleep(delay).await;
                    slot = self.slots.take().await;
                    tries += 1;
                }
            }
        }
    }

    /// Waits until all that was acknowledged stays so after a crash.
    pub(super) async fn settle(&self) {
        self.bus.settle().await;
    }

    /// Sets a message aside that was delivered again and again.
    pub(super) async fn give_up(&self, mut message: Message, earlier_deliveries: u64) {
        copies::restore(&mut message);
        self.set_aside(&message, &crash_loop(earlier_deliveries)).await;
    }

    async fn handle(&self, message: &Message, slot: Slot) -> Outcome {
        match decode::<E>(message, self.bus.max_event_bytes()) {
            Ok(event) => self.handler.handle(event, slot).await,
            Err(error) => Outcome::Reject(error.into()),
        }
    }

    async fn retry(&self, message: &Message, failure: &Failure) {
        let attempt = attempt(message);
        if attempt >= self.max_attempts {
            return self.set_aside(message, &failure.of_last_attempt(attempt)).await;
        }
        let failed_before = usize::try_from(attempt - 1).unwrap_or(usize::MAX);
        let delay = delay(failed_before);
        warn!(queue = self.queue.name, message.id, attempt, retry_in = ?delay, "to be tried again: {failure}");
        let publish = || self.bus.retry_later(&self.queue, message, attempt + 1, delay);
        until_published(&self.queue.name, message, publish).await;
    }

    async fn set_aside(&self, message: &Message, failure: &Failure) {
        set_aside(&self.bus, &self.queue.name, message, failure).await;
    }
}
