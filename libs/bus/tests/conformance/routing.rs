//! Routing: what reaches whom.

use std::{
    slice,
    time::{Duration, Instant},
};

use bus::{Acknowledge, Binding, Delivery, Owner, PublishError, Queue, Source, Subscription, Transport};
use testkit::eventually;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    kit::{PATIENCE, drain, ensure, id_set, message, next, numbered, publish, queue, take, topic, with_messages},
    subject::Subject,
};

pub async fn case_04_many_topics_at_once_do_not_mix<S: Subject>() {
    const TOPICS: usize = 10;
    let subject = S::fresh().await;
    let transport = subject.transport();
    let queues: Vec<Queue> =
        (0..TOPICS).map(|number| queue(subject.exchange(), &number.to_string(), &format!("a.{number}"))).collect();
    ensure(&*transport, subject.exchange(), &queues).await;
    let mut both = JoinSet::new();
    for (number, queue) in queues.into_iter().enumerate() {
        let (publishing, exchange) = (transport.clone(), subject.exchange().to_owned());
        let mut subscription = transport.subscribe(Source::Shared(queue), 5);
        both.spawn(async move {
            let key = format!("a.{number}");
            publish(&*publishing, (0..30).map(|n| message(&exchange, &key, format!("{number}-{n}"))).collect()).await;
        });
        both.spawn(async move {
            for n in 0..30 {
                let delivery = next(&mut *subscription).await;
                assert_eq!(delivery.message.routing_key, format!("a.{number}"));
                assert_eq!(delivery.message.id, format!("{number}-{n}"));
                subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
            }
        });
    }
    both.join_all().await;
}

/// Whether the words match the pattern's: the rule of AMQP 0-9-1 in its shortest form.
fn matches(pattern: &[&str], words: &[&str]) -> bool {
    match (pattern, words) {
        ([], []) => true,
        (["#", rest @ ..], words) => (0..=words.len()).any(|skipped| matches(rest, &words[skipped..])),
        (["*", rest @ ..], [_, words @ ..]) => matches(rest, words),
        ([word, rest @ ..], [other, words @ ..]) => word == other && matches(rest, words),
        _ => false,
    }
}

