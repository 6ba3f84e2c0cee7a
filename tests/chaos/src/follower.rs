//! Another system that follows on: it hears every `OBJECT_FINISHED`, by a durable queue of its own.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bus::{
    Acknowledge, Binding, Delivery, Queue, QueueKind, Source, Topology, Transport,
    amqp::{Address, Amqp},
    embedded::{Embedded, Limits},
    events::{Event, ObjectFinished, ObjectOutcome},
};
use tokio::{task::JoinHandle, time::timeout};

/// Unacknowledged messages at a time.
const PREFETCH: u16 = 100;
/// What waits inside this process is delivered sooner.
const NO_MORE: Duration = Duration::from_millis(500);

/// What was heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By object and revision: the ids of the announcements, and how often each came.
    pub announcements: BTreeMap<(String, u32), BTreeMap<String, u64>>,
    /// Announcements of objects that did not succeed, and what is none.
    pub wrong: Vec<String>,
}

/// The queue, bound as anybody's could be.
fn queue(topology: &Topology) -> Queue {
    let pattern = format!("{}.#", ObjectFinished::KEY);
    Queue {
        name: format!("{}.follower", topology.events().name),
        kind: QueueKind::Work { dead_letters: topology.dead_letters_exchange() },
        bindings: vec![Binding { exchange: topology.events(), pattern }],
    }
}

/// Follows while the system runs, over a broker.
pub struct Follower {
    heard: Arc<Mutex<Heard>>,
    transport: Arc<Amqp>,
    following: JoinHandle<()>,
}

impl Follower {
    /// Begins; the queue is there before anything is published.
    ///
    /// # Errors
    /// If it is not the address of a broker.
    pub async fn start(url: &str, topology: &Topology) -> anyhow::Result<Self> {
        let heard = Arc::<Mutex<Heard>>::default();
        let transport = Arc::new(Amqp::connect(&Address::parse(url)?, "follower"));
        transport.ensure(topology.events(), vec![queue(topology)]).await;
        let mut subscription = transport.subscribe(Source::Shared(queue(topology)), PREFETCH);
        let hears = heard.clone();
        let following = tokio::spawn(async move {
            while let Some(delivery) = subscription.next().await {
                hears.lock().unwrap_or_else(PoisonError::into_inner).hear(&delivery);
                // What cannot be acknowledged comes again, and is counted again.
                let _ = subscription.acknowledge(delivery.receipt, Acknowledge::One).await;
            }
        });
        Ok(Self { heard, transport, following })
    }

    /// All that was heard.
    pub async fn stop(self) -> Heard {
        self.transport.close().await;
        let _ = self.following.await;
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The queue in the file of an embedded bus, before the system runs: what it gets waits there.
///
/// # Errors
/// If the file cannot be opened.
pub async fn declare(file: &Path, topology: &Topology) -> anyhow::Result<()> {
    let bus = Embedded::open(file, Limits::default()).await?;
    bus.ensure(topology.events(), vec![queue(topology)]).await;
    bus.close().await;
    Ok(())
}

/// What has come into the queue of an embedded bus; nothing is left in it.
pub async fn drain(bus: &Embedded, topology: &Topology) -> Heard {
    let mut heard = Heard::default();
    let mut subscription = bus.subscribe(Source::Shared(queue(topology)), PREFETCH);
    while let Ok(Some(delivery)) = timeout(NO_MORE, subscription.next()).await {
        heard.hear(&delivery);
        let _ = subscription.acknowledge(delivery.receipt, Acknowledge::One).await;
    }
    heard
}

impl Heard {
    fn hear(&mut self, delivery: &Delivery) {
        match bus::decode::<ObjectFinished>(&delivery.message, usize::MAX) {
            Ok(received) => {
                let event = received.event;
                let object = (event.object_id.to_string(), event.revision);
                if !matches!(event.outcome, ObjectOutcome::Succeeded(_)) {
                    self.wrong.push(format!("object {} was announced as {:?}", object.0, event.outcome));
                }
                let id = received.envelope.id.to_string();
                *self.announcements.entry(object).or_default().entry(id).or_default() += 1;
            }
            Err(error) => self.wrong.push(format!("message {:?}: {error}", delivery.message.id)),
        }
    }

    /// Both.
    pub fn join(&mut self, other: Self) {
        for (object, ids) in other.announcements {
            let known = self.announcements.entry(object).or_default();
            for (id, count) in ids {
                *known.entry(id).or_default() += count;
            }
        }
        self.wrong.extend(other.wrong);
    }
}
