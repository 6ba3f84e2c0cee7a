//! Trying again later, and setting aside what is never done.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bus::{
    ATTEMPT, Acknowledge, Bus, Cause, DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME,
    DeadLetter, DepthError, Exchange, Failure, Handle, Item, Message, Outcome, PublishError, Queue, RETRY_DELAYS,
    ROUND, Received, Source, Subscription, Topology, Transport, WorkQueue, decode,
    events::{ObjectCreated, ObjectId, Task, TaskCreated, TaskId},
    now,
};
use testkit::eventually;
use tokio::time::Instant;

use crate::{
    events::object,
    kit::{PATIENCE, bus, bus_over, drain, message, next, publish, queue, topic, work_queue},
    loops::{KEY, Running, distributors, left, submit},
    subject::{Foreign, Subject},
};

/// A copy that goes to `queue` after what `tier` says.
fn later(tier: &Queue, queue: &Queue, id: &str) -> Message {
    message(&tier.bindings[0].exchange.name, &queue.name, id)
}

pub async fn case_21_what_is_delayed_comes_not_early_and_a_short_delay_is_not_blocked_by_a_long_one<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = work_queue(&subject).await;
    let topology = Topology::new(subject.exchange());
    let [short, long] = [1, 3].map(|seconds| topology.retry(Duration::from_secs(seconds)));
    for tier in [&short, &long] {
        transport.ensure(tier.bindings[0].exchange.clone(), vec![tier.clone()]).await;
    }
    // Nothing is published before all that was asked for is there; from here on it is quick.
    publish(&*transport, vec![message(subject.exchange(), "a.b", "at once")]).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 10);
    assert_eq!(next(&mut *subscription).await.message.id, "at once");

    let began = Instant::now();
    let [first, second, third] = [(&long, "long"), (&short, "short"), (&short, "short too")];
    publish(&*transport, [first, second, third].map(|(tier, id)| later(tier, &queue, id)).to_vec()).await;
    for (id, seconds) in [("short", 1), ("short too", 1), ("long", 3)] {
        let delivery = next(&mut *subscription).await;
        let waited = began.elapsed();
        assert_eq!(delivery.message.id, id);
        assert!(waited >= Duration::from_secs(seconds), "{id} came after {waited:?}");
        assert!(waited < Duration::from_secs(seconds + 10), "{id} came after {waited:?}");
        assert_eq!(delivery.earlier_deliveries, 0, "a copy was not delivered before");
        assert_eq!(delivery.message.body, format!("body of {id}").as_bytes());
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
    }
}

/// The exchange of the queue is not among those to whom a message that was delayed comes back.
pub async fn case_21_what_is_delayed_comes_back_to_the_one_queue_that_it_is_for<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, work) = work_queue(&subject).await;
    let other = queue(subject.exchange(), "other", "#");
    transport.ensure(topic(subject.exchange()), vec![other.clone()]).await;
    let tier = Topology::new(subject.exchange()).retry(Duration::from_secs(1));
    transport.ensure(tier.bindings[0].exchange.clone(), vec![tier.clone()]).await;
    publish(&*transport, vec![later(&tier, &work, "for one")]).await;
    let came_back = next(&mut *transport.subscribe(Source::Shared(work), 1)).await;
    assert_eq!(came_back.message.id, "for one");
    let others = drain(&*transport, &other, "b").await;
    assert!(others.is_empty(), "the other queue of the exchange sees nothing of it");
}

/// Answers as it is told for each attempt, then that it is done; remembers when it was given which.
#[derive(Default)]
struct Scripted {
    answers: HashMap<u32, Outcome>,
    given: Mutex<Vec<(ObjectId, u32, Instant)>>,
}

impl Handle<ObjectCreated> for Scripted {
    async fn handle(&self, received: Received<ObjectCreated>, _: bus::Slot) -> Outcome {
        let attempt = received.attempt;
        self.given.lock().unwrap().push((received.event.object.id, attempt, Instant::now()));
        self.answers.get(&attempt).cloned().unwrap_or(Outcome::Done)
    }
}

impl Scripted {
    fn new<const N: usize>(answers: [(u32, Outcome); N]) -> Arc<Self> {
        Arc::new(Self { answers: HashMap::from(answers), ..Self::default() })
    }

