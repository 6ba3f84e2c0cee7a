//! The loops that consume everything in batches, and that listen.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{
    AnyEvent, BatchError, Batches, Binding, Bus, Cause, DEAD_CAUSE, DEAD_QUEUE, DEAD_REASON, DEAD_TIME, DeadLetter,
    HandleBatch, Hear, Message, Owner, ROUND, Received, encode,
    events::{Event, ObjectId, TaskStarted},
    now,
};
use testkit::eventually;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    events::{attempt, object},
    kit::{PATIENCE, bus, drain, message, publish},
    loops::{GRACE, KEY, left, submit},
    retrying::{next_dead_letter, publish_on, replay},
    subject::Subject,
};

fn statistics(bus: &Bus) -> Batches {
    Batches {
        queue: bus.topology().statistics(),
        owner: Owner::new(&bus.topology().statistics_owner()),
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

impl HandleBatch<Received<AnyEvent>> for Taker {
    async fn handle(&self, events: &[Received<AnyEvent>]) -> Result<(), BatchError> {
        if self.refused.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(BatchError::Unavailable("no room".to_owned()));
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

/// Ends its process at one object; as long as that lives, it handles the others.
struct Mortal {
    poison: ObjectId,
    handled: Mutex<BTreeSet<ObjectId>>,
    crashes: AtomicUsize,
    crashed: Notify,
}

impl HandleBatch<Received<AnyEvent>> for Mortal {
    async fn handle(&self, events: &[Received<AnyEvent>]) -> Result<(), BatchError> {
        let ids = BTreeSet::from_iter(events.iter().filter_map(|received| match &received.event {
            AnyEvent::ObjectCreated(event) => Some(event.object.id),
            _ => None,
        }));
        if ids.contains(&self.poison) {
            self.crashes.fetch_add(1, Ordering::SeqCst);
            self.crashed.notify_one();
            pending::<()>().await;
        }
        self.handled.lock().unwrap().extend(ids);
        Ok(())
    }
}

pub async fn case_24_what_crashes_whoever_takes_it_in_a_batch_is_set_aside_and_all_the_rest_is_handled<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let mut ids = submit(&bus, 30).await;
    let poison = *ids.iter().nth(20).unwrap();
    ids.remove(&poison);
    let (handled, crashes, crashed) = (Mutex::default(), AtomicUsize::new(0), Notify::new());
    let mortal = Arc::new(Mortal { poison, handled, crashes, crashed });
    let shutdown = CancellationToken::new();
    let running = {
        let (mortal, bus, shutdown) = (mortal.clone(), bus.clone(), shutdown.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = statistics(&bus).run(bus.clone(), &*mortal, shutdown.clone()) => return,
                    () = mortal.crashed.notified() => {}
                }
            }
        })
    };
    let dead = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(dead.correlation_id, Some(poison.to_string()));
    assert_eq!(dead.headers[DEAD_CAUSE], Cause::CrashLoop.as_str());
    eventually(async || match mortal.handled.lock().unwrap().len() {
        29 => Ok(()),
        count => Err(format!("{count} of 29")),
    })
    .await;
    assert_eq!(*mortal.handled.lock().unwrap(), ids);
    let crashes = mortal.crashes.load(Ordering::SeqCst);
    assert!((10..=20).contains(&crashes), "{crashes} crashes");
    shutdown.cancel();
    running.await.unwrap();
    assert!(left(&subject, &bus.topology().statistics()).await.is_empty(), "all were acknowledged");
    assert!(left(&subject, &bus.topology().dead_letters()).await.is_empty(), "no neighbour is one");
}

/// Cannot do anything about some objects: of one it says so, of another it panics.
struct Particular {
    bad: ObjectId,
    dreadful: ObjectId,
    handled: Mutex<Vec<ObjectId>>,
}

impl HandleBatch<Received<AnyEvent>> for Particular {
    async fn handle(&self, events: &[Received<AnyEvent>]) -> Result<(), BatchError> {
        let ids = events.iter().filter_map(|received| match &received.event {
            AnyEvent::ObjectCreated(event) => Some(event.object.id),
            _ => None,
        });
        let ids: Vec<ObjectId> = ids.collect();
        assert!(!ids.contains(&self.dreadful), "this is why the test says that something panicked");
        if ids.contains(&self.bad) {
            return Err(BatchError::Bad("not this one".to_owned()));
        }
        self.handled.lock().unwrap().extend(ids);
        Ok(())
    }
}

