//! Types of one's own beside the system's events.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bus::{
    Binding, Bus, CloudEvent, DEAD_REASON, Handle, Hear, Outcome, PublishError, Queue, Received, Slot,
    events::InvalidEvent,
};
use serde::{Deserialize, Serialize};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    kit::{PATIENCE, bus},
    loops::distributors,
    retrying::next_dead_letter,
    subject::Subject,
};

/// No object, no operation, no id of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Rang {
    bell: u32,
}

impl CloudEvent for Rang {
    const TYPE: &'static str = "BELL_RANG";

    fn routing_key(&self) -> String {
        format!("bell.rang.{}", self.bell)
    }

    fn validate(&self) -> Result<(), InvalidEvent> {
        if self.bell == CRACKED { Err(InvalidEvent::new("the bell is cracked")) } else { Ok(()) }
    }
}

/// The bell that cannot have rung.
const CRACKED: u32 = 99;

#[derive(Default)]
struct Ears(Mutex<Vec<Rang>>);

impl Ears {
    async fn until_heard(&self, count: usize) -> Vec<Rang> {
        eventually(async || {
            let heard = self.0.lock().unwrap().clone();
            if heard.len() < count { Err(format!("{heard:?}")) } else { Ok(heard) }
        })
        .await
    }
}

impl Hear<Rang> for Ears {
    async fn hear(&self, received: Received<Rang>) {
        assert_eq!((received.envelope.kind.as_str(), received.envelope.subject), ("BELL_RANG", None));
        self.0.lock().unwrap().push(received.event);
    }
}

impl Handle<Rang> for Ears {
    async fn handle(&self, received: Received<Rang>, _: Slot) -> Outcome {
        self.0.lock().unwrap().push(received.event);
        Outcome::Done
    }
}

fn bells(bus: &Bus) -> Vec<Binding> {
    vec![Binding { exchange: bus.topology().events(), pattern: "bell.#".to_owned() }]
}

fn ringers(bus: &Bus) -> Queue {
    bus.topology().work("ringers", "bell.rang.*")
}

pub async fn case_05_an_event_of_ones_own_type_is_done_by_one_who_competes_and_heard_by_all_who_listen<S: Subject>() {
    let subject = S::fresh().await;
    let bus = bus(&subject);
    let nobody = bus.publish_to(&[], &Rang { bell: 0 }, PATIENCE).await;
    assert_eq!(nobody, Err(PublishError::Unroutable { routing_key: "bell.rang.0".to_owned() }));

    // Before anybody consumes it, and the one that is none is set aside.
    for bell in [1, CRACKED, 2] {
        bus.publish_to(&[ringers(&bus)], &Rang { bell }, PATIENCE).await.unwrap();
    }
    let listeners = [(); 2].map(|()| Arc::new(Ears::default()));
    for listener in &listeners {
        tokio::spawn(bus.listen(bells(&bus), listener.clone(), CancellationToken::new()));
    }
    let competing = [(); 2].map(|()| Arc::new(Ears::default()));
    for ears in &competing {
        let queue = bus::WorkQueue { queue: ringers(&bus), ..distributors(&bus) };
        tokio::spawn(queue.run::<Rang, _>(bus.clone(), ears.clone(), CancellationToken::new()));
    }
    let dead = next_dead_letter(&subject, bus.topology()).await;
    assert!(
        dead.headers[DEAD_REASON].as_str().is_some_and(|reason| reason.contains("the bell is cracked")),
        "{dead:?}"
    );

    // Now that all listen: what is said before is not heard.
    eventually(async || {
        bus.publish_to(&[], &Rang { bell: 3 }, PATIENCE).await.map_err(|error| error.to_string())?;
        let deaf = listeners.iter().filter(|listener| listener.0.lock().unwrap().is_empty()).count();
        if deaf == 0 { Ok(()) } else { Err(format!("{deaf} have not heard")) }
    })
    .await;
    for bell in 10..30 {
        bus.publish_to(&[ringers(&bus)], &Rang { bell }, PATIENCE).await.unwrap();
    }
    let done = eventually(async || {
        let done: Vec<Rang> = competing.iter().flat_map(|ears| ears.0.lock().unwrap().clone()).collect();
        let of_these: Vec<_> = done.into_iter().filter(|rang| rang.bell != 3).collect();
        if of_these.len() < 22 { Err(format!("{of_these:?}")) } else { Ok(of_these) }
    })
    .await;
    assert_eq!(done.len(), 22, "each once: {done:?}");
    let bells: BTreeSet<_> = done.iter().map(|rang| rang.bell).collect();
    assert_eq!(bells, [1, 2].into_iter().chain(10..30).collect());
    for listener in &listeners {
        let heard = eventually(async || {
            let heard: Vec<_> =
                listener.0.lock().unwrap().iter().map(|rang| rang.bell).filter(|bell| *bell != 3).collect();
            if heard.len() < 20 { Err(format!("{heard:?}")) } else { Ok(heard) }
        })
        .await;
        assert_eq!(heard, Vec::from_iter(10..30), "in order, and nothing from before");
    }
}

pub async fn case_05_who_listens_hears_all_that_is_said_from_when_the_status_is_good<S: Subject>() {
    let subject = S::fresh().await;
    let (bus, ears) = (bus(&subject), Arc::new(Ears::default()));
    let listening = bus.listen(bells(&bus), ears.clone(), CancellationToken::new());
    eventually(async || bus.status()).await;
    // Nobody has polled it, and it has begun.
    bus.publish_to(&[], &Rang { bell: 7 }, PATIENCE).await.unwrap();
    tokio::spawn(listening);
    assert_eq!(ears.until_heard(1).await, [Rang { bell: 7 }]);
}
