//! What waits behind the door, and whether there is room for more.
//!
//! The queues are asked regularly, by one task. In between, what was let in counts as if it were there already, with all
//! that it brings: an object with three tasks is eleven events for statistics. So no rush between two readings goes
//! unnoticed, and a reading that gets old, because the bus cannot be asked, lets in ever less.
//!
//! What an object brings comes in time: as long as it waits for the distributor, its tasks are in no reading. And several
//! datagens do not know of each other what they let in since. By so much a queue may come to have more than the bound.

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::{
    Bus, Queue, Topology,
    events::{Object, OperationName},
};
use chassis::http::Problem;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::debug;

use crate::config::MaxBacklog;

/// How often the queues are asked: how long a client waits in vain at most after one of them has become shorter, twice.
const READING_INTERVAL: Duration = Duration::from_secs(1);
/// They are asked sooner when what was let in since could fill the half of what may wait, but not sooner than this.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// When a client should come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The queues behind the door.
pub(crate) struct Backlog {
    max: u64,
    places: Vec<Place>,
    counts: Mutex<Vec<Count>>,
    /// Told when the queues should be asked soon.
    soon: Notify,
    /// Tells whoever waits that they were asked.
    asked: Notify,
}

/// A queue, and what objects bring there.
struct Place {
    queue: Queue,
    brings: Brings,
}

enum Brings {
    /// The object.
    Object,
    /// The tasks of this operation's objects.
    Tasks(OperationName),
    /// Every event.
    Events,
}

/// What is known of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// The last two readings; none before the first one. The greater one counts, because RabbitMQ says 0 of a queue that is
    /// too busy to answer.
    readings: Option<(u64, u64)>,
    /// What was let in since the last reading.
    since: u64,
    /// What is about to be let in: whether it is in a reading is not known.
    in_flight: u64,
}

/// An object that is about to be let in. Drop it when it is published, or is not: it counts in any case until the next
/// reading, because it may have been taken.
pub(crate) struct Admitted<'a> {
    backlog: &'a Backlog,
    loads: Vec<u64>,
}

impl Brings {
    /// How many messages an object is there, all in all.
    fn load(&self, object: &Object) -> u64 {
        let tasks = u64::from(object.tasks);
        match self {
            Self::Object => 1,
            Self::Tasks(operation) if *operation == object.operation => tasks,
            Self::Tasks(_) => 0,
            // It was created and finished; so was each task, and it was started.
            Self::Events => 2 + 3 * tasks,
        }
    }
}

impl Count {
    /// How much waits at most, as far as is known.
    fn estimate(&self) -> Option<u64> {
        let (last, before) = self.readings?;
        Some(last.max(before) + self.since + self.in_flight)
    }
}

impl Backlog {
    pub(crate) fn new(max: MaxBacklog, topology: &Topology, operations: &[OperationName]) -> Self {
        let mut places = vec![
            Place { queue: topology.distributor(), brings: Brings::Object },
            Place { queue: topology.statistics(), brings: Brings::Events },
        ];
        places.extend(operations.iter().map(|operation| {
            let queue = topology.processor(operation);
            Place { queue, brings: Brings::Tasks(operation.clone()) }
        }));
        let counts = Mutex::new(vec![Count::default(); places.len()]);
        Self { max: max.get(), places, counts, soon: Notify::new(), asked: Notify::new() }
    }

    /// Asks the queues again and again.
    pub(crate) async fn watch(&self, bus: &Bus) {
        loop {
            self.read(bus).await;
            self.asked.notify_waiters();
            sleep(LEAST_INTERVAL).await;
            let _ = timeout(READING_INTERVAL - LEAST_INTERVAL, self.soon.notified()).await;
        }
    }

    async fn read(&self, bus: &Bus) {
        for (number, Place { queue, .. }) in self.places.iter().enumerate() {
            // What was confirmed before the question is in the answer.
            let before = self.counts()[number].since;
            match bus.depth(queue).await {
                Ok(depth) => {
                    metrics::gauge!("ebs_queue_messages", "queue" => queue.name.clone()).set(depth as f64);
                    let count = &mut self.counts()[number];
                    count.readings = Some((depth, count.readings.map_or(depth, |(last, _)| last)));
                    count.since -= before;
                }
                Err(error) => debug!(queue = queue.name, "how much waits is not known: {error}"),
            }
        }
    }