pub async fn case_09_what_can_never_be_handled_is_set_aside_alone_and_all_the_rest_is_handled<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let mut ids: Vec<ObjectId> = submit(&bus, 30).await.into_iter().collect();
    let (bad, dreadful) = (ids.remove(20), ids.remove(7));
    let particular = Arc::new(Particular { bad, dreadful, handled: Mutex::default() });
    let shutdown = CancellationToken::new();
    let running = {
        let (particular, bus, shutdown) = (particular.clone(), bus.clone(), shutdown.clone());
        let batches = statistics(&bus);
        tokio::spawn(async move { batches.run(bus, &*particular, shutdown).await })
    };
    let dead = [next_dead_letter(&subject, bus.topology()).await, next_dead_letter(&subject, bus.topology()).await];
    let said = dead.map(|dead| (dead.correlation_id.unwrap(), dead.headers[DEAD_REASON].as_str().unwrap().to_owned()));
    let expected = [(dreadful.to_string(), "the handler panicked"), (bad.to_string(), "not this one")];
    for (id, reason) in expected {
        assert!(said.contains(&(id, reason.to_owned())), "{said:?}");
    }
    eventually(async || match particular.handled.lock().unwrap().len() {
        28 => Ok(()),
        count => Err(format!("{count} of 28")),
    })
    .await;
    let mut handled = particular.handled.lock().unwrap().clone();
    handled.sort();
    assert_eq!(handled, ids, "each of them once");
    shutdown.cancel();
    running.await.unwrap();
    assert!(left(&subject, &bus.topology().statistics()).await.is_empty(), "all were acknowledged");
}

/// Has nothing against any event.
struct Indifferent;

impl HandleBatch<Received<AnyEvent>> for Indifferent {
    async fn handle(&self, _: &[Received<AnyEvent>]) -> Result<(), BatchError> {
        Ok(())
    }
}

pub async fn case_26_what_is_replayed_to_the_statistics_and_fails_again_is_the_dead_letter_of_the_next_round<
    S: Subject,
>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let (batches, consuming) = (statistics(&bus), bus.clone());
    tokio::spawn(async move { batches.run(consuming, &Indifferent, CancellationToken::new()).await });
    let event = bus.encode(&object(ObjectId::new(), "nop"), now(), None).unwrap();
    publish_on(&bus, &Message { body: "{".into(), ..event }).await;
    let mut first = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(first.headers[DEAD_QUEUE].as_str(), Some(bus.topology().statistics().name.as_str()));
    replay(&bus, &first).await.unwrap();
    let mut second = next_dead_letter(&subject, bus.topology()).await;
    assert_eq!(second.headers.remove(ROUND), Some(1.into()));
    for dead in [&mut first, &mut second] {
        dead.headers.remove(DEAD_TIME);
    }
    assert_eq!(second, first);
}

/// What came, in order: the ids of objects and of fences.
#[derive(Default)]
struct InOrder(Mutex<Vec<String>>);

impl InOrder {
    async fn until_it_has(&self, count: usize) -> Vec<String> {
        eventually(async || {
            let came = self.0.lock().unwrap().clone();
            if came.len() >= count { Ok(came) } else { Err(format!("{came:?}")) }
        })
        .await
    }
}

impl HandleBatch<Received<AnyEvent>> for InOrder {
    async fn handle(&self, events: &[Received<AnyEvent>]) -> Result<(), BatchError> {
        let ids = events.iter().map(|received| match &received.event {
            AnyEvent::Fence => received.envelope.id.clone(),
            _ => received.envelope.correlation_id.clone().unwrap(),
        });
        self.0.lock().unwrap().extend(ids);
        Ok(())
    }
}

impl HandleBatch<DeadLetter> for InOrder {
    async fn handle(&self, letters: &[DeadLetter]) -> Result<(), BatchError> {
        let ids = letters.iter().map(|letter| letter.fence().map_or_else(|| letter.message.id.clone(), str::to_owned));
        self.0.lock().unwrap().extend(ids);
        Ok(())
    }
}

pub async fn case_26_a_fence_comes_behind_everything_that_was_confirmed_before_it_in_both_queues<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let topology = bus.topology().clone();
    let objects = submit(&bus, 10).await.len();
    let dead = message(&topology.dead_letters_exchange().name, "", "a dead letter");
    subject.transport().ensure(topology.dead_letters_exchange(), vec![topology.dead_letters()]).await;
    publish(&*subject.transport(), vec![dead]).await;
    bus.fence("the fence").await.unwrap();
    let (events, letters) = (Arc::new(InOrder::default()), Arc::new(InOrder::default()));
    let batches = statistics(&bus);
    let of_letters = Batches { queue: topology.dead_letters(), ..batches.clone() };
    let (consuming, taker) = (bus.clone(), events.clone());
    tokio::spawn(
        async move { batches.run::<Received<AnyEvent>, _>(consuming, &*taker, CancellationToken::new()).await },
    );
    let (consuming, taker) = (bus.clone(), letters.clone());
    tokio::spawn(async move { of_letters.run::<DeadLetter, _>(consuming, &*taker, CancellationToken::new()).await });
    let came = events.until_it_has(objects + 1).await;
    assert_eq!(came[objects], "the fence", "{came:?}");
    assert_eq!(letters.until_it_has(2).await, ["a dead letter", "the fence"]);
    assert!(left(&subject, &topology.distributor()).await.len() == objects, "nobody else sees it");
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
