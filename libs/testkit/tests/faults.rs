//! Each fault is what it says, and no more than the delivery contract allows.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use bus::{
    Acknowledge, AcknowledgeError, Message, PublishError, Source, Subscription, Topology, Transport,
    embedded::{Embedded, Limits, Memory},
};
use testkit::{Breach, Crash, Fault, Faults, Faulty, Injector};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// Whatever is on its way comes sooner; the clock is paused.
const SILENCE: Duration = Duration::from_secs(60);

struct World {
    injector: Injector,
    plain: Arc<dyn Transport>,
    faulty: Faulty,
    topology: Topology,
}

impl World {
    /// With a queue that gets everything.
    async fn with(faults: Faults) -> Self {
        let plain: Arc<dyn Transport> = Arc::new(Embedded::in_memory(&Memory::default(), Limits::default()));
        let topology = Topology::new("test");
        plain.ensure(topology.events(), vec![topology.statistics()]).await;
        let injector = Injector::new(1, faults);
        let faulty = injector.wrap("program", plain.clone());
        Self { injector, plain, faulty, topology }
    }

    async fn publish(&self, ids: &[&str]) -> Vec<Result<(), PublishError>> {
        let exchange = self.topology.events().name;
        let message = |id: &&str| Message { exchange: exchange.clone(), id: (*id).to_owned(), ..Message::default() };
        self.faulty.publish(ids.iter().map(message).collect(), PATIENCE).await
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        self.faulty.subscribe(Source::Shared(self.topology.statistics()), 10)
    }

    /// What is there, without faults.
    async fn content(&self) -> Vec<String> {
        let subscription = self.plain.subscribe(Source::Shared(self.topology.statistics()), 100);
        ids(subscription).await
    }

    fn count(&self, fault: Fault) -> u64 {
        self.injector.injected().get(&fault).copied().unwrap_or_default()
    }
}

