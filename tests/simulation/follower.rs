//! Another system that follows on: hears of each object's end, from a durable queue of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bus::{
    Binding, Bus, Handle, Outcome, Queue, QueueKind, Received, Settings, Transport, WorkQueue,
    events::{Milliseconds, ObjectFinished},
};
use tokio_util::sync::CancellationToken;

use crate::programs::EXCHANGE;

/// What was announced: by object, each different announcement once, as JSON and without how long it took.
pub type Heard = BTreeMap<String, BTreeSet<String>>;

/// Remembers what it heard. Nothing ever goes wrong with it.
#[derive(Clone, Default)]
pub struct Follower(Arc<Mutex<Heard>>);

impl Handle<ObjectFinished> for Follower {
    async fn handle(&self, received: Received<ObjectFinished>, _: bus::Slot) -> Outcome {
        let event = ObjectFinished { duration_ms: Milliseconds::from_micros(0), ..received.event };
        let json = serde_json::to_string(&event).unwrap();
        self.0.lock().unwrap().entry(event.object_id.to_string()).or_default().insert(json);
        Outcome::Done
    }
}

impl Follower {
    /// What it heard so far.
    pub fn heard(&self) -> Heard {
        self.0.lock().unwrap().clone()
    }

    /// Its queue.
    pub fn queue(bus: &Bus) -> Queue {
        let (exchange, dead_letters) = (bus.topology().events(), bus.topology().dead_letters_exchange());
        Queue {
            name: format!("{EXCHANGE}.follower"),
            kind: QueueKind::Work { dead_letters },
            bindings: vec![Binding { exchange, pattern: "object.finished.#".to_owned() }],
        }
    }

    /// Makes sure of its queue, so that nothing is announced before, and returns what listens.
    pub async fn follow(
        &self,
        transport: Arc<dyn Transport>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let settings = Settings { exchange: EXCHANGE.to_owned(), app: "follower".to_owned(), max_event_bytes: 1 << 20 };
        let bus = Bus::over(transport.clone(), settings);
        let queue = Self::queue(&bus);
        transport.ensure(bus.topology().events(), vec![queue.clone()]).await;
        let all = WorkQueue {
            queue,
            slots: bus::Slots::new(1),
            prefetch: 10,
            burst: 0,
            max_attempts: 1,
            grace: Duration::from_secs(1),
        };
        all.run(bus, Arc::new(self.clone()), shutdown)
    }
}
