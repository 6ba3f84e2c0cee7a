//! Measuring: how much waits in a queue, and how much is held of what is long.

use std::{collections::BTreeSet, time::Duration};

use bus::{Acknowledge, DepthError, MAX_HELD_BYTES, Message, Queue, Source, Transport};
use testkit::{eventually, eventually_within};
use tokio::time::timeout;

use crate::{
    kit::{drain, message, publish, queue, take, with_messages},
    subject::{Pressured, Subject},
};

/// Waits until a queue says that so many messages wait in it.
async fn has_depth(transport: &dyn Transport, queue: &Queue, wanted: u64) {
    eventually(async || match transport.depth(queue).await {
        Ok(depth) if depth == wanted => Ok(()),
        other => Err(format!("{other:?} instead of {wanted}")),
    })
    .await;
}

pub async fn case_38_the_depth_of_a_queue_is_what_waits_in_it_and_nobody_holds<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 10).await;
    has_depth(&*transport, &queue, 10).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 3);
    let held = take(&mut *subscription, 3).await;
    has_depth(&*transport, &queue, 7).await;
    subscription.acknowledge(held[2].receipt, Acknowledge::UpTo).await.unwrap();
    take(&mut *subscription, 3).await;
    has_depth(&*transport, &queue, 4).await;
    // What is handed back waits again.
    drop(subscription);
    has_depth(&*transport, &queue, 7).await;
    drain(&*transport, &queue, "a.b").await;
    has_depth(&*transport, &queue, 0).await;
}

pub async fn case_38_in_a_queue_that_there_is_not_nothing_waits_and_others_are_measured_all_the_same<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, known) = with_messages(&subject, 2).await;
    let unknown = queue(subject.exchange(), "unknown", "b.#");
    for _ in 0..3 {
        has_depth(&*transport, &unknown, 0).await;
        has_depth(&*transport, &known, 2).await;
    }
}

pub async fn case_38_a_transport_that_was_closed_measures_nothing<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 1).await;
    has_depth(&*transport, &queue, 1).await;
    transport.close().await;
    assert_eq!(transport.depth(&queue).await, Err(DepthError::Closed));
}

pub async fn case_38_while_nothing_is_taken_the_depth_is_told<S: Pressured>() {
    let subject = S::alone().await;
    let (transport, queue) = with_messages(&subject, 3).await;
    subject.block().await;
    let patience = Duration::from_millis(200);
    // Only who publishes is held up, by RabbitMQ not before it does.
    transport.publish(vec![message(subject.exchange(), "a.b", "held back")], patience).await;
    eventually_within(Duration::from_secs(10), async || match transport.depth(&queue).await {
        Ok(3 | 4) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    subject.unblock().await;
}

pub async fn case_07_of_long_messages_fewer_are_held_so_that_their_bytes_have_a_bound<S: Subject>() {
    const BYTES: usize = 4 << 20;
    const MESSAGES: usize = 20;
    /// Nothing more comes, once nothing has come for so long.
    const SILENCE: Duration = Duration::from_secs(3);
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    for number in 0..MESSAGES {
        let long = Message { body: vec![7; BYTES].into(), ..message(subject.exchange(), "a.b", number) };
        publish(&*transport, vec![long]).await;
    }
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 100);
    let mut done = BTreeSet::new();
    while done.len() < MESSAGES {
        let mut delivered = take(&mut *subscription, 1).await;
        while let Ok(delivery) = timeout(SILENCE, subscription.next()).await {
            delivered.push(delivery.unwrap());
        }
        let mut held = 0;
        for delivery in delivered {
            // What was handed back because it was too much cannot be acknowledged any more.
            if subscription.acknowledge(delivery.receipt, Acknowledge::One).await.is_ok() {
                held += delivery.message.body.len();
                done.insert(delivery.message.id);
            }
        }
        assert!(held <= MAX_HELD_BYTES, "{held} bytes were held");
    }
    drop(subscription);
    assert_eq!(drain(&*transport, &queue, "a.b").await, []);
}