    /// Whether every queue has been asked.
    ///
    /// # Errors
    /// Which one has not, for people.
    pub(crate) fn known(&self) -> Result<(), String> {
        let unknown = self.counts().iter().position(|count| count.readings.is_none());
        match unknown {
            None => Ok(()),
            Some(number) => Err(format!("how much waits in {} is not known yet", self.places[number].queue.name)),
        }
    }

    /// Whether anything is let in now.
    ///
    /// # Errors
    /// 503 with the queue in which too much waits.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.check_counts(&self.counts())
    }

    /// Lets an object in, which is then to be published.
    ///
    /// # Errors
    /// As [`Backlog::check`].
    pub(crate) fn admit(&self, object: &Object) -> Result<Admitted<'_>, Problem> {
        let loads: Vec<u64> = self.places.iter().map(|place| place.brings.load(object)).collect();
        let mut counts = self.counts();
        self.check_counts(&counts)?;
        for (count, load) in counts.iter_mut().zip(&loads) {
            count.in_flight += load;
        }
        let half = counts.iter().any(|count| count.since + count.in_flight > self.max / 2);
        drop(counts);
        if half {
            self.soon.notify_one();
        }
        Ok(Admitted { backlog: self, loads })
    }

    /// Lets an object in as soon as that may be.
    ///
    /// # Errors
    /// As [`Backlog::check`], if it may not be within `patience`.
    pub(crate) async fn admit_within(&self, patience: Duration, object: &Object) -> Result<Admitted<'_>, Problem> {
        let end = Instant::now() + patience;
        loop {
            let mut asked = pin!(self.asked.notified());
            // Before looking, so that nothing is missed in between.
            asked.as_mut().enable();
            let problem = match self.admit(object) {
                Ok(admitted) => return Ok(admitted),
                Err(problem) => problem,
            };
            self.soon.notify_one();
            if timeout_at(end, asked).await.is_err() {
                return Err(problem);
            }
        }
    }

    fn check_counts(&self, counts: &[Count]) -> Result<(), Problem> {
        for (Place { queue, .. }, count) in self.places.iter().zip(counts) {
            let Some(depth) = count.estimate() else {
                let detail =
                    format!("How much waits in queue {} is not known yet: the bus cannot be asked.", queue.name);
                return Err(Problem::unavailable(RETRY_AFTER, detail));
            };
            if depth > self.max {
                let max = self.max;
                let detail = format!("Too much waits: {depth} messages in queue {}, and {max} may.", queue.name);
                return Err(Problem::unavailable(RETRY_AFTER, detail)
                    .with("queue", &queue.name)
                    .with("depth", depth)
                    .with("max_backlog", max));
            }
        }
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, Vec<Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        for (count, load) in self.backlog.counts().iter_mut().zip(&self.loads) {
            count.in_flight -= load;
            count.since += load;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use bus::{
        Message, Settings, Transport,
        embedded::{Embedded, Limits, Memory},
    };

    use super::*;

    const EXCHANGE: &str = "ebs";

    struct World {
        transport: Arc<Embedded>,
        bus: Bus,
        backlog: Backlog,
    }

    impl World {
        /// One behind whose door nothing waits, but it was not asked yet.
        async fn new(max: u64) -> Self {
            let transport = Arc::new(Embedded::in_memory(&Memory::default(), Limits::default()));
            let settings = Settings { exchange: EXCHANGE.to_owned(), app: "test".to_owned(), max_event_bytes: 1 << 20 };
            let bus = Bus::over(transport.clone(), settings);
            let operations = ["nop", "pow"].map(|name| name.parse().unwrap());
            let backlog = Backlog::new(MaxBacklog::clamped(max), bus.topology(), &operations);
            let queues = backlog.places.iter().map(|place| place.queue.clone()).collect();
            transport.ensure(bus.topology().events(), queues).await;
            Self { transport, bus, backlog }
        }

        async fn publish(&self, routing_key: &str, count: usize) {
            let (exchange, routing_key) = (EXCHANGE.to_owned(), routing_key.to_owned());
            let message = Message { exchange, routing_key, ..Message::default() };
            for result in self.transport.publish(vec![message; count], Duration::from_secs(5)).await {
                result.unwrap();
            }
        }

        fn refusal(&self) -> Option<String> {
            self.backlog.check().err().map(|problem| problem.detail().to_owned())
        }
    }

    fn object(tasks: u32) -> Object {
        serde_json::from_value(serde_json::json!({
            "id": bus::events::ObjectId::new(), "name": "test", "operation": "pow", "data": [1], "tasks": tasks,
            "deadline_ms": 1000, "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_let_in_before_the_queues_were_asked_nor_while_too_much_waits_in_one_of_them() {
        let world = World::new(10).await;
        assert!(world.refusal().unwrap().contains("not known"));
        assert!(world.backlog.known().unwrap_err().contains("ebs.distributor"));
        world.backlog.read(&world.bus).await;
        assert_eq!((world.refusal(), world.backlog.known()), (None, Ok(())));

        world.publish("task.created.pow", 10).await;
        world.backlog.read(&world.bus).await;
        assert_eq!(world.refusal(), None, "as many as may wait");
        world.publish("task.created.pow", 1).await;
        world.backlog.read(&world.bus).await;
        let refusal = world.refusal().unwrap();
        assert!(["ebs.statistics", "11 messages", "10 may"].iter().all(|part| refusal.contains(part)), "{refusal}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_let_in_since_the_last_reading_counts_with_all_that_it_brings() {
        let world = World::new(20).await;
        world.backlog.read(&world.bus).await;
        drop(world.backlog.admit(&object(3)).unwrap());
        // Eleven events; the second object is let in because there is room for some of it.
        let in_flight = world.backlog.admit(&object(3)).unwrap();
        assert!(world.backlog.admit(&object(3)).is_err());
        // Whatever was taken of the first one is in the reading; of the second one nobody knows.
        world.backlog.read(&world.bus).await;
        assert_eq!(world.backlog.counts()[1].estimate(), Some(11));
        world.backlog.read(&world.bus).await;
        assert_eq!(world.backlog.counts()[1].estimate(), Some(11));
        drop(in_flight);
        world.backlog.read(&world.bus).await;
        assert_eq!(world.backlog.counts()[1].estimate(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_let_in_when_there_is_room_and_refused_when_there_is_none_for_long() {
        const PATIENCE: Duration = Duration::from_secs(20);
        let world = World::new(10).await;
        let object = object(3);
        let waiting = world.backlog.admit_within(PATIENCE, &object);
        let watch = world.backlog.watch(&world.bus);
        tokio::select! {
            admitted = waiting => assert!(admitted.is_ok(), "the queues are asked meanwhile"),
            () = watch => unreachable!(),
        }
        // Nobody asks them any more: what was let in counts for ever.
        let began = Instant::now();
        let problem = world.backlog.admit_within(PATIENCE, &object).await.err().unwrap();
        assert_eq!((problem.status().as_u16(), began.elapsed()), (503, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn one_reading_of_nothing_alone_is_not_believed() {
        let mut count = Count { readings: Some((0, 50)), since: 1, in_flight: 2 };
        assert_eq!(count.estimate(), Some(53));
        count.readings = Some((0, 0));
        assert_eq!(count.estimate(), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queues_are_asked_once_a_second_and_sooner_after_a_rush() {
        let world = Arc::new(World::new(20).await);
        let watching = world.clone();
        let watch = tokio::spawn(async move { watching.backlog.watch(&watching.bus).await });
        sleep(Duration::from_millis(10)).await;
        assert_eq!(world.refusal(), None);
        world.publish("object.created.nop", 21).await;
        sleep(Duration::from_millis(900)).await;
        assert_eq!(world.refusal(), None, "not asked yet");
        drop(world.backlog.admit(&object(3)).unwrap());
        sleep(LEAST_INTERVAL + Duration::from_millis(10)).await;
        assert!(world.refusal().unwrap().contains("21 messages in queue ebs.distributor"));
        watch.abort();
    }
}