/// All that comes, none of it acknowledged.
async fn ids(mut subscription: Box<dyn Subscription>) -> Vec<String> {
    let mut ids = Vec::new();
    while let Ok(Some(delivery)) = timeout(SILENCE, subscription.next()).await {
        ids.push(delivery.message.id);
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn without_faults_nothing_goes_wrong() {
    let world = World::with(Faults::default()).await;
    assert_eq!(world.publish(&["a", "b"]).await, [Ok(()), Ok(())]);
    let mut subscription = world.subscribe();
    for id in ["a", "b"] {
        let delivery = subscription.next().await.unwrap();
        assert_eq!((delivery.message.id.as_str(), delivery.earlier_deliveries), (id, 0));
        subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await.unwrap();
    }
    drop(subscription);
    assert_eq!(world.content().await, Vec::<String>::new());
    assert!(world.injector.injected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_doubled_dropped_or_late_as_the_table_says() {
    let unknown = [Err(PublishError::Unknown(PATIENCE))];
    for (fault, faults, result, at_once, later) in [
        (Fault::Duplicate, Faults { duplicate: 1.0, ..Faults::default() }, &[Ok(())], 2, 2),
        (Fault::Delay, Faults { delay: 1.0, ..Faults::default() }, &[Ok(())], 1, 1),
        (Fault::DropBeforeConfirm, Faults { drop_before_confirm: 1.0, ..Faults::default() }, &unknown, 0, 0),
        (Fault::DropAfterAccept, Faults { drop_after_accept: 1.0, ..Faults::default() }, &unknown, 1, 1),
        (Fault::Late, Faults { late: 1.0, ..Faults::default() }, &unknown, 0, 1),
    ] {
        let world = World::with(faults).await;
        assert_eq!(world.publish(&["a"]).await, result, "{fault:?}");
        let waiting = world.plain.subscribe(Source::Shared(world.topology.statistics()), 100);
        let count = ids(waiting).await.len();
        // Late may mean soon.
        assert!((at_once..=later).contains(&count), "{fault:?}: {count}");
        tokio::time::sleep(SILENCE).await;
        assert_eq!(world.content().await.len(), later, "{fault:?}");
        assert_eq!(world.count(fault), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_comes_after_what_is_published_later() {
    let world = World::with(Faults { reorder: 1.0, ..Faults::default() }).await;
    let (first, second) = tokio::join!(world.publish(&["a"]), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.injector.calm();
        world.publish(&["b"]).await
    });
    assert_eq!([first, second].concat(), [Ok(()), Ok(())]);
    assert_eq!(world.content().await, ["b", "a"]);
    assert_eq!(world.count(Fault::Reorder), 1);
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_doubled_and_overtaken_within_the_prefetch() {
    let world = World::with(Faults { duplicate_delivery: 1.0, ..Faults::default() }).await;
    world.publish(&["a", "b"]).await;
    assert_eq!(ids(world.subscribe()).await, ["a", "a", "b", "b"]);

    let world = World::with(Faults { reorder_delivery: 1.0, ..Faults::default() }).await;
    world.publish(&["a", "b"]).await;
    assert_eq!(ids(world.subscribe()).await, ["b", "a"]);
    assert_eq!(world.count(Fault::ReorderDelivery), 1);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_is_lost_makes_the_message_come_again_whether_said_or_not() {
    for (faults, result) in [
        (Faults { lose_acknowledgement: 1.0, ..Faults::default() }, Err(AcknowledgeError::Lost)),
        (Faults { forget_acknowledgement: 1.0, ..Faults::default() }, Ok(())),
    ] {
        let world = World::with(faults).await;
        world.publish(&["a"]).await;
        let mut subscription = world.subscribe();
        let first = subscription.next().await.unwrap();
        assert_eq!(subscription.acknowledge(first.receipt, Acknowledge::One).await, result);
        let again = subscription.next().await.unwrap();
        assert_eq!((again.message.id.as_str(), again.earlier_deliveries), ("a", 1));
        assert!(again.receipt > first.receipt);
        world.injector.calm();
        subscription.acknowledge(again.receipt, Acknowledge::One).await.unwrap();
        drop(subscription);
        assert_eq!(world.content().await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_voids_what_was_delivered_and_hands_it_back() {
    let world = World::with(Faults::default()).await;
    world.publish(&["a", "b"]).await;
    let mut subscription = world.subscribe();
    let (a, b) = (subscription.next().await.unwrap(), subscription.next().await.unwrap());
    world.injector.set(Faults { end_session: 1.0, ..Faults::default() });
    subscription.acknowledge(a.receipt, Acknowledge::One).await.unwrap();
    world.injector.calm();
    assert_eq!(subscription.acknowledge(b.receipt, Acknowledge::UpTo).await, Err(AcknowledgeError::Lost));
    let again = subscription.next().await.unwrap();
    assert_eq!((again.message.id.as_str(), again.earlier_deliveries), ("b", 1));
    assert!(again.receipt > b.receipt);
}

#[tokio::test(start_paused = true)]
async fn a_program_dies_at_the_planned_moment_before_or_after_the_bus_has_heard() {
    for (moment, fault, content) in [(1, Fault::CrashBefore, 0), (2, Fault::CrashAfter, 1)] {
        let world = World::with(Faults::default()).await;
        world.injector.plan(Crash { moment });
        tokio::select! {
            results = world.publish(&["a"]) => panic!("it lives: {results:?}"),
            name = world.injector.crashed() => assert_eq!(name, "program"),
        }
        assert!(timeout(SILENCE, world.publish(&["b"])).await.is_err(), "the dead do not publish");
        assert_eq!(world.content().await.len(), content);
        assert_eq!(world.count(fault), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_breach_is_a_promise_broken() {
    let world = World::with(Faults { drop_before_confirm: 1.0, ..Faults::default() }).await;
    world.injector.breach(Breach::ConfirmsWhatIsDropped);
    assert_eq!(world.publish(&["a"]).await, [Ok(())]);
    assert_eq!(world.content().await, Vec::<String>::new());

    let world = World::with(Faults::default()).await;
    world.injector.breach(Breach::AcknowledgesWhatIsDelivered);
    world.publish(&["a"]).await;
    let mut subscription = world.subscribe();
    subscription.next().await.unwrap();
    drop(subscription);
    assert_eq!(world.content().await, Vec::<String>::new());
}
