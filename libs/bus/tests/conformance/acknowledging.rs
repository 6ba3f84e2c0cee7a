//! Acknowledging: exactly what is acknowledged does not come again.

use std::time::Duration;

use bus::{Acknowledge, AcknowledgeError, Source};
use testkit::eventually;

use crate::{
    kit::{PATIENCE, drain, id_set, ids, message, next, numbered, publish, take, with_messages},
    subject::{Foreign, Subject},
};

pub async fn case_11_acknowledging_up_to_a_delivery_covers_it_and_the_earlier_ones_only<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 10).await;
    let mut first = transport.subscribe(Source::Shared(queue.clone()), 10);
    let deliveries = take(&mut *first, 10).await;
    assert_eq!(ids(&deliveries), numbered(0..10).into_iter().collect::<Vec<_>>(), "in their order");
    first.acknowledge(deliveries[3].receipt, Acknowledge::UpTo).await.unwrap();
    first.acknowledge(deliveries[7].receipt, Acknowledge::One).await.unwrap();
    drop(first);
    let mut second = transport.subscribe(Source::Shared(queue.clone()), 10);
    let again = take(&mut *second, 5).await;
    assert_eq!(id_set(&again), ["4", "5", "6", "8", "9"].map(str::to_owned).into());
    second.acknowledge(again[4].receipt, Acknowledge::UpTo).await.unwrap();
    drop(second);
    assert!(drain(&*transport, &queue, "a.b").await.is_empty(), "no other came again");
}

pub async fn case_12_a_second_acknowledgement_is_an_error_and_harms_nothing<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 3).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 2);
    let first = next(&mut *subscription).await;
    subscription.acknowledge(first.receipt, Acknowledge::One).await.unwrap();
    for scope in [Acknowledge::One, Acknowledge::UpTo] {
        assert_eq!(subscription.acknowledge(first.receipt, scope).await, Err(AcknowledgeError::Lost));
    }
    // The subscription goes on, and what was not acknowledged is still to be.
    for expected in ["1", "2"] {
        let delivery = next(&mut *subscription).await;
        assert_eq!(delivery.message.id, expected);
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
    }
    drop(subscription);
    assert!(drain(&*transport, &queue, "a.b").await.is_empty());
}

pub async fn case_12_an_acknowledgement_after_the_transport_was_closed_is_an_error<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 2).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 2);
    let deliveries = take(&mut *subscription, 2).await;
    transport.close().await;
    for (delivery, scope) in deliveries.iter().zip([Acknowledge::One, Acknowledge::UpTo]) {
        assert_eq!(subscription.acknowledge(delivery.receipt, scope).await, Err(AcknowledgeError::Lost));
    }
    drop((transport, subscription));
    let transport = subject.reopen().await;
    let again = take(&mut *transport.subscribe(Source::Shared(queue), 2), 2).await;
    assert_eq!(id_set(&again), numbered(0..2), "both came again");
}

pub async fn case_12_an_acknowledgement_of_a_lost_session_is_an_error<S: Foreign>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 1).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
    let first = next(&mut *subscription).await;
    // The broker ends a consumer whose queue is deleted without an error: the session is built anew, queue and all.
    let foreign = subject.foreign_client().await;
    foreign.queue_delete(queue.name.as_str().into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    let second = eventually(async || {
        publish_if_possible(&*transport, subject.exchange()).await?;
        let delivery = tokio::time::timeout(Duration::from_secs(5), subscription.next()).await;
        delivery.map_err(|_| "nothing came".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(second.message.id, "second");
    for scope in [Acknowledge::One, Acknowledge::UpTo] {
        assert_eq!(subscription.acknowledge(first.receipt, scope).await, Err(AcknowledgeError::Lost));
    }
    subscription.acknowledge(second.receipt, Acknowledge::One).await.unwrap();
}

async fn publish_if_possible(transport: &dyn bus::Transport, exchange: &str) -> Result<(), String> {
    let results = transport.publish(vec![message(exchange, "a.b", "second")], PATIENCE).await;
    results.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())
}

pub async fn case_12_what_was_acknowledged_does_not_come_again_after_an_orderly_end<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 50).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 20);
    for delivery in take(&mut *subscription, 20).await {
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
    }
    drop((transport, subscription));
    let transport = subject.reopen().await;
    publish(&*transport, vec![message(subject.exchange(), "a.b", "50")]).await;
    let mut subscription = transport.subscribe(Source::Shared(queue), 100);
    assert_eq!(id_set(&take(&mut *subscription, 31).await), numbered(20..51));
}
