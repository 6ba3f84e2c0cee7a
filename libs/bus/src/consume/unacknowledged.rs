//! Which deliveries may be acknowledged, and how with the fewest words.

use std::collections::BTreeMap;

use crate::transport::{Acknowledge, Receipt};

/// The deliveries in hand, in their order, and which of them are done.
#[derive(Default)]
pub(super) struct Unacknowledged(BTreeMap<Receipt, bool>);

impl Unacknowledged {
    /// Takes a delivery in hand. Those of an earlier session are void, and forgotten.
    pub(super) fn insert(&mut self, receipt: Receipt) {
        if self.0.first_key_value().is_some_and(|(first, _)| first.session < receipt.session) {
            self.0.retain(|other, _| other.session == receipt.session);
        }
        self.0.insert(receipt, false);
    }

    pub(super) fn done(&mut self, receipt: Receipt) {
        if let Some(done) = self.0.get_mut(&receipt) {
            *done = true;
        }
    }

    /// What to acknowledge now. One acknowledgement covers all earlier deliveries, so only the done ones
    /// that no other precedes are covered together; those behind a delivery that still takes its time are
    /// acknowledged one by one, so that they do not hold up the queue.
    pub(super) fn take(&mut self) -> Vec<(Receipt, Acknowledge)> {
        let mut prefix = None;
        while let Some(first) = self.0.first_entry().filter(|entry| *entry.get()) {
            prefix = Some((*first.key(), Acknowledge::UpTo));
            first.remove();
        }
        let mut acknowledgements = Vec::from_iter(prefix);
        self.0.retain(|receipt, done| {
            if *done {
                acknowledgements.push((*receipt, Acknowledge::One));
            }
            !*done
        });
        acknowledgements
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn receipt(session: u64, tag: u64) -> Receipt {
        Receipt { session, tag }
    }

    #[test]
    fn a_slow_delivery_does_not_hold_up_those_behind_it() {
        let mut in_hand = Unacknowledged::default();
        (1..=4).for_each(|tag| in_hand.insert(receipt(1, tag)));
        in_hand.done(receipt(1, 3));
        assert_eq!(in_hand.take(), [(receipt(1, 3), Acknowledge::One)]);
        in_hand.done(receipt(1, 1));
        in_hand.done(receipt(1, 2));
        assert_eq!(in_hand.take(), [(receipt(1, 2), Acknowledge::UpTo)]);
    }

    #[test]
    fn deliveries_of_a_lost_session_are_forgotten() {
        let mut in_hand = Unacknowledged::default();
        in_hand.insert(receipt(1, 1));
        in_hand.insert(receipt(2, 2));
        in_hand.done(receipt(1, 1));
        in_hand.done(receipt(2, 2));
        assert_eq!(in_hand.take(), [(receipt(2, 2), Acknowledge::UpTo)]);
    }

    proptest! {
        #[test]
        fn exactly_what_is_done_is_acknowledged_whatever_the_order(
            order in Just((1..=30u64).collect::<Vec<_>>()).prop_shuffle(), pauses in prop::collection::vec(any::<bool>(), 30)
        ) {
            let mut in_hand = Unacknowledged::default();
            (1..=30).for_each(|tag| in_hand.insert(receipt(1, tag)));
            let (mut done, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
            for (tag, pause) in order.into_iter().zip(pauses) {
                in_hand.done(receipt(1, tag));
                done.insert(tag);
                if pause {
                    continue;
                }
                for (receipt, scope) in in_hand.take() {
                    match scope {
                        Acknowledge::One => { acknowledged.insert(receipt.tag); }
                        Acknowledge::UpTo => acknowledged.extend(1..=receipt.tag),
                    }
                }
                prop_assert_eq!(&acknowledged, &done);
            }
        }
    }
}
