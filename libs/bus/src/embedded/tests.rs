//! Whatever is published, taken, done, handed back, or lost in a crash, in whatever order and with however little room in
//! the journal: nothing that was published is lost, nothing that was done and written comes again, order is kept.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tokio::time::{Duration, timeout};

use super::*;
use crate::{
    topology::{Binding, ExchangeKind, QueueKind},
    transport::{Acknowledge, Delivery},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than anything that is there takes to arrive; the clock is paused.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Step {
    Publish { key: usize, count: usize, bytes: usize },
    Take { queue: usize },
    Done { queue: usize, up_to: bool },
    HandBack { queue: usize },
    Restart { crash: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize, 1..40usize, 0..400usize).prop_map(|(key, count, bytes)| Step::Publish { key, count, bytes }),
        6 => (0..2usize).prop_map(|queue| Step::Take { queue }),
        5 => (0..2usize, any::<bool>()).prop_map(|(queue, up_to)| Step::Done { queue, up_to }),
        1 => (0..2usize).prop_map(|queue| Step::HandBack { queue }),
        1 => any::<bool>().prop_map(|crash| Step::Restart { crash }),
    ];
    prop::collection::vec(step, 1..120)
}

/// Queue 0 gets `a` and `both`, queue 1 gets `b` and `both`.
fn queue(number: usize) -> Queue {
    let exchange = Exchange { name: "x".to_owned(), kind: ExchangeKind::Topic };
    let dead_letters = Exchange { name: "dead".to_owned(), kind: ExchangeKind::Fanout };
    let binding = |pattern: &str| Binding { exchange: exchange.clone(), pattern: pattern.to_owned() };
    Queue {
        name: format!("q{number}"),
        kind: QueueKind::Work { dead_letters },
        bindings: vec![binding(["a", "b"][number]), binding("both")],
    }
}

/// What must be true, kept in the simplest way.
#[derive(Default)]
struct Model {
    next: usize,
    /// By queue: what was published and is not done.
    open: [BTreeSet<usize>; 2],
    /// What was done since the bus was opened.
    done: [BTreeSet<usize>; 2],
    /// What was done before a crash: whether that was written is not known.
    perhaps: [BTreeSet<usize>; 2],
}

struct World {
    memory: Memory,
    bus: Embedded,
    subscriptions: [Box<dyn Subscription>; 2],
    held: [BTreeMap<Receipt, usize>; 2],
    model: Model,
}

use crate::transport::Receipt;

/// So little that almost everything goes through the backlog.
const LIMITS: Limits = Limits { max_waiting_bytes: u64::MAX, max_journal_bytes: 2_000, kept_messages: 8 };
const PREFETCH: u16 = 30;

impl World {
    async fn new() -> Self {
        let memory = Memory::default();
        let (bus, subscriptions) = Self::open(&memory).await;
        Self { memory, bus, subscriptions, held: Default::default(), model: Model::default() }
    }

    async fn open(memory: &Memory) -> (Embedded, [Box<dyn Subscription>; 2]) {
        let bus = Embedded::in_memory(memory, LIMITS);
        bus.ensure(queue(0).bindings[0].exchange.clone(), vec![queue(0), queue(1)]).await;
        let subscriptions = [0, 1].map(|number| bus.subscribe(Source::Shared(queue(number)), PREFETCH));
        (bus, subscriptions)
    }

