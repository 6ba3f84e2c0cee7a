//! Kills, silence, and a transport that takes no more.

use std::{collections::BTreeSet, time::Duration};

use bus::{Acknowledge, Delivery, Source, Subscription, Transport};
use rand::RngExt;
use testkit::{eventually, eventually_within};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    kit::{drain, ids, message, next, publish, take, take_until, topic, with_messages},
    seed::random,
    subject::{Mortal, Network, Pressured},
    work::{Manner, PREFETCH, assert_undamaged, work_queue},
};

/// Longer than a broker takes to start on a slow machine.
const RESTART: Duration = Duration::from_secs(120);

/// Waits until the ledger says something of so many messages.
async fn until<S: Mortal>(subject: &S, what: &str, count: usize) {
    eventually_within(RESTART, async || match subject.ledger().ids(what).len() {
        so_far if so_far >= count => Ok(()),
        so_far => {
            let confirmed = subject.ledger().ids("confirmed").len();
            Err(format!("{so_far} of {count} are {what}, and {confirmed} confirmed"))
        }
    })
    .await;
}

/// Waits for some of the work, and then for no particular moment in it.
async fn at_some_moment<S: Mortal>(subject: &S, confirmed: usize) {
    until(subject, "confirmed", confirmed).await;
    let moment = random().random_range(0..5000);
    // Not a wait for anything: the kill comes wherever the work is then.
    sleep(Duration::from_micros(moment)).await;
}

/// Everything that is left in the queue of the work: all of `wanted`, and whatever else is there.
async fn what_remains(transport: &dyn Transport, exchange: &str, wanted: &BTreeSet<String>) -> Vec<Delivery> {
    let queue = work_queue(exchange);
    transport.ensure(topic(exchange), vec![queue.clone()]).await;
    let mut subscription: Box<dyn Subscription> = transport.subscribe(Source::Shared(queue.clone()), 50_000);
    let mut remains = take_until(&mut *subscription, wanted).await;
    // What came back after a kill comes before what is new, and what was delivered here is not delivered twice.
    publish(transport, vec![message(exchange, "a.b", "the last one")]).await;
    let rest = take_until(&mut *subscription, &BTreeSet::from(["the last one".to_owned()])).await;
    remains.extend(rest.into_iter().filter(|delivery| delivery.message.id != "the last one"));
    for delivery in &remains {
        assert_undamaged(&delivery.message);
    }
    if let Some(last) = remains.iter().map(|delivery| delivery.receipt).max() {
        subscription.acknowledge(last, Acknowledge::UpTo).await.unwrap();
    }
    remains
}

pub async fn case_13_what_is_confirmed_survives_a_kill_exactly_and_undamaged<S: Mortal>() {
    let mut subject = S::at_work(Manner::Holds).await;
    until(&subject, "seen", usize::from(PREFETCH)).await;
    let enough = random().random_range(1..1500);
    at_some_moment(&subject, enough).await;
    subject.kill().await;
    let transport = subject.remains().await;
    let confirmed = subject.ledger().ids("confirmed");
    let held = subject.ledger().ids("seen");
    let remains = what_remains(&*transport, subject.exchange(), &confirmed).await;
    let ids: BTreeSet<&str> = ids(&remains).into_iter().collect();
    assert_eq!(ids.len(), remains.len(), "none is there twice");
    assert!(confirmed.len() >= enough && held.len() == usize::from(PREFETCH));
    for delivery in remains.iter().filter(|delivery| held.contains(&delivery.message.id)) {
        assert_eq!(delivery.earlier_deliveries, 1, "{} was in hand", delivery.message.id);
    }
}

pub async fn case_13_what_is_confirmed_survives_a_kill_also_in_a_queue_that_is_new<S: Mortal>() {
    let mut subject = S::at_work(Manner::Holds).await;
    until(&subject, "confirmed", 1).await;
    subject.kill().await;
    let transport = subject.remains().await;
    let confirmed = subject.ledger().ids("confirmed");
    assert!(!confirmed.is_empty());
    what_remains(&*transport, subject.exchange(), &confirmed).await;
}

pub async fn case_30_over_kills_in_mid_traffic_nothing_confirmed_is_lost<S: Mortal>() {
    /// Each costs a start of RabbitMQ.
    const KILLS: usize = 2;
    let mut subject = S::at_work(Manner::Acknowledges).await;
    for _ in 0..KILLS {
        let (confirmed, seen) = (subject.ledger().ids("confirmed").len(), subject.ledger().ids("seen").len());
        // Both go on after each kill.
        until(&subject, "seen", seen + 100).await;
        at_some_moment(&subject, confirmed + random().random_range(1..500)).await;
        subject.kill().await;
        subject.resume().await;
    }
    let (confirmed, seen) = (subject.ledger().ids("confirmed").len(), subject.ledger().ids("seen").len());
    until(&subject, "confirmed", confirmed + 100).await;
    until(&subject, "seen", seen + 100).await;
    let transport = subject.remains().await;
    let (confirmed, seen) = (subject.ledger().ids("confirmed"), subject.ledger().ids("seen"));
    let unseen = confirmed.difference(&seen).cloned().collect();
    // What was seen, and not yet acknowledged in fact, may come again; no consumer has a defect by that.
    what_remains(&*transport, subject.exchange(), &unseen).await;
}

pub async fn case_20_while_nothing_is_taken_consumers_go_on_and_acknowledge<S: Pressured>() {
    let subject = S::alone().await;
    let (transport, queue) = with_messages(&subject, 100).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 10);
    let first = take(&mut *subscription, 10).await;
    subject.block().await;
    subscription.acknowledge(first[9].receipt, Acknowledge::UpTo).await.unwrap();
    // The prefetch leaves room for them only if what was acknowledged is.
    for number in 10..100 {
        let delivery = next(&mut *subscription).await;
        assert_eq!(delivery.message.id, number.to_string());
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
    }
    let patience = Duration::from_millis(200);
    let results = transport.publish(vec![message(subject.exchange(), "a.b", "held back")], patience).await;
    assert_eq!(results, [Err(bus::PublishError::Unknown(patience))], "nothing was taken all the time");
    subject.unblock().await;
    drop(subscription);
    let remains = drain(&*transport, &queue, "a.b").await;
    assert!(remains.iter().all(|delivery| delivery.message.id == "held back"), "{:?}", ids(&remains));
}

pub async fn case_31_a_peer_that_falls_silent_is_noticed_within_three_heartbeats<S: Network>() {
    let subject = S::alone().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    let mut subscription = transport.subscribe(Source::Shared(queue), 1);
    eventually(async || transport.status()).await;
    subject.freeze(true).await;
    // Three heartbeats of ten seconds, and some for a slow machine.
    eventually_within(Duration::from_secs(45), async || match transport.status() {
        Err(reason) if reason.contains("publishing") && reason.contains("consuming") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    subject.freeze(false).await;
    eventually(async || transport.status()).await;
    publish(&*transport, vec![message(subject.exchange(), "a.b", 1)]).await;
    assert_eq!(next(&mut *subscription).await.message.id, "1");
}

pub async fn case_32_a_peer_that_accepts_and_says_nothing_does_not_hold_us<S: Network>() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let transport = S::transport_to(silent.local_addr().unwrap().port());
    let mut held = Vec::new();
    // The first connection stays silent; that there is a second one shows that the first was given up.
    for _ in 0..2 {
        held.push(timeout(Duration::from_secs(60), silent.accept()).await.unwrap().unwrap());
    }
    let status = transport.status().unwrap_err();
    assert!(status.contains("publishing: no answer"), "{status}");
}
