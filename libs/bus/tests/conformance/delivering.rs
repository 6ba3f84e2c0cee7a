//! Delivering: everything, to one subscription at a time, again and again until it is acknowledged.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{Acknowledge, PublishError, Source};
use testkit::eventually;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    kit::{PATIENCE, drain, id_set, ids, message, next, numbered, publish, queue, take, topic, with_messages},
    subject::{Foreign, Subject},
};

pub async fn case_03_concurrent_publishers_and_subscribers_lose_nothing_and_get_nothing_twice<S: Subject>() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 60;
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut subscribers = JoinSet::new();
    for _ in 0..4 {
        let (transport, seen) = (subject.transport(), seen.clone());
        let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 10);
        subscribers.spawn(async move {
            while let Some(delivery) = subscription.next().await {
                subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
                seen.lock().unwrap().push(delivery.message.id);
            }
            drop(transport);
        });
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (transport, exchange) = (transport.clone(), subject.exchange().to_owned());
        publishers.spawn(async move {
            for number in 0..EACH / 3 {
                let id = |offset| publisher * EACH + number * 3 + offset;
                publish(&*transport, (0..3).map(|offset| message(&exchange, "a.b", id(offset))).collect()).await;
            }
        });
    }
    publishers.join_all().await;
    eventually(async || match seen.lock().unwrap().len() {
        count if count >= PUBLISHERS * EACH => Ok(()),
        count => Err(format!("{count} of {}", PUBLISHERS * EACH)),
    })
    .await;
    subscribers.shutdown().await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), PUBLISHERS * EACH, "none came twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), numbered(0..PUBLISHERS * EACH));
}

pub async fn case_06_one_consumer_gets_the_messages_in_their_order<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 600).await;
    let mut subscription = transport.subscribe(Source::Shared(queue), 50);
    for expected in 0..600 {
        let delivery = next(&mut *subscription).await;
        assert_eq!(delivery.message.id, expected.to_string());
        subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await.unwrap();
    }
}

pub async fn case_07_no_delivery_beyond_prefetch_until_acknowledged<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 10).await;
    let mut first = transport.subscribe(Source::Shared(queue.clone()), 3);
    let held = take(&mut *first, 3).await;
    assert_eq!(ids(&held), ["0", "1", "2"]);
    // Were another one delivered to the first, the second would not get all the others.
    let mut second = transport.subscribe(Source::Shared(queue.clone()), 7);
    assert_eq!(id_set(&take(&mut *second, 7).await), numbered(3..10));
    publish(&*transport, (10..15).map(|id| message(subject.exchange(), "a.b", id)).collect()).await;
    // Room for two: of five that wait, the first gets two, and a third subscription the rest.
    first.acknowledge(held[1].receipt, Acknowledge::UpTo).await.unwrap();
    assert_eq!(ids(&take(&mut *first, 2).await), ["10", "11"]);
    let mut third = transport.subscribe(Source::Shared(queue), 100);
    assert_eq!(ids(&take(&mut *third, 3).await), ["12", "13", "14"]);
}

pub async fn case_08_what_is_handed_back_comes_again_and_says_how_often_it_came<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 4).await;
    let mut first = transport.subscribe(Source::Shared(queue.clone()), 10);
    for delivery in take(&mut *first, 4).await {
        assert_eq!(delivery.earlier_deliveries, 0);
        if delivery.message.id == "2" {
            first.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
        }
    }
    drop(first);
    for earlier_deliveries in 1..=3 {
        let mut again = transport.subscribe(Source::Shared(queue.clone()), 10);
        let deliveries = take(&mut *again, 3).await;
        assert_eq!(id_set(&deliveries), ["0", "1", "3"].map(str::to_owned).into());
        assert_eq!(deliveries.iter().map(|d| d.earlier_deliveries).collect::<Vec<_>>(), [earlier_deliveries; 3]);
    }
}

pub async fn case_09_publishing_and_consuming_go_on_after_errors<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 2);
    for number in 0..20 {
        let bad = transport.publish(vec![message(subject.exchange(), "bad", number)], PATIENCE).await;
        assert!(matches!(bad[..], [Err(PublishError::Unroutable { .. })]), "{bad:?}");
        publish(&*transport, vec![message(subject.exchange(), "a.b", number)]).await;
        let delivery = next(&mut *subscription).await;
        assert_eq!(delivery.message.id, number.to_string());
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap_err();
    }
    eventually(async || transport.status()).await;
}