fn words(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

pub async fn case_05_a_pattern_gets_the_routing_keys_that_match_it<S: Subject>() {
    const PATTERNS: [&str; 10] = ["#", "*", "a", "a.*", "a.#", "#.c", "a.#.c", "*.b.*", "*.#", "#.b.#"];
    const KEYS: [&str; 14] =
        ["", "a", "b", "c", "a.b", "a.c", "b.b", "a.b.c", "a.a.c", "b.b.b", "a.b.b.c", "c.a", "ab", "a.bc"];
    let subject = S::fresh().await;
    let transport = subject.transport();
    let queues: Vec<Queue> =
        (0..PATTERNS.len()).map(|number| queue(subject.exchange(), &number.to_string(), PATTERNS[number])).collect();
    ensure(&*transport, subject.exchange(), &queues).await;
    publish(&*transport, KEYS.iter().map(|key| message(subject.exchange(), key, key)).collect()).await;
    for (queue, pattern) in queues.iter().zip(PATTERNS) {
        let expected = KEYS.into_iter().filter(|key| matches(&words(pattern), &words(key)));
        let key = pattern.replace(['#', '*'], "b");
        let got = drain(&*transport, queue, &key).await;
        let got: Vec<&str> = got.iter().map(|delivery| delivery.message.routing_key.as_str()).collect();
        // What the other patterns' last messages left there does not count.
        let got: Vec<&str> = got.into_iter().filter(|key| KEYS.contains(key)).collect();
        assert_eq!(got, expected.collect::<Vec<_>>(), "{pattern}");
    }
}

pub async fn case_05_every_group_gets_every_message_and_one_member_of_each_gets_it<S: Subject>() {
    let subject = S::fresh().await;
    let transport = subject.transport();
    let groups = ["one", "two", "three"].map(|name| queue(subject.exchange(), name, "a.#"));
    ensure(&*transport, subject.exchange(), &groups).await;
    // Every member has room for half of what its group gets, so that both get some.
    let mut members = Vec::new();
    for group in &groups {
        let [first, second] = [(); 2].map(|()| subject.transport());
        let mut one = first.subscribe(Source::Shared(group.clone()), 20);
        let mut two = second.subscribe(Source::Shared(group.clone()), 20);
        members.push(tokio::spawn(async move {
            let (one, two) = tokio::join!(take(&mut *one, 20), take(&mut *two, 20));
            let all: Vec<Delivery> = one.into_iter().chain(two).collect();
            drop((first, second));
            id_set(&all)
        }));
    }
    publish(&*transport, (0..40).map(|id| message(subject.exchange(), "a.b", id)).collect()).await;
    for group in members {
        assert_eq!(group.await.unwrap(), numbered(0..40));
    }
}

pub async fn case_05_a_queue_with_two_bindings_that_match_gets_a_message_once<S: Subject>() {
    let subject = S::fresh().await;
    let transport = subject.transport();
    let mut twice = queue(subject.exchange(), "twice", "a.#");
    twice.bindings.push(Binding { exchange: topic(subject.exchange()), pattern: "#.b".to_owned() });
    ensure(&*transport, subject.exchange(), slice::from_ref(&twice)).await;
    publish(&*transport, ["a.b", "a", "b"].map(|key| message(subject.exchange(), key, key)).to_vec()).await;
    let taken = drain(&*transport, &twice, "a.b").await;
    assert_eq!(id_set(&taken), ["a.b", "a", "b"].map(str::to_owned).into());
}

pub async fn case_05_every_broadcast_subscriber_hears_what_is_said_while_it_listens<S: Subject>() {
    let subject = S::fresh().await;
    let transport = subject.transport();
    let bindings = vec![Binding { exchange: topic(subject.exchange()), pattern: "a.*".to_owned() }];
    let mut listeners = [0, 1].map(|_| transport.subscribe(Source::Broadcast(bindings.clone()), 10));
    for listener in &mut listeners {
        // A subscription listens once the broker made its queue: then this is heard.
        let heard = eventually(async || {
            let _ = transport.publish(vec![message(subject.exchange(), "a.hello", 1)], PATIENCE).await;
            timeout(Duration::from_millis(200), listener.next()).await.map_err(|_| "silence".to_owned())
        });
        assert_eq!(heard.await.unwrap().message.id, "1");
    }
    publish(&*transport, vec![message(subject.exchange(), "a.both", 2)]).await;
    for listener in &mut listeners {
        let end = Instant::now() + PATIENCE;
        loop {
            let delivery = next(&mut **listener).await;
            listener.acknowledge(delivery.receipt, Acknowledge::UpTo).await.unwrap();
            match delivery.message.id.as_str() {
                "2" => break,
                other => assert_eq!(other, "1"),
            }
            assert!(Instant::now() < end);
        }
    }
    // With the last one that listens, nobody is left whom it could reach.
    drop(listeners);
    eventually(
        async || match &transport.publish(vec![message(subject.exchange(), "a.hello", 3)], PATIENCE).await[..] {
            [Err(PublishError::Unroutable { .. })] => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}

pub async fn only_one_subscription_owns_a_queue_and_the_next_takes_over_when_it_goes<S: Subject>() {
    let subject = S::fresh().await;
    let (first, queue) = with_messages(&subject, 2).await;
    let name = format!("{}.owner", subject.exchange());
    let owned_by_another = || Source::Exclusive { queue: queue.clone(), owner: Owner::new(&name) };
    let mut active = first.subscribe(owned_by_another(), 1);
    next(&mut *active).await;
    let second = subject.transport();
    let mut waiting = second.subscribe(owned_by_another(), 1);
    waits(&*second, &mut *waiting).await;
    drop(active);
    subject.leave(&*first).await;
    let taken_over = next(&mut *waiting).await;
    assert_eq!((taken_over.message.id.as_str(), taken_over.earlier_deliveries), ("0", 1));
    eventually(async || second.status()).await;
}

/// Waits until a subscription says that it waits for the owner.
async fn waits(transport: &dyn Transport, subscription: &mut dyn Subscription) {
    eventually(async || {
        assert!(timeout(Duration::from_millis(100), subscription.next()).await.is_err(), "it waits");
        match transport.status() {
            Err(reason) if reason.contains("another one is active") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

pub async fn one_owner_consumes_two_queues_and_the_next_takes_over_both_when_it_has_left_both<S: Subject>() {
    let subject = S::fresh().await;
    let (first, one) = with_messages(&subject, 1).await;
    let other = queue(subject.exchange(), "other", "c.#");
    first.ensure(topic(subject.exchange()), vec![other.clone()]).await;
    publish(&*first, vec![message(subject.exchange(), "c.d", "other")]).await;
    let name = format!("{}.owner", subject.exchange());
    let [owner, next_owner] = [(); 2].map(|()| Owner::new(&name));
    let by = |queue: &Queue, owner: &Owner| Source::Exclusive { queue: queue.clone(), owner: owner.clone() };
    let mut active = [first.subscribe(by(&one, &owner), 1), first.subscribe(by(&other, &owner), 1)];
    for (subscription, id) in active.iter_mut().zip(["0", "other"]) {
        assert_eq!(next(&mut **subscription).await.message.id, id);
    }
    let second = subject.transport();
    let mut waiting = second.subscribe(by(&other, &next_owner), 1);
    waits(&*second, &mut *waiting).await;
    let [of_one, of_other] = active;
    drop(of_other);
    // It still is the owner, by the other queue.
    waits(&*second, &mut *waiting).await;
    drop(of_one);
    subject.leave(&*first).await;
    assert_eq!(next(&mut *waiting).await.message.id, "other");
    let mut also = second.subscribe(by(&one, &next_owner), 1);
    assert_eq!(next(&mut *also).await.message.id, "0");
}
