//! The loop that consumes a work queue.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{
    Bus, Cause, DEAD_CAUSE, DEAD_QUEUE, DEAD_REASON, Failure, Handle, Outcome, Received, Source, WorkQueue,
    events::{Event, ObjectCreated, ObjectId},
};
use testkit::eventually;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    events::object,
    kit::{PATIENCE, bus, drain, message, next, publish, take},
    subject::Subject,
};

/// What the objects of these cases are published with.
pub const KEY: &str = "object.created.nop";
pub const GRACE: Duration = Duration::from_secs(5);

pub fn distributors(bus: &Bus) -> WorkQueue {
    WorkQueue {
        queue: bus.topology().distributor(),
        slots: bus::Slots::new(4),
        prefetch: 8,
        burst: 0,
        max_attempts: 3,
        grace: GRACE,
    }
}

/// Publishes objects that nobody else sees; their ids.
pub async fn submit(bus: &Bus, count: usize) -> BTreeSet<ObjectId> {
    let events: Vec<_> = (0..count).map(|_| object(ObjectId::new(), "nop")).collect();
    bus.publish_all(&events, None, PATIENCE).await.unwrap();
    events.iter().map(|event| event.object.id).collect()
}

/// A loop that goes on until it is ended.
pub struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start<H: Handle<ObjectCreated>>(bus: &Bus, queue: WorkQueue, handler: &Arc<H>) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(queue.run::<ObjectCreated, _>(bus.clone(), handler.clone(), shutdown.clone()));
        Self { shutdown, task }
    }

    /// As SIGTERM does: what is in the handler is finished.
    pub async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// As a kill does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// The objects of which messages are left in a queue of the bus, when all its consumers have ended.
pub async fn left<S: Subject>(subject: &S, queue: &bus::Queue) -> Vec<ObjectId> {
    let left = drain(&*subject.transport(), queue, KEY).await;
    left.iter().map(|delivery| delivery.message.correlation_id.as_ref().unwrap().parse().unwrap()).collect()
}

/// Records what it is given; answers as it is told.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<ObjectId>>,
    attempts: Mutex<BTreeSet<u32>>,
    failures: AtomicUsize,
    answer: Mutex<Option<Outcome>>,
}

impl Handle<ObjectCreated> for Recorder {
    async fn handle(&self, received: Received<ObjectCreated>, _: bus::Slot) -> Outcome {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Outcome::Unavailable("not yet".to_owned());
        }
        self.attempts.lock().unwrap().insert(received.attempt);
        self.seen.lock().unwrap().push(received.event.object.id);
        self.answer.lock().unwrap().clone().unwrap_or(Outcome::Done)
    }
}

pub async fn case_05_every_event_is_handled_by_one_of_those_who_compete_for_it<S: Subject>() {
    let subject = S::fresh().await;
    let publisher = bus(&subject);
    let recorders = [(); 3].map(|()| Arc::new(Recorder::default()));
    let running = recorders.each_ref().map(|recorder| {
        let bus = bus(&subject);
        Running::start(&bus, distributors(&bus), recorder)
    });
    let submitted = submit(&publisher, 300).await;
    let seen = eventually(async || {
        let seen: Vec<ObjectId> = recorders.iter().flat_map(|r| r.seen.lock().unwrap().clone()).collect();
        if seen.len() < 300 { Err(format!("{} of 300", seen.len())) } else { Ok(seen) }
    })
    .await;
    assert_eq!(seen.len(), 300, "each once");
    assert_eq!(BTreeSet::from_iter(seen), submitted);
    for running in running {
        running.end().await;
    }
    assert!(left(&subject, &publisher.topology().distributor()).await.is_empty(), "all were acknowledged");
}

