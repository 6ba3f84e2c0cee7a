//! What a consumer does about messages that may crash it.
//!
//! A message that ends its process is delivered again, and ends the next one. Its neighbours, unacknowledged when that
//! happened, are delivered again as well, and a broker counts every delivery alike. So the number tells suspects, not
//! culprits. A suspect is executed alone, nothing else in the handler and nothing else held here, so that its crash counts
//! against nobody else. An innocent one is thereby done; a culprit's number goes on rising until it is set aside.
//!
//! A consumer begins *careful*, holding one message, because it may be the next process of such a series. Once it met one
//! that is no suspect it is *free*, and holds as many as it may. A suspect makes it careful again.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    outcome::{Cause, Failure},
    transport::Delivery,
};

/// A message that was delivered so often before without an end is a suspect. Not fewer: restarts and lost connections
/// count too.
const ALONE_FROM: u64 = 10;

/// A message that was delivered so often before is set aside. So it was executed alone several times: what was handed
/// back in between, by consumers that were free when they got it, counts as well.
pub(super) const GIVE_UP_AT: u64 = 20;

/// A consumer stays careful so long after a suspect at least: the others are about to come, handed back by this consumer or
/// by one that competes. One that is free again too soon would only hand them back once more.
const CALM_AFTER: Duration = Duration::from_secs(1);

/// Why a message is set aside that was delivered so often.
pub(super) fn crash_loop(earlier_deliveries: u64) -> Failure {
    let reason = format!(
        "delivered {earlier_deliveries} times before and never done: whoever executes it crashes, or takes too long"
    );
    Failure::new(Cause::CrashLoop, reason)
}

impl Delivery {
    /// Whether it may be what crashes who executes it.
    pub(super) fn is_suspect(&self) -> bool {
        self.earlier_deliveries >= ALONE_FROM
    }
}

/// What to do with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Execute it, beside others.
    Together,
    /// Execute it when nothing else is executed or held.
    Alone,
    /// Set it aside.
    GiveUp,
}

/// A consumer's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caution {
    /// Holds one message; may be free from then on.
    Careful(Instant),
    /// Holds as many as it may.
    Free,
    /// Has met a suspect, or another queue of this process has, and takes no more until what is in the handler has ended.
    Clearing,
    /// A suspect is in the handler, alone.
    Alone,
}

impl Caution {
    /// How a consumer begins: the first message that is no suspect sets it free.
    pub(super) fn at_start(now: Instant) -> Self {
        Self::Careful(now)
    }

    /// Whether to take the next delivery.
    pub(super) fn takes(self) -> bool {
        matches!(self, Self::Careful(_) | Self::Free)
    }

    /// Meets a delivery that was delivered so often before.
    pub(super) fn meet(&mut self, earlier_deliveries: u64, now: Instant) -> Treatment {
        match earlier_deliveries {
            GIVE_UP_AT.. => Treatment::GiveUp,
            ALONE_FROM.. => {
                *self = Self::Clearing;
                Treatment::Alone
            }
            _ => {
                // Asked only now, and not when the time is over: a suspect that waits behind a long task in the queue
                // shall be met by a careful consumer.
                if matches!(*self, Self::Careful(until) if until <= now) {
                    *self = Self::Free;
                }
                Treatment::Together
            }
        }
    }

    /// Another queue of this process has met a suspect.
    pub(super) fn make_way(&mut self) {
        *self = Self::Clearing;
    }

    /// Nothing is in the handler any more; `suspect` says whether one is in hand, to be executed now.
    pub(super) fn cleared(&mut self, suspect: bool, now: Instant) {
        *self = match (*self, suspect) {
            (Self::Clearing, true) => Self::Alone,
            (Self::Clearing | Self::Alone, _) => Self::Careful(now + CALM_AFTER),
            (other, _) => other,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_healthy_consumer_is_free_from_its_first_message_on() {
        let now = Instant::now();
        let mut caution = Caution::at_start(now);
        assert_eq!(caution.meet(0, now), Treatment::Together);
        assert_eq!(caution, Caution::Free);
        assert_eq!(caution.meet(ALONE_FROM - 1, now), Treatment::Together);
        assert_eq!(caution, Caution::Free);
    }

    #[test]
    fn after_a_suspect_a_consumer_stays_careful_for_a_while_and_until_it_meets_another() {
        let now = Instant::now();
        let mut caution = Caution::Free;
        assert_eq!(caution.meet(ALONE_FROM, now), Treatment::Alone);
        assert!(!caution.takes());
        caution.cleared(true, now);
        assert_eq!(caution, Caution::Alone);
        assert!(!caution.takes());
        caution.cleared(false, now);
        assert!(caution.takes());
        assert_eq!(caution.meet(0, now), Treatment::Together);
        assert_ne!(caution, Caution::Free, "too soon");
        assert_eq!(caution.meet(0, now + CALM_AFTER), Treatment::Together);
        assert_eq!(caution, Caution::Free);
    }

    #[test]
    fn a_message_that_is_given_up_changes_nothing() {
        let now = Instant::now();
        for before in [Caution::Free, Caution::at_start(now)] {
            let mut caution = before;
            assert_eq!(caution.meet(GIVE_UP_AT, now), Treatment::GiveUp);
            assert_eq!(caution, before);
        }
    }

    proptest! {
        /// Any messages in any order, the handler emptied whenever the consumer waits for that.
        #[test]
        fn a_suspect_is_only_ever_alone_and_every_consumer_takes_again(counts in prop::collection::vec(0..30u64, 1..60)) {
            let mut now = Instant::now();
            let mut caution = Caution::at_start(now);
            for count in counts {
                prop_assert!(caution.takes());
                let was_free = caution == Caution::Free;
                let treatment = caution.meet(count, now);
                prop_assert_eq!(treatment == Treatment::Alone, (ALONE_FROM..GIVE_UP_AT).contains(&count));
                if treatment == Treatment::Alone {
                    prop_assert!(!caution.takes(), "nothing joins it");
                    // One that came to a free consumer is handed back.
                    caution.cleared(!was_free, now);
                    if !was_free {
                        prop_assert_eq!(caution, Caution::Alone);
                        caution.cleared(false, now);
                    }
                    prop_assert!(matches!(caution, Caution::Careful(_)));
                }
                now += CALM_AFTER / 2;
            }
        }
    }
}