    /// Waits until it was given this attempt of the object; when that was.
    async fn was_given(&self, object: ObjectId, attempt: u32) -> Instant {
        eventually(async || {
            let given = self.given.lock().unwrap();
            let found = given.iter().find(|(id, number, _)| (*id, *number) == (object, attempt));
            found.map(|(_, _, at)| *at).ok_or_else(|| format!("{attempt} of {object} is not in {given:?}"))
        })
        .await
    }

    /// The attempts of the object that it was given, in their order.
    fn attempts(&self, object: ObjectId) -> Vec<u32> {
        self.given.lock().unwrap().iter().filter(|(id, ..)| *id == object).map(|(_, number, _)| *number).collect()
    }
}

fn retry() -> Outcome {
    Outcome::Retry(Failure::new(Cause::Rejected, "not this time"))
}

/// An event as a message that is to be its attempt number `attempt`.
fn numbered(bus: &Bus, id: ObjectId, attempt: u32) -> Message {
    let mut message = bus.encode(&object(id, "nop"), now(), None).unwrap();
    message.headers.insert(ATTEMPT.to_owned(), attempt.into());
    message
}

pub async fn publish_on(bus: &Bus, message: &Message) {
    bus.ensure::<ObjectCreated>(&"nop".parse().unwrap()).await;
    for result in bus.publish_messages(vec![message.clone()], PATIENCE).await {
        result.unwrap();
    }
}

/// Takes the next dead letter.
pub async fn next_dead_letter<S: Subject>(subject: &S, topology: &Topology) -> Message {
    let transport = subject.transport();
    let mut dead_letters = transport.subscribe(Source::Shared(topology.dead_letters()), 1);
    let delivery = next(&mut *dead_letters).await;
    dead_letters.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
    delivery.message
}

pub async fn case_21_an_event_to_be_retried_comes_after_its_delay_and_only_to_the_queue_where_it_failed<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let handler = Scripted::new([(1, retry())]);
    let running = Running::start(&bus, distributors(&bus), &handler);
    let id = submit(&bus, 1).await.pop_first().unwrap();
    let first = handler.was_given(id, 1).await;
    let second = handler.was_given(id, 2).await;
    assert!(second - first >= RETRY_DELAYS[0], "after {:?}", second - first);
    running.end().await;
    let topology = bus.topology();
    assert_eq!(left(&subject, &topology.statistics()).await, [id], "nobody else sees the retry");
    assert!(left(&subject, &topology.dead_letters()).await.is_empty());
    assert!(left(&subject, &topology.distributor()).await.is_empty(), "and then it was done");
}

pub async fn case_21_a_short_delay_of_an_event_is_not_held_up_by_a_long_one<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let handler = Scripted::new([(1, retry()), (2, retry())]);
    let running = Running::start(&bus, WorkQueue { max_attempts: 5, ..distributors(&bus) }, &handler);
    let (long, short) = (ObjectId::new(), ObjectId::new());
    publish_on(&bus, &numbered(&bus, long, 2)).await;
    let began = handler.was_given(long, 2).await;
    publish_on(&bus, &numbered(&bus, short, 1)).await;
    let short_again = handler.was_given(short, 2).await;
    let long_again = handler.was_given(long, 3).await;
    assert!(short_again < long_again);
    assert!(long_again - began >= RETRY_DELAYS[1], "after {:?}", long_again - began);
    running.end().await;
}

pub async fn case_22_the_attempts_are_counted_over_the_retries_one_by_one<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    // The third attempt comes from whoever consumes then, and knows by the message alone which it is.
    let first = Scripted::new([(1, retry())]);
    let running = Running::start(&bus, distributors(&bus), &first);
    let id = submit(&bus, 1).await.pop_first().unwrap();
    first.was_given(id, 1).await;
    running.end().await;
    drop(bus);
    let bus = bus_over(subject.reopen().await, &subject);
    let second = Scripted::new([(2, retry())]);
    let running = Running::start(&bus, distributors(&bus), &second);
    second.was_given(id, 3).await;
    running.end().await;
    assert_eq!((first.attempts(id), second.attempts(id)), (vec![1], vec![2, 3]));
    assert!(left(&subject, &bus.topology().distributor()).await.is_empty());
}

