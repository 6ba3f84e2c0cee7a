//! The consumer loops over a real broker: work queues, batches, broadcasts.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{
    AnyEvent, Batches, Binding, Bus, DEAD_QUEUE, DEAD_REASON, Handle, HandleBatch, Hear, Message, Outcome, Received,
    WorkQueue, encode,
    events::{Event, ObjectCreated, ObjectId, TaskStarted},
    now,
};
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use testkit::{eventually, shared_broker_url, waiting_messages};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::kit::{PATIENCE, attempt, bus, foreign_client, object};

const GRACE: Duration = Duration::from_secs(5);

/// Records what it is given; answers as it is told.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<ObjectId>>,
    failures: AtomicUsize,
    answer: Mutex<Option<Outcome>>,
}

impl Handle<ObjectCreated> for Recorder {
    async fn handle(&self, received: Received<ObjectCreated>) -> Outcome {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Outcome::Retry("not yet".to_owned());
        }
        self.seen.lock().unwrap().push(received.event.object.id);
        self.answer.lock().unwrap().clone().unwrap_or(Outcome::Done)
    }
}

fn distributors(bus: &Bus) -> WorkQueue {
    WorkQueue { queue: bus.topology().distributor(), concurrency: 4, prefetch: 8, grace: GRACE }
}

/// Publishes objects that nobody else sees; their ids.
async fn submit(bus: &Bus, count: usize) -> BTreeSet<ObjectId> {
    let events: Vec<_> = (0..count).map(|_| object(ObjectId::new(), "nop")).collect();
    bus.publish_all(&events, None, PATIENCE).await.unwrap();
    events.iter().map(|event| event.object.id).collect()
}

