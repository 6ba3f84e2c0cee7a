//! A shared queue of one type of event: each is given to one consumer, several at a time.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Slot, Slots,
    burst::{self, Burst},
    caution::{Caution, Treatment},
    isolation::{Alone, Company, Isolation, Wish},
    lanes::{Lane, Lanes},
    work::Work,
};
use crate::{
    bus::Bus,
    cloud_event::CloudEvent,
    envelope::Received,
    outcome::Outcome,
    topology::Queue,
    transport::{Delivery, Receipt},
};

/// Reacts to one type of event.
///
/// A handler is idempotent: the same event may come twice, also at the same time elsewhere, and what it
/// causes must then be the same again. When it answers [`Outcome::Done`], what it caused is durable.
pub trait Handle<E: CloudEvent>: Send + Sync + 'static {
    /// Reacts to `event`. The slot is dropped as soon as nothing is left but to wait.
    fn handle(&self, event: Received<E>, slot: Slot) -> impl Future<Output = Outcome> + Send;
}

/// How to consume a work queue.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    /// The queue.
    pub queue: Queue,
    /// How many events are worked on at a time.
    pub slots: Slots,
    /// How many are held here, those in the handler included: a crash counts against each of them, and nobody else gets them,
    /// so not many more than are worked on at a time.
    pub prefetch: u16,
    /// How many more may be held here as long as all of them would be worked off within half a second: most of the time of
    /// an event that is worked on quickly goes by until what came of it is durable.
    pub burst: u16,
    /// An event of which so many attempts failed is set aside; at least 1.
    pub max_attempts: u32,
    /// How long the events in the handler may take to end after `shutdown`; then they go back.
    pub grace: Duration,
}

impl WorkQueue {
    /// Consumes until `shutdown`. What is in the handler then is finished, within the grace.
    pub async fn run<E: CloudEvent, H: Handle<E>>(self, bus: Bus, handler: Arc<H>, shutdown: CancellationToken) {
        let isolation = bus.isolation().clone();
        tokio::select! {
            ((), ()) = async { (bus.ensure_ways_on(&self.queue).await, isolation.begin().await) } => {}
            () = shutdown.cancelled() => return,
        }
        let lanes = Lanes::open(bus.clone(), self.queue.clone(), self.prefetch, self.burst);
        let work = Arc::new(Work::new(bus, self.queue, self.slots.clone(), self.max_attempts, handler));
        let caution = Caution::at_start(Instant::now());
        let (working, burst) = (JoinSet::new(), Burst::new(self.slots.clone(), self.burst));
        let mut consumer = Consumer {
            work,
            lanes,
            next: None,
            burst,
            working,
            caution,
            isolation: isolation.clone(),
            company: None,
            suspect: None,
        };
        loop {
            let takes = consumer.caution.takes();
            let waits_since = consumer.next.as_ref().map(|next| next.since);
            let (waits, in_company) = (takes && waits_since.is_some(), consumer.company.is_some());
            tokio::select! {
                // In this order: after the shutdown, what has ended makes room for nothing more.
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = consumer.working.join_next() => consumer.end(done).await,
                () = isolation.is_wanted(), if takes && in_company => consumer.make_way(),
                company = isolation.join(), if waits && !in_company => consumer.company = Some(company),
                slot = self.slots.take(), if waits && in_company => consumer.begin(slot),
                () = burst::is_over(waits_since) => consumer.end_burst(),
                next = consumer.lanes.next(), if takes && waits_since.is_none() => {
                    let Some((lane, delivery)) = next else { break };
                    consumer.meet(lane, delivery);
                }
            }
        }
        consumer.next = None;
        let end = Instant::now() + self.grace;
        while let Ok(Some(done)) = timeout_at(end, consumer.working.join_next()).await {
            consumer.acknowledge(done).await;
        }
    }
}

/// What was delivered, and by which lane.
type Taken = (Lane, Receipt);

/// What has left the handler; a suspect is alone until it is acknowledged.
type Ended = (Taken, Option<Alone>);

/// A delivery that waits for a slot.
struct Next {
    lane: Lane,
    delivery: Delivery,
    since: Instant,
}