pub async fn case_22_an_event_that_waits_for_what_is_away_is_given_again_at_no_attempts_cost<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let recorder = Arc::new(Recorder { failures: AtomicUsize::new(1), ..Recorder::default() });
    let running = Running::start(&bus, distributors(&bus), &recorder);
    let submitted = submit(&bus, 1).await;
    eventually(async || {
        let seen = BTreeSet::from_iter(recorder.seen.lock().unwrap().clone());
        if seen == submitted { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_eq!(*recorder.attempts.lock().unwrap(), BTreeSet::from([1]));
    running.end().await;
}

pub async fn case_23_what_is_rejected_or_not_understood_is_set_aside_with_its_reason_and_bytes<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let topology = bus.topology().clone();
    let recorder = Arc::new(Recorder::default());
    *recorder.answer.lock().unwrap() = Some(Outcome::Reject(Failure::new(Cause::Rejected, "never")));
    let running = Running::start(&bus, distributors(&bus), &recorder);
    submit(&bus, 1).await;
    let foreign = message(subject.exchange(), KEY, "foreign");
    publish(&*subject.transport(), vec![foreign.clone()]).await;

    let transport = subject.transport();
    let mut dead_letters = transport.subscribe(Source::Shared(topology.dead_letters()), 10);
    let mut reasons = BTreeSet::new();
    for dead in take(&mut *dead_letters, 2).await {
        let text = |name: &str| dead.message.headers[name].as_str().unwrap().to_owned();
        assert_eq!(text(DEAD_QUEUE), topology.distributor().name);
        if dead.message.id == "foreign" {
            assert_eq!(dead.message.body, foreign.body);
            assert!(text(DEAD_REASON).contains("not a CloudEvent"));
            assert_eq!(text(DEAD_CAUSE), Cause::Undecodable.as_str());
        }
        reasons.insert(text(DEAD_REASON));
    }
    assert!(reasons.contains("never"), "{reasons:?}");
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    running.end().await;
    assert!(left(&subject, &topology.distributor()).await.is_empty(), "and both were acknowledged");
}

/// Panics at the first event.
struct Panics(AtomicUsize);

impl Handle<ObjectCreated> for Panics {
    async fn handle(&self, _: Received<ObjectCreated>, _: bus::Slot) -> Outcome {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "the first one panics");
        Outcome::Done
    }
}

pub async fn case_09_a_handler_that_panics_sets_its_event_aside_and_goes_on<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let handler = Arc::new(Panics(AtomicUsize::new(0)));
    let running = Running::start(&bus, distributors(&bus), &handler);
    submit(&bus, 3).await;
    eventually(async || match handler.0.load(Ordering::SeqCst) {
        3 => Ok(()),
        count => Err(format!("{count} of 3")),
    })
    .await;
    running.end().await;
    assert_eq!(left(&subject, &bus.topology().dead_letters()).await.len(), 1);
    assert!(left(&subject, &bus.topology().distributor()).await.is_empty());
}

/// Ends when it is let.
struct Slow(Semaphore, AtomicUsize);

impl Handle<ObjectCreated> for Slow {
    async fn handle(&self, _: Received<ObjectCreated>, _: bus::Slot) -> Outcome {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.acquire().await.unwrap().forget();
        Outcome::Done
    }
}

pub async fn case_10_shutdown_finishes_what_is_in_the_handler_and_hands_back_the_rest<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let slow = Arc::new(Slow(Semaphore::new(0), AtomicUsize::new(0)));
    let running = Running::start(&bus, distributors(&bus), &slow);
    submit(&bus, 10).await;
    eventually(async || if slow.1.load(Ordering::SeqCst) == 4 { Ok(()) } else { Err("not full".to_owned()) }).await;
    running.shutdown.cancel();
    slow.0.add_permits(4);
    running.task.await.unwrap();
    let transport = subject.transport();
    let mut subscription = transport.subscribe(Source::Shared(bus.topology().distributor()), 100);
    let handed_back = take(&mut *subscription, 10 - slow.1.load(Ordering::SeqCst)).await;
    assert_eq!(handed_back.len(), 6, "no more than the concurrency were in the handler");
    drop(subscription);
}

