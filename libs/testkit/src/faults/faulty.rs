//! Publishing with faults.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bus::{DepthError, Exchange, Message, PublishError, Queue, Source, Subscription, Transport};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Fault, Injector,
    injector::{Breach, Chance},
    subscription::FaultySubscription,
};

/// The longest pause before a message is published; a patience ends earlier if it is shorter.
const MAX_DELAY: Duration = Duration::from_secs(3);
/// A message that is held back goes at the latest after this, if nothing overtakes it.
const MAX_HELD_BACK: Duration = Duration::from_secs(1);

/// A transport around another one, seen by one program, with whatever its injector has in mind.
pub struct Faulty(Arc<Link>);

/// What the transport and its subscriptions share.
pub(super) struct Link {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) chance: Chance,
    /// Told whenever something was published.
    published: Notify,
    /// What is published late. Ends with the program.
    late: Mutex<JoinSet<()>>,
}

/// What becomes of the messages of one call; each with its place in it.
#[derive(Default)]
struct Plan {
    at_once: Vec<(usize, Message)>,
    held_back: Vec<(usize, Message)>,
    delayed: Vec<(usize, Message)>,
    late: Vec<Message>,
    /// Those of which it is not said that they were published.
    unconfirmed: Vec<usize>,
}

type Results = Vec<Result<(), PublishError>>;

impl Faulty {
    pub(super) fn new(name: &str, transport: Arc<dyn Transport>, injector: Injector, random: ChaCha8Rng) -> Self {
        let chance = Chance::new(name, injector, random);
        Self(Arc::new(Link { transport, chance, published: Notify::new(), late: Mutex::default() }))
    }
}

impl Link {
    fn plan(&self, messages: Vec<Message>) -> Plan {
        let mut plan = Plan::default();
        for (place, message) in messages.into_iter().enumerate() {
            let one_of = [
                Fault::Duplicate,
                Fault::Reorder,
                Fault::Delay,
                Fault::DropBeforeConfirm,
                Fault::DropAfterAccept,
                Fault::Late,
            ];
            let fault = self.chance.draw(&one_of);
            // Whether it is overtaken turns out later.
            fault.filter(|fault| *fault != Fault::Reorder).into_iter().for_each(|fault| self.chance.count(fault));
            match fault {
                Some(Fault::Duplicate) => plan.at_once.extend([(place, message.clone()), (place, message)]),
                Some(Fault::Reorder) => plan.held_back.push((place, message)),
                Some(Fault::Delay) => plan.delayed.push((place, message)),
                Some(Fault::DropBeforeConfirm) if self.chance.breaks(Breach::ConfirmsWhatIsDropped) => {}
                Some(Fault::DropBeforeConfirm) => plan.unconfirmed.push(place),
                Some(Fault::DropAfterAccept) => {
                    plan.unconfirmed.push(place);
                    plan.at_once.push((place, message));
                }
                Some(Fault::Late) => {
                    plan.unconfirmed.push(place);
                    plan.late.push(message);
                }
                _ => plan.at_once.push((place, message)),
            }
        }
        plan.held_back.reverse();
        plan
    }

    /// Publishes what has a place among the results, and writes them there. An error stays.
    async fn publish_some(&self, some: Vec<(usize, Message)>, results: &mut Results, end: Instant) {
        if some.is_empty() {
            return;
        }
        let (places, messages): (Vec<usize>, Vec<Message>) = some.into_iter().unzip();
        let published = self.transport.publish(messages, end.saturating_duration_since(Instant::now())).await;
        self.published.notify_waiters();
        for (place, result) in places.into_iter().zip(published) {
            if results[place].is_ok() {
                results[place] = result;
            }
        }
    }

    fn publish_late(&self, messages: Vec<Message>, patience: Duration) {
        if messages.is_empty() {
            return;
        }
        let (transport, pause) = (self.transport.clone(), self.chance.pause(MAX_DELAY));
        self.late.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            sleep(pause).await;
            // Nobody is told.
            let _ = transport.publish(messages, patience).await;
        });
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn ensure(&self, exchange: Exchange, queues: Vec<Queue>) {
        self.0.transport.ensure(exchange, queues).await;
    }

    async fn settle(&self) {
        self.0.transport.settle().await;
    }

    async fn publish(&self, messages: Vec<Message>, patience: Duration) -> Results {
        let link = &*self.0;
        link.chance.survive(Fault::CrashBefore).await;
        let end = Instant::now() + patience;
        let mut results = vec![Ok(()); messages.len()];
        let plan = link.plan(messages);
        link.publish_late(plan.late, patience);
        let nothing_overtakes = plan.at_once.is_empty();
        link.publish_some(plan.at_once, &mut results, end).await;
        if !plan.held_back.is_empty() {
            let overtaken = timeout(MAX_HELD_BACK.min(patience / 4), link.published.notified());
            if !nothing_overtakes || overtaken.await.is_ok() {
                plan.held_back.iter().for_each(|_| link.chance.count(Fault::Reorder));
            }
            link.publish_some(plan.held_back, &mut results, end).await;
        }
        if !plan.delayed.is_empty() {
            sleep(link.chance.pause(MAX_DELAY.min(patience / 4))).await;
            link.publish_some(plan.delayed, &mut results, end).await;
        }
        if !plan.unconfirmed.is_empty() {
            if link.chance.coin() {
                tokio::time::sleep_until(end).await;
            }
            for place in plan.unconfirmed {
                results[place] = Err(PublishError::Unknown(patience));
            }
        }
        link.chance.survive(Fault::CrashAfter).await;
        results
    }

    fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        Box::new(FaultySubscription::new(self.0.clone(), source, prefetch))
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, DepthError> {
        self.0.transport.depth(queue).await
    }

    fn status(&self) -> Result<(), String> {
        self.0.transport.status()
    }

    async fn failed(&self) -> String {
        self.0.transport.failed().await
    }

    async fn close(&self) {
        self.0.transport.close().await;
    }
}