pub async fn case_10_what_a_subscriber_leaves_unacknowledged_is_delivered_elsewhere<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 30).await;
    let mut first = transport.subscribe(Source::Shared(queue.clone()), 10);
    let held = id_set(&take(&mut *first, 10).await);
    let elsewhere = subject.transport();
    let mut second = elsewhere.subscribe(Source::Shared(queue.clone()), 100);
    let others = id_set(&take(&mut *second, 20).await);
    assert!(held.is_disjoint(&others), "nothing is in two hands");
    drop(first);
    let handed_over = take(&mut *second, 10).await;
    assert_eq!(id_set(&handed_over), held);
    assert!(handed_over.iter().all(|delivery| delivery.earlier_deliveries == 1));
    second.acknowledge(handed_over[9].receipt, Acknowledge::UpTo).await.unwrap();
    drop(second);
    assert!(drain(&*transport, &queue, "a.b").await.is_empty());
}

pub async fn case_28_a_subscription_that_is_dropped_while_it_begins_holds_nothing<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 5).await;
    for tenths in 0..100 {
        let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 5);
        // Each at another moment of its beginning.
        let _ = timeout(Duration::from_micros(tenths * 100), subscription.next()).await;
    }
    let mut subscription = transport.subscribe(Source::Shared(queue), 5);
    assert_eq!(id_set(&take(&mut *subscription, 5).await), numbered(0..5));
}

pub async fn case_28_waiting_for_a_delivery_can_be_given_up_at_any_moment_and_loses_none<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    let mut subscription = transport.subscribe(Source::Shared(queue), 7);
    let given_up = AtomicUsize::new(0);
    let publishing = async {
        for number in 0..200 {
            publish(&*transport, vec![message(subject.exchange(), "a.b", number)]).await;
        }
    };
    let consuming = async {
        for expected in 0..200 {
            let mut patience = (0..6).map(|step| Duration::from_micros(step * 70)).cycle();
            let delivery = loop {
                match timeout(patience.next().unwrap(), subscription.next()).await {
                    Ok(delivery) => break delivery.unwrap(),
                    Err(_) => given_up.fetch_add(1, Ordering::SeqCst),
                };
            };
            assert_eq!(delivery.message.id, expected.to_string());
            subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
        }
    };
    timeout(PATIENCE * 2, async { tokio::join!(publishing, consuming) }).await.unwrap();
    assert!(given_up.load(Ordering::SeqCst) > 0, "it was given up at times");
}

pub async fn case_29_a_subscription_that_the_broker_ended_is_an_error_and_is_built_anew<S: Foreign>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 1).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
    next(&mut *subscription).await;
    let (foreign, began) = (subject.foreign_client().await, Instant::now());
    // It is said for half a second only, until all is there again: on a busy machine that may be missed, once.
    let mut is_there = true;
    eventually(async || {
        if std::mem::take(&mut is_there) {
            let name = queue.name.as_str().into();
            foreign.queue_delete(name, lapin::options::QueueDeleteOptions::default()).await.unwrap();
        }
        match transport.status() {
            Err(reason) if reason.contains(&queue.name) && reason.contains("ended the consumer") => Ok(()),
            other => {
                is_there = other.is_ok() && began.elapsed() > Duration::from_secs(5);
                Err(format!("{other:?}"))
            }
        }
    })
    .await;
    eventually(async || transport.status()).await;
    publish(&*transport, vec![message(subject.exchange(), "a.b", "new")]).await;
    assert_eq!(next(&mut *subscription).await.message.id, "new");
}

pub async fn case_35_a_queue_keeps_what_is_published_while_nobody_consumes<S: Subject>() {
    let subject = S::fresh().await;
    // A publisher makes sure of the queues that must be reached, though nobody has consumed them yet.
    let (transport, queue) = with_messages(&subject, 100).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 100);
    let taken = take(&mut *subscription, 50).await;
    subscription.acknowledge(taken[49].receipt, Acknowledge::UpTo).await.unwrap();
    drop((subscription, transport));
    let transport = subject.reopen().await;
    transport.ensure(topic(subject.exchange()), vec![self::queue(subject.exchange(), "work", "a.#")]).await;
    publish(&*transport, (100..150).map(|id| message(subject.exchange(), "a.b", id)).collect()).await;
    assert_eq!(id_set(&drain(&*transport, &queue, "a.b").await), numbered(50..150));
}