/// Remembers which events it was given of which object.
#[derive(Default)]
pub struct Idempotent(Mutex<Vec<ObjectId>>);

impl Handle<ObjectCreated> for Idempotent {
    async fn handle(&self, received: Received<ObjectCreated>, _: bus::Slot) -> Outcome {
        self.0.lock().unwrap().push(received.event.object_id());
        Outcome::Done
    }
}

pub async fn case_08_an_event_whose_consumer_died_is_given_to_the_next_one<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let slow = Arc::new(Slow(Semaphore::new(0), AtomicUsize::new(0)));
    let first = Running::start(&bus, distributors(&bus), &slow);
    let submitted = submit(&bus, 3).await;
    eventually(async || if slow.1.load(Ordering::SeqCst) == 3 { Ok(()) } else { Err("not all".to_owned()) }).await;
    first.kill().await;
    let next = Arc::new(Idempotent::default());
    let second = Running::start(&bus, distributors(&bus), &next);
    eventually(async || {
        let given = BTreeSet::from_iter(next.0.lock().unwrap().clone());
        if given == submitted { Ok(()) } else { Err(format!("{} of 3", given.len())) }
    })
    .await;
    second.end().await;
    assert!(left(&subject, &bus.topology().distributor()).await.is_empty());
}

/// Works quickly at first, and only waits for what came of it; then does not work at all until it is let.
struct Tires {
    /// So many are done at once: a machine that is busy when the first one comes is no measure.
    warm_up: AtomicUsize,
    quick: AtomicUsize,
    waiting: AtomicUsize,
    confirmed: Semaphore,
    tired: AtomicUsize,
    rested: Semaphore,
}

impl Handle<ObjectCreated> for Tires {
    async fn handle(&self, _: Received<ObjectCreated>, slot: bus::Slot) -> Outcome {
        if self.warm_up.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Outcome::Done;
        }
        if self.quick.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            drop(slot);
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.confirmed.acquire().await.unwrap().forget();
        } else {
            self.tired.fetch_add(1, Ordering::SeqCst);
            self.rested.acquire().await.unwrap().forget();
        }
        Outcome::Done
    }
}

pub async fn case_07_a_consumer_has_more_in_hand_while_it_is_quick_and_gives_it_away_when_it_is_not<S: Subject>() {
    const OBJECTS: usize = 300;
    const WARM_UP: usize = 100;
    const QUICK: usize = 40;
    const PREFETCH: u16 = 2;
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let handler = Arc::new(Tires {
        warm_up: AtomicUsize::new(WARM_UP),
        quick: AtomicUsize::new(QUICK),
        waiting: AtomicUsize::new(0),
        confirmed: Semaphore::new(0),
        tired: AtomicUsize::new(0),
        rested: Semaphore::new(0),
    });
    let queue = WorkQueue { slots: bus::Slots::new(1), prefetch: PREFETCH, burst: 50, ..distributors(&bus) };
    let running = Running::start(&bus, queue, &handler);
    submit(&bus, OBJECTS).await;
    eventually(async || match (handler.waiting.load(Ordering::SeqCst), handler.tired.load(Ordering::SeqCst)) {
        (QUICK, 1) => Ok(()),
        other => Err(format!("{other:?} are in hand")),
    })
    .await;
    handler.confirmed.add_permits(QUICK);

    let transport = subject.transport();
    let mut others = transport.subscribe(Source::Shared(bus.topology().distributor()), 500);
    let mut given = BTreeSet::new();
    while given.len() < OBJECTS - WARM_UP - QUICK - usize::from(PREFETCH) {
        given.insert(next(&mut *others).await.message.id);
    }
    assert_eq!(handler.tired.load(Ordering::SeqCst), 1, "there is one slot");
    handler.rested.add_permits(OBJECTS);
    running.end().await;
}
