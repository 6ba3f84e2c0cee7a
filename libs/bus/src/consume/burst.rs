//! When a consumer may hold more than it works on.
//!
//! Whoever holds many events that take long keeps them from others who have time. Whoever holds few that take no time
//! spends it waiting until what came of them is durable. So a consumer holds more as long as it would work off all of them
//! soon, and hands them back when it would not any more, or when an event waits too long for its turn.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::Slots;

/// Whatever is held beyond the usual is worked off within this time; unnoticed by people.
const SOON: Duration = Duration::from_millis(500);
/// A burst ends when all that is held would take so long: not at once, or it would end and begin again all the time.
const NOT_SOON: Duration = Duration::from_secs(2);
/// After a burst that ended, none begins for so long: what it handed back counts as delivered once more, and must not come
/// near to being suspect by that.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Burst {
    slots: Slots,
    /// How many more are held.
    events: u16,
    not_before: Option<Instant>,
}

impl Burst {
    pub(super) fn new(slots: Slots, events: u16) -> Self {
        Self { slots, events, not_before: None }
    }

    /// Whether more may be held now.
    pub(super) fn begins(&self, now: Instant) -> bool {
        let is_quick = || self.slots.time_for(self.events).is_some_and(|time| time < SOON);
        self.not_before.is_none_or(|then| then <= now) && is_quick()
    }

    /// Whether one that has begun is to end, as things have been lately.
    pub(super) fn ends(&self) -> bool {
        self.slots.time_for(self.events).is_some_and(|time| time > NOT_SOON)
    }

    pub(super) fn ended(&mut self, now: Instant) {
        self.not_before = Some(now + PAUSE);
    }
}

/// Waits until an event that waits for its turn has waited too long; for ever if none does.
pub(super) async fn is_over(waits_since: Option<Instant>) {
    match waits_since {
        Some(since) => sleep_until(since + SOON).await,
        None => pending().await,
    }
}
