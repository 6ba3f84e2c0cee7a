//! The loops that consume everything in batches, and that listen.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{
    AnyEvent, Batches, Binding, Bus, DEAD_QUEUE, HandleBatch, Hear, Message, Received, encode,
    events::{Event, ObjectId, TaskStarted},
    now,
};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    events::{attempt, object},
    kit::{PATIENCE, bus, drain},
    loops::{GRACE, KEY, submit},
    retrying::{next_dead_letter, publish_on},
    subject::Subject,
};

fn statistics(bus: &Bus) -> Batches {
    Batches {
        queue: bus.topology().statistics(),
        owner: bus.topology().statistics_owner(),
        max_events: 8,
        max_bytes: 1 << 20,
        max_wait: Duration::from_millis(20),
        max_pause: Duration::from_millis(2),
        grace: GRACE,
    }
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

pub async fn case_09_batches_bring_every_event_unknown_ones_too_and_set_aside_what_is_none<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let topology = bus.topology().clone();
    submit(&bus, 20).await;
    bus.publish(&TaskStarted(attempt(ObjectId::new())), None, PATIENCE).await.unwrap();
    let mut unknown = encode(&object(ObjectId::new(), "nop"), &topology.events().name, "test", now(), None).unwrap();
    unknown.headers.insert("cloudEvents:type".to_owned(), "COFFEE_SPILLED".into());
    let garbage = Message { body: "{".into(), headers: serde_json::Map::new(), ..unknown.clone() };
    for result in bus.publish_messages(vec![garbage.clone(), unknown], PATIENCE).await {
        result.unwrap();
    }
    let taker = Arc::new(Taker::default());
    let shutdown = CancellationToken::new();
    let running = {
        let (taker, bus, shutdown) = (taker.clone(), bus.clone(), shutdown.clone());
        let batches = statistics(&bus);
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
    shutdown.cancel();
    running.await.unwrap();
    drop(bus);
    let transport = subject.reopen().await;
    let dead = drain(&*transport, &topology.dead_letters(), KEY).await;
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].message.id, &dead[0].message.body), (&garbage.id, &garbage.body));
    assert!(drain(&*transport, &topology.statistics(), KEY).await.is_empty(), "all were acknowledged");
}

/// Has nothing against any event.
struct Indifferent;

impl HandleBatch for Indifferent {
    async fn handle(&self, _: &[Received<AnyEvent>]) -> Result<(), String> {
        Ok(())
    }
}

pub async fn case_26_what_is_redriven_to_the_statistics_and_fails_again_is_the_same_dead_letter_again<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let (batches, consuming) = (statistics(&bus), bus.clone());
    tokio::spawn(async move { batches.run(consuming, &Indifferent, CancellationToken::new()).await });
    let event = bus.encode(&object(ObjectId::new(), "nop"), now(), None).unwrap();
    publish_on(&bus, &Message { body: "{".into(), ..event }).await;
    let first = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(first.headers[DEAD_QUEUE].as_str(), Some(bus.topology().statistics().name.as_str()));
    bus.redrive(&first).await.unwrap();
    let second = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(second, first);
}

/// Remembers what it hears.
#[derive(Default)]
struct Listener(Mutex<Vec<ObjectId>>);

impl Hear<TaskStarted> for Listener {
    async fn hear(&self, event: Received<TaskStarted>) {
        self.0.lock().unwrap().push(event.event.object_id());
    }
}

pub async fn case_05_every_listener_hears_every_event<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
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