    async fn take(&mut self, number: usize) -> Option<Delivery> {
        if self.held[number].len() >= usize::from(PREFETCH) {
            return None;
        }
        let delivery = timeout(SILENCE, self.subscriptions[number].next()).await.ok()?.unwrap();
        let id: usize = delivery.message.id.parse().unwrap();
        let model = &self.model;
        assert!(
            model.open[number].contains(&id) || model.perhaps[number].contains(&id),
            "{id} was not published or is done"
        );
        assert!(self.held[number].values().all(|held| *held != id), "{id} is delivered twice at a time");
        self.held[number].insert(delivery.receipt, id);
        Some(delivery)
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish { key, count, bytes } => {
                let ids = self.model.next..self.model.next + count;
                self.model.next += count;
                let message = |id: usize| Message {
                    exchange: "x".to_owned(),
                    routing_key: ["a", "b", "both"][key].to_owned(),
                    id: id.to_string(),
                    body: vec![b'x'; bytes].into(),
                    ..Message::default()
                };
                let results = self.bus.publish(ids.clone().map(message).collect(), PATIENCE).await;
                assert!(results.iter().all(Result::is_ok));
                for number in [0, 1].into_iter().filter(|number| key == 2 || key == *number) {
                    self.model.open[number].extend(ids.clone());
                }
            }
            Step::Take { queue } => {
                let next = self.model.open[queue].iter().find(|id| !self.held[queue].values().any(|held| held == *id));
                let (expected, full) = (next.copied(), self.held[queue].len() >= usize::from(PREFETCH));
                let taken = self.take(queue).await.map(|delivery| delivery.message.id.parse::<usize>().unwrap());
                match (taken, expected) {
                    (Some(taken), _) if self.model.perhaps[queue].contains(&taken) => {}
                    (taken, expected) => assert!(full || taken == expected, "{taken:?} came instead of {expected:?}"),
                }
            }
            Step::Done { queue, up_to } => {
                let held = self.held[queue].clone();
                let Some((&receipt, &id)) = held.iter().nth(held.len() / 2) else { return };
                let scope = if up_to { Acknowledge::UpTo } else { Acknowledge::One };
                self.subscriptions[queue].acknowledge(receipt, scope).await.unwrap();
                let done = held.range(..receipt).filter(|_| up_to).map(|(receipt, id)| (*receipt, *id));
                for (receipt, id) in done.chain([(receipt, id)]) {
                    self.held[queue].remove(&receipt);
                    self.model.open[queue].remove(&id);
                    self.model.perhaps[queue].remove(&id);
                    self.model.done[queue].insert(id);
                }
            }
            Step::HandBack { queue: number } => {
                self.held[number].clear();
                self.subscriptions[number] = self.bus.subscribe(Source::Shared(queue(number)), PREFETCH);
            }
            Step::Restart { crash } => self.restart(crash).await,
        }
    }

    async fn restart(&mut self, crash: bool) {
        let done = std::mem::take(&mut self.model.done);
        if crash {
            self.model.perhaps.iter_mut().zip(done).for_each(|(perhaps, done)| perhaps.extend(done));
        } else {
            self.bus.close().await;
        }
        let held = std::mem::take(&mut self.held);
        let nowhere = Embedded::in_memory(&Memory::default(), LIMITS);
        drop(std::mem::replace(&mut self.bus, nowhere));
        // The writer is gone at the latest when the next one has had its turn.
        (self.bus, self.subscriptions) = Self::open(&self.memory).await;
        for (number, held) in held.into_iter().enumerate() {
            // What was held comes back, marked.
            for _ in 0..held.len().min(3) {
                let Some(delivery) = self.take(number).await else { break };
                assert!(delivery.earlier_deliveries > 0, "{} comes again, unmarked", delivery.message.id);
            }
        }
    }

    /// Everything that is open comes, each once, in order.
    async fn drain(&mut self) {
        for number in [0, 1] {
            self.step(Step::HandBack { queue: number }).await;
            let mut seen = Vec::new();
            while let Some(delivery) = self.take(number).await {
                seen.push(delivery.message.id.parse::<usize>().unwrap());
                self.subscriptions[number].acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
                self.held[number].clear();
            }
            assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
            let seen: BTreeSet<usize> =
                seen.into_iter().filter(|id| !self.model.perhaps[number].contains(id)).collect();
            assert_eq!(seen, self.model.open[number]);
        }
        assert_eq!(self.bus.shared.state().waiting_bytes, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_doubled_or_out_of_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
            world.drain().await;
        });
    }
}