/// How many messages wait in a queue.
async fn waiting(queue: &str) -> u32 {
    waiting_messages(&shared_broker_url(), queue).await.unwrap().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_handled_by_one_of_those_who_compete_for_it() {
    let bus = bus();
    let shutdown = CancellationToken::new();
    let recorders = [(); 3].map(|()| Arc::new(Recorder::default()));
    let tasks = recorders.clone().map(|recorder| {
        tokio::spawn(distributors(&bus).run::<ObjectCreated, _>(bus.clone(), recorder, shutdown.clone()))
    });
    let submitted = submit(&bus, 300).await;
    let seen = eventually(async || {
        let seen: Vec<ObjectId> = recorders.iter().flat_map(|r| r.seen.lock().unwrap().clone()).collect();
        if seen.len() < 300 { Err(format!("{} of 300", seen.len())) } else { Ok(seen) }
    })
    .await;
    assert_eq!(seen.len(), 300, "each once");
    assert_eq!(BTreeSet::from_iter(seen), submitted);
    shutdown.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(waiting(&bus.topology().distributor().name).await, 0, "all were acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_to_be_retried_is_tried_again() {
    let bus = bus();
    let shutdown = CancellationToken::new();
    let recorder = Arc::new(Recorder { failures: AtomicUsize::new(1), ..Recorder::default() });
    tokio::spawn(distributors(&bus).run::<ObjectCreated, _>(bus.clone(), recorder.clone(), shutdown.clone()));
    let submitted = submit(&bus, 1).await;
    eventually(async || {
        let seen = BTreeSet::from_iter(recorder.seen.lock().unwrap().clone());
        if seen == submitted { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_or_not_understood_is_set_aside_with_its_reason_and_bytes() {
    let bus = bus();
    let topology = bus.topology().clone();
    let shutdown = CancellationToken::new();
    let recorder = Arc::new(Recorder::default());
    *recorder.answer.lock().unwrap() = Some(Outcome::Reject("never".to_owned()));
    tokio::spawn(distributors(&bus).run::<ObjectCreated, _>(bus.clone(), recorder.clone(), shutdown.clone()));
    submit(&bus, 1).await;
    let foreign = foreign_client().await;
    let publish = foreign.basic_publish(
        topology.events().name.as_str().into(),
        "object.created.nop".into(),
        BasicPublishOptions::default(),
        b"not an event at all",
        lapin::BasicProperties::default().with_message_id("foreign".into()),
    );
    publish.await.unwrap();

    let mut reasons = BTreeSet::new();
    for _ in 0..2 {
        let dead = eventually(async || {
            let queue = topology.dead_letters().name;
            let got = foreign.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await;
            got.map_err(|error| error.to_string())?.ok_or_else(|| "nothing yet".to_owned())
        })
        .await;
        let headers = dead.properties.headers().clone().unwrap();
        let text = |name: &str| match &headers.inner()[name] {
            lapin::types::AMQPValue::LongString(text) => text.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(DEAD_QUEUE), topology.distributor().name);
        if dead.properties.message_id().as_ref().is_some_and(|id| id.as_str() == "foreign") {
            assert_eq!(dead.data, b"not an event at all");
            assert!(text(DEAD_REASON).contains("not a CloudEvent"));
        }
        reasons.insert(text(DEAD_REASON));
    }
    assert!(reasons.contains("never"), "{reasons:?}");
    shutdown.cancel();
}

/// Panics at the first event.
struct Panics(AtomicUsize);

impl Handle<ObjectCreated> for Panics {
    async fn handle(&self, _: Received<ObjectCreated>) -> Outcome {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "the first one panics");
        Outcome::Done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_sets_its_event_aside_and_goes_on() {
    let bus = bus();
    let shutdown = CancellationToken::new();
    let handler = Arc::new(Panics(AtomicUsize::new(0)));
    tokio::spawn(distributors(&bus).run::<ObjectCreated, _>(bus.clone(), handler.clone(), shutdown.clone()));
    submit(&bus, 3).await;
    let dead = bus.topology().dead_letters().name;
    eventually(async || match handler.0.load(Ordering::SeqCst) {
        3 => Ok(()),
        count => Err(format!("{count} of 3")),
    })
    .await;
    eventually(async || if waiting(&dead).await == 1 { Ok(()) } else { Err("not set aside yet".to_owned()) }).await;
    shutdown.cancel();
}

/// Ends when it is let.
struct Slow(Semaphore, AtomicUsize);

impl Handle<ObjectCreated> for Slow {
    async fn handle(&self, _: Received<ObjectCreated>) -> Outcome {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.acquire().await.unwrap().forget();
        Outcome::Done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_what_is_in_the_handler_and_hands_back_the_rest() {
    let bus = bus();
    let shutdown = CancellationToken::new();
    let slow = Arc::new(Slow(Semaphore::new(0), AtomicUsize::new(0)));
    let running = tokio::spawn(distributors(&bus).run::<ObjectCreated, _>(bus.clone(), slow.clone(), shutdown.clone()));
    submit(&bus, 10).await;
    eventually(async || if slow.1.load(Ordering::SeqCst) == 4 { Ok(()) } else { Err("not full".to_owned()) }).await;
    shutdown.cancel();
    slow.0.add_permits(4);
    running.await.unwrap();
    let queue = bus.topology().distributor().name;
    eventually(async || match waiting(&queue).await {
        6 => Ok(()),
        other => Err(format!("{other} wait")),
    })
    .await;
    assert_eq!(slow.1.load(Ordering::SeqCst), 4, "no more than the concurrency");
}

/// Takes batches; refuses the first.
#[derive(Default)]
struct Taker {
    refused: AtomicUsize,
    kinds: Mutex<Vec<&'static str>>,
    largest: AtomicUsize,
}

impl HandleBatch for Taker {
    async fn handle(&self, events: &[Received<AnyEvent>]) -> Result<(), String> {
        if self.refused.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err("no room".to_owned());
        }
        self.largest.fetch_max(events.len(), Ordering::SeqCst);
        self.kinds.lock().unwrap().extend(events.iter().map(|received| match &received.event {
            AnyEvent::ObjectCreated(_) => "created",
            AnyEvent::TaskStarted(_) => "started",
            AnyEvent::Unknown => "unknown",
            _ => "other",
        }));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_bring_every_event_unknown_ones_too_and_set_aside_what_is_none() {
    let bus = bus();
    let topology = bus.topology().clone();
    submit(&bus, 20).await;
    bus.publish(&TaskStarted(attempt(ObjectId::new())), None, PATIENCE).await.unwrap();
    let mut unknown = encode(&object(ObjectId::new(), "nop"), &topology.events().name, "test", now(), None).unwrap();
    unknown.headers.insert("cloudEvents:type".to_owned(), "COFFEE_SPILLED".into());
    let garbage = Message { body: "{".into(), ..unknown.clone() };
    let garbage = Message { headers: serde_json::Map::new(), ..garbage };
    for result in bus.publish_messages(vec![garbage, unknown], PATIENCE).await {
        result.unwrap();
    }
    let taker = Arc::new(Taker::default());
    let shutdown = CancellationToken::new();
    let batches = Batches {
        queue: topology.statistics(),
        owner: topology.statistics_owner(),
        max_events: 8,
        max_bytes: 1 << 20,
        max_wait: Duration::from_millis(20),
        grace: GRACE,
    };
    let running = {
        let (taker, bus, shutdown) = (taker.clone(), bus.clone(), shutdown.clone());
        tokio::spawn(async move { batches.run(bus, &*taker, shutdown).await })
    };
    eventually(async || match taker.kinds.lock().unwrap().len() {
        22.. => Ok(()),
        count => Err(format!("{count} of 22")),
    })
    .await;
    let count = |wanted| taker.kinds.lock().unwrap().iter().filter(|kind| **kind == wanted).count();
    assert_eq!((count("created"), count("started"), count("unknown")), (20, 1, 1));
    assert!(taker.largest.load(Ordering::SeqCst) <= 8);
    assert_eq!(waiting(&topology.dead_letters().name).await, 1);
    shutdown.cancel();
    running.await.unwrap();
    bus.close().await;
    eventually(async || match waiting(&topology.statistics().name).await {
        0 => Ok(()),
        other => Err(format!("{other} wait")),
    })
    .await;
}

/// Remembers what it hears.
#[derive(Default)]
struct Listener(Mutex<Vec<ObjectId>>);

impl Hear<TaskStarted> for Listener {
    async fn hear(&self, event: Received<TaskStarted>) {
        self.0.lock().unwrap().push(event.event.object_id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_hears_every_event() {
    let bus = bus();
    let shutdown = CancellationToken::new();
    let bindings = vec![Binding { exchange: bus.topology().events(), pattern: "task.started.#".to_owned() }];
    let listeners = [(); 2].map(|()| Arc::new(Listener::default()));
    for listener in listeners.clone() {
        let (bus, bindings, shutdown) = (bus.clone(), bindings.clone(), shutdown.clone());
        tokio::spawn(async move { bus.listen(bindings, listener, shutdown).await });
    }
    let event = TaskStarted(attempt(ObjectId::new()));
    // Until both listen: what is said before is not heard.
    eventually(async || {
        bus.publish(&event, None, PATIENCE).await.map_err(|error| error.to_string())?;
        if listeners.iter().all(|listener| !listener.0.lock().unwrap().is_empty()) {
            Ok(())
        } else {
            Err("not all have heard".to_owned())
        }
    })
    .await;
    shutdown.cancel();
}