pub async fn case_23_an_event_whose_attempts_are_used_up_is_a_dead_letter_with_all_that_it_was<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let handler = Scripted::new([(1, retry()), (2, retry())]);
    let running = Running::start(&bus, WorkQueue { max_attempts: 2, ..distributors(&bus) }, &handler);
    let sent = numbered(&bus, ObjectId::new(), 1);
    publish_on(&bus, &sent).await;
    let dead = next_dead_letter(&subject, bus.topology()).await;
    let said = |name: &str| dead.headers[name].as_str().unwrap();
    assert_eq!(said(DEAD_REASON), "attempts used up (2): not this time");
    assert_eq!(said(DEAD_CAUSE), Cause::AttemptsUsedUp.as_str());
    assert!(said(DEAD_TIME).parse::<jiff::Timestamp>().is_ok());
    assert_eq!(said(DEAD_QUEUE), bus.topology().distributor().name);
    assert_eq!(said(DEAD_ROUTING_KEY), KEY);
    assert_eq!(said(DEAD_EXCHANGE), bus.topology().events().name);
    assert_eq!(dead.headers[ATTEMPT], 2);
    assert_eq!((&dead.id, &dead.body, &dead.kind), (&sent.id, &sent.body, &sent.kind));
    // Its own headers, and ours; nothing of the way that it went.
    let ours = |name: &&String| !sent.headers.contains_key(*name);
    let names: Vec<_> = dead.headers.keys().filter(ours).collect();
    assert_eq!(names, [DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME]);
    running.end().await;
}

/// A transport that takes nothing for one exchange until it is mended.
struct Refusing {
    inner: Arc<dyn Transport>,
    exchange: String,
    mended: AtomicBool,
    refused: AtomicUsize,
}

#[async_trait]
impl Transport for Refusing {
    async fn ensure(&self, exchange: Exchange, queues: Vec<Queue>) {
        self.inner.ensure(exchange, queues).await;
    }

    async fn publish(&self, messages: Vec<Message>, patience: Duration) -> Vec<Result<(), PublishError>> {
        let refuses = |message: &Message| message.exchange == self.exchange && !self.mended.load(Ordering::SeqCst);
        if messages.iter().any(refuses) {
            self.refused.fetch_add(messages.len(), Ordering::SeqCst);
            return vec![Err(PublishError::Refused); messages.len()];
        }
        self.inner.publish(messages, patience).await
    }

