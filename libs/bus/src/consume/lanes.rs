//! The subscriptions by which a work queue is consumed.
//!
//! How much a subscription holds is fixed when it begins, and the only way to hand back what it holds is to drop it. So
//! there is a first lane for one message, always, and a second for all others, only while the consumer is free. That way a
//! consumer begins careful at no cost: the second lane opens beside the first message, which is neither waited for nor
//! handed back. And it becomes careful by dropping the second lane, while a suspect on the first can stay. The third lane is
//! for more of them while they are done quickly; it is dropped when that changes.

use std::future::pending;

use super::unacknowledged::Unacknowledged;
use crate::{
    bus::Bus,
    topology::Queue,
    transport::{Delivery, Receipt, Source, Subscription},
};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    First,
    /// Dropped only when nothing that it delivered is in the handler.
    Second,
    /// The one of this number: what it delivered may end after the next one has begun, which counts its receipts anew.
    Burst(u64),
}

pub(super) struct Lanes {
    bus: Bus,
    queue: Queue,
    /// How many messages the second lane holds.
    others: u16,
    /// How many the third holds.
    more: u16,
    first: Open,
    second: Option<Open>,
    burst: Option<Open>,
    /// The number of the third lane that is open, or was last.
    bursts: u64,
}

/// A subscription, and what it delivered.
struct Open {
    subscription: Box<dyn Subscription>,
    in_hand: Unacknowledged,
}

impl Lanes {
    /// Opens the first lane; it and the second together hold `prefetch` messages, the third `burst`.
    pub(super) fn open(bus: Bus, queue: Queue, prefetch: u16, burst: u16) -> Self {
        let first = Open::new(&bus, &queue, 1);
        Self {
            bus,
            queue,
            others: prefetch.saturating_sub(1),
            more: burst,
            first,
            second: None,
            burst: None,
            bursts: 0,
        }
    }

    pub(super) fn open_second(&mut self) {
        // A prefetch of 0 would be none at all.
        if self.second.is_none() && self.others > 0 {
            self.second = Some(Open::new(&self.bus, &self.queue, self.others));
        }
    }

    /// Hands back what the second lane and the third hold.
    pub(super) fn close_second(&mut self) {
        self.second = None;
        self.burst = None;
    }

    pub(super) fn open_burst(&mut self) {
        if self.burst.is_none() && self.more > 0 {
            self.bursts += 1;
            self.burst = Some(Open::new(&self.bus, &self.queue, self.more));
        }
    }

    /// Hands back what the third lane holds; whether it was open.
    pub(super) fn close_burst(&mut self) -> bool {
        self.burst.take().is_some()
    }

    /// The next message of any; none when the bus was closed. Safe to drop.
    pub(super) async fn next(&mut self) -> Option<(Lane, Delivery)> {
        let (lane, delivery) = tokio::select! {
            delivery = self.first.subscription.next() => (Lane::First, delivery?),
            delivery = next(&mut self.second) => (Lane::Second, delivery?),
            delivery = next(&mut self.burst) => (Lane::Burst(self.bursts), delivery?),
        };
        if let Some(open) = self.get(lane) {
            open.in_hand.insert(delivery.receipt);
        }
        Some((lane, delivery))
    }

    /// Acknowledges what is done, of these and of earlier ones.
    pub(super) async fn acknowledge(&mut self, done: &[(Lane, Receipt)]) {
        for (lane, receipt) in done {
            if let Some(open) = self.get(*lane) {
                open.in_hand.done(*receipt);
            }
        }
        for open in [Some(&mut self.first), self.second.as_mut(), self.burst.as_mut()].into_iter().flatten() {
            for (receipt, scope) in open.in_hand.take() {
                // A delivery that was lost comes again; the handler is idempotent.
                let _ = open.subscription.acknowledge(receipt, scope).await;
            }
        }
    }

    fn get(&mut self, lane: Lane) -> Option<&mut Open> {
        match lane {
            Lane::First => Some(&mut self.first),
            Lane::Second => self.second.as_mut(),
            Lane::Burst(number) => self.burst.as_mut().filter(|_| number == self.bursts),
        }
    }
}

async fn next(lane: &mut Option<Open>) -> Option<Delivery> {
    match lane {
        Some(open) => open.subscription.next().await,
        None => pending().await,
    }
}

impl Open {
    fn new(bus: &Bus, queue: &Queue, prefetch: u16) -> Self {
        let subscription = bus.subscribe(Source::Shared(queue.clone()), prefetch);
        Self { subscription, in_hand: Unacknowledged::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;
    use crate::{
        Settings,
        embedded::{Embedded, Limits, Memory},
        events::{ObjectCreated, ObjectId},
    };

    async fn of_burst(lanes: &mut Lanes) -> (Lane, Receipt) {
        loop {
            if let (lane @ Lane::Burst(_), delivery) = lanes.next().await.unwrap() {
                return (lane, delivery.receipt);
            }
        }
    }

    #[tokio::test]
    async fn what_ends_after_its_burst_acknowledges_nothing_of_the_next() {
        let bus = Embedded::in_memory(&Memory::default(), Limits::default());
        let settings = Settings { exchange: "ebs".to_owned(), app: "test".to_owned(), max_event_bytes: 1000 };
        let bus = Bus::over(Arc::new(bus), settings);
        let queue = bus.topology().distributor();
        let object = |_| -> ObjectCreated {
            let object = serde_json::json!({
                "id": ObjectId::new(), "name": "x", "operation": "nop", "data": 1, "tasks": 1, "deadline_ms": 1,
                "created_at": "2026-01-01T00:00:00Z",
            });
            serde_json::from_value(serde_json::json!({ "object": object })).unwrap()
        };
        let objects: Vec<_> = (0..3).map(object).collect();
        bus.publish_all(&objects, None, crate::PATIENCE).await.unwrap();
        let mut lanes = Lanes::open(bus.clone(), queue.clone(), 1, 2);
        lanes.open_burst();
        let slow = of_burst(&mut lanes).await;
        assert!(lanes.close_burst());
        lanes.open_burst();
        let begun = of_burst(&mut lanes).await;
        assert_eq!(slow.1, begun.1, "receipts are counted anew");
        lanes.acknowledge(&[slow]).await;
        lanes.close_second();
        lanes.open_burst();
        let again = of_burst(&mut lanes).await;
        lanes.acknowledge(&[again]).await;
        drop(lanes);
        assert_eq!(bus.depth(&queue).await, Ok(2), "of three one is done");
    }
}