struct Consumer<E, H> {
    work: Arc<Work<E, H>>,
    lanes: Lanes,
    /// The only delivery of all that are held that has left its lane and is not in the handler.
    next: Option<Next>,
    burst: Burst,
    /// What is in the handler.
    working: JoinSet<Ended>,
    caution: Caution,
    isolation: Isolation,
    /// While anything is in the handler, or more than one message is held.
    company: Option<Company>,
    /// A suspect that waits for the handler to be empty, here and in all the process.
    suspect: Option<(Wish, Delivery)>,
}

impl<E: CloudEvent, H: Handle<E>> Consumer<E, H> {
    /// Takes a delivery in hand.
    fn meet(&mut self, lane: Lane, delivery: Delivery) {
        let queue = &self.work.queue.name;
        metrics::counter!("ebs_bus_delivered_total", "queue" => queue.clone()).increment(1);
        let now = Instant::now();
        match self.caution.meet(delivery.earlier_deliveries, now) {
            Treatment::Together => self.next = Some(Next { lane, delivery, since: now }),
            Treatment::Alone => {
                let Delivery { message, earlier_deliveries, .. } = &delivery;
                warn!(queue, message.id, earlier_deliveries, "delivered again and again: to be executed alone");
                // On another lane it is handed back with all the others there, and comes by the first.
                self.suspect = (lane == Lane::First).then(|| (self.isolation.wish(), delivery));
                self.clear();
            }
            Treatment::GiveUp => {
                let (work, Delivery { receipt, earlier_deliveries, message }) = (self.work.clone(), delivery);
                self.working.spawn(async move {
                    work.give_up(message, earlier_deliveries).await;
                    ((lane, receipt), None)
                });
            }
        }
    }

    /// Begins to work on the next one.
    fn begin(&mut self, slot: Slot) {
        if let Some(Next { lane, delivery, .. }) = self.next.take() {
            self.execute(lane, delivery, slot);
            if self.caution == Caution::Free {
                self.lanes.open_second();
            }
            if self.burst.ends() {
                self.end_burst();
            } else if self.caution == Caution::Free && self.burst.begins(Instant::now()) {
                self.lanes.open_burst();
            }
        }
    }

    /// Somebody else in this process has a suspect.
    fn make_way(&mut self) {
        self.caution.make_way();
        self.next.take_if(|next| next.lane != Lane::First);
        self.clear();
    }

    /// Work is not done quickly any more: what is not begun goes to whoever has time.
    fn end_burst(&mut self) {
        if self.lanes.close_burst() {
            self.burst.ended(Instant::now());
            self.next.take_if(|next| matches!(next.lane, Lane::Burst(_)));
        }
        if let Some(next) = &mut self.next {
            next.since = Instant::now();
        }
    }

    fn execute(&mut self, lane: Lane, Delivery { receipt, message, .. }: Delivery, slot: Slot) {
        let work = self.work.clone();
        self.working.spawn(async move {
            work.execute(message, slot).await;
            ((lane, receipt), None)
        });
    }

    /// Ends what is done, and goes on with what waited for it.
    async fn end(&mut self, done: Result<Ended, JoinError>) {
        self.acknowledge(done).await;
        self.clear();
    }

    /// Once the handler is empty: hands back what is held if that is what it was emptied for, and executes the suspect.
    fn clear(&mut self) {
        if !self.working.is_empty() || self.caution.takes() {
            return;
        }
        self.lanes.close_second();
        self.company = None;
        let suspect = self.suspect.take();
        self.caution.cleared(suspect.is_some(), Instant::now());
        if let Some((wish, delivery)) = suspect {
            let (work, Delivery { receipt, message, .. }) = (self.work.clone(), delivery);
            self.working.spawn(async move {
                let alone = wish.granted().await;
                // What is done is not to be counted with it.
                work.settle().await;
                let slot = work.slots.take().await;
                work.execute(message, slot).await;
                ((Lane::First, receipt), Some(alone))
            });
        }
    }

    /// Acknowledges what is done: this one, and whatever else ended meanwhile.
    async fn acknowledge(&mut self, done: Result<Ended, JoinError>) {
        let (mut all, mut alone) = (Vec::new(), None);
        let mut ended = Some(done);
        while let Some(done) = ended {
            let (taken, was_alone) = done.expect("handlers' panics are caught, and none is aborted here");
            all.push(taken);
            alone = alone.or(was_alone);
            ended = self.working.try_join_next();
        }
        self.lanes.acknowledge(&all).await;
        drop(alone);
    }
}