    fn subscribe(&self, source: Source, prefetch: u16) -> Box<dyn Subscription> {
        self.inner.subscribe(source, prefetch)
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, DepthError> {
        self.inner.depth(queue).await
    }

    fn status(&self) -> Result<(), String> {
        self.inner.status()
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

pub async fn case_25_what_the_dead_letters_do_not_take_is_kept_until_they_do<S: Subject>() {
    let subject = S::fresh().await;
    let topology = Topology::new(subject.exchange());
    let refusing = Arc::new(Refusing {
        inner: subject.transport(),
        exchange: topology.dead_letters_exchange().name,
        mended: AtomicBool::new(false),
        refused: AtomicUsize::new(0),
    });
    let bus = bus_over(refusing.clone(), &subject);
    let handler = Scripted::new([(1, Outcome::Reject(Failure::new(Cause::Rejected, "never")))]);
    let until_refused = async |count: usize| {
        eventually(async || match refusing.refused.load(Ordering::SeqCst) {
            refused if refused >= count => Ok(()),
            refused => Err(format!("{refused} times refused")),
        })
        .await;
    };
    let running = Running::start(&bus, distributors(&bus), &handler);
    let id = submit(&bus, 1).await.pop_first().unwrap();
    // It is tried again and again.
    until_refused(2).await;
    // Whoever consumes next is given the message again: it was not acknowledged.
    running.kill().await;
    let refused = refusing.refused.load(Ordering::SeqCst);
    let running = Running::start(&bus, distributors(&bus), &handler);
    until_refused(refused + 1).await;
    refusing.mended.store(true, Ordering::SeqCst);
    let dead = next_dead_letter(&subject, &topology).await;
    assert_eq!(dead.correlation_id, Some(id.to_string()));
    running.end().await;
    assert!(left(&subject, &topology.distributor()).await.is_empty());
    assert!(left(&subject, &topology.dead_letters()).await.is_empty(), "and it is there once");
}

pub async fn case_25_what_comes_when_the_queue_of_dead_letters_is_gone_is_kept_until_there_is_one<S: Foreign>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let topology = bus.topology().clone();
    let handler = Scripted::new([(1, Outcome::Reject(Failure::new(Cause::Rejected, "never")))]);
    let running = Running::start(&bus, distributors(&bus), &handler);
    // All that the consumer needs is there when something was published after it.
    submit(&bus, 1).await;
    let first = next_dead_letter(&subject, &topology).await;
    let foreign = subject.foreign_client().await;
    let name = topology.dead_letters().name;
    foreign.queue_delete(name.as_str().into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    let id = submit(&bus, 1).await.pop_first().unwrap();
    handler.was_given(id, 1).await;
    // The refused copy costs nothing: whoever consumes next is given the message again.
    running.kill().await;
    let running = Running::start(&bus, distributors(&bus), &handler);
    // Whoever consumes the dead letters makes their queue anew.
    let second = next_dead_letter(&subject, &topology).await;
    assert_ne!(second.id, first.id);
    assert_eq!(second.correlation_id, Some(id.to_string()));
    running.end().await;
    assert!(left(&subject, &topology.distributor()).await.is_empty());
}

/// Replays what [`next_dead_letter`] took.
pub async fn replay(bus: &Bus, dead: &Message) -> Result<(), PublishError> {
    let dead = DeadLetter::read(dead, bus.max_event_bytes()).unwrap();
    bus.replay(&dead.message, &dead.queue.unwrap(), now()).await
}

pub async fn case_26_a_dead_letter_that_is_replayed_comes_as_if_for_the_first_time_and_only_to_its_queue<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let handler = Scripted::new([(3, Outcome::Reject(Failure::new(Cause::Rejected, "not with this code")))]);
    let running = Running::start(&bus, distributors(&bus), &handler);
    let id = ObjectId::new();
    publish_on(&bus, &numbered(&bus, id, 3)).await;
    let dead = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(dead.headers[DEAD_REASON], "not with this code");
    replay(&bus, &dead).await.unwrap();
    handler.was_given(id, 1).await;
    running.end().await;
    assert_eq!(left(&subject, &bus.topology().statistics()).await, [id], "nobody else sees it again");
    assert!(left(&subject, &bus.topology().dead_letters()).await.is_empty());
}

pub async fn case_26_a_task_that_is_replayed_is_the_same_task_in_the_next_round<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let (object, operation) = (ObjectId::new(), "nop".parse().unwrap());
    let task = Task {
        id: TaskId::of(object, 2, 1),
        object_id: object,
        part: 1,
        parts: 2,
        operation,
        parameters: Default::default(),
        data: "[1]".parse().unwrap(),
        round: 0,
    };
    let queue = bus.topology().processor(&task.operation);
    let mut message = bus.encode(&TaskCreated { task: task.clone() }, now(), None).unwrap();
    let mut ids = BTreeSet::from([message.id.clone()]);
    let mut consumer = subject.transport().subscribe(Source::Shared(queue.clone()), 1);
    for round in 1..=2 {
        bus.replay(&message, &queue.name, now()).await.unwrap();
        let delivery = next(&mut *consumer).await;
        consumer.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
        message = delivery.message;
        let received = decode::<TaskCreated>(&message, bus.max_event_bytes()).unwrap();
        assert_eq!(received.event.task, Task { round, ..task.clone() });
        assert_eq!(message.headers[ROUND], round);
        assert!(ids.insert(message.id.clone()), "another event");
    }
    // To whoever else has a queue it is but a message.
    let elsewhere = bus.topology().distributor();
    bus.replay(&message, &elsewhere.name, now()).await.unwrap();
    let again = next(&mut *subject.transport().subscribe(Source::Shared(elsewhere), 1)).await.message;
    assert_eq!((&again.id, &again.body, &again.headers[ROUND]), (&message.id, &message.body, &3.into()));
}

pub async fn case_26_a_dead_letter_of_no_work_queue_cannot_be_replayed<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let dead = numbered(&bus, ObjectId::new(), 1);
    for name in ["", "another.distributor", "distributor", "processor.pow", "dead", "processor.Not a name"] {
        let name_is_known = ["distributor", "processor.pow"].contains(&name);
        let result = bus.replay(&dead, &format!("{}.{name}", subject.exchange()), now()).await;
        assert_eq!(result.is_ok(), name_is_known, "{name}: {result:?}");
        assert!(name_is_known || matches!(result, Err(PublishError::Unroutable { .. })), "{name}: {result:?}");
    }
}
