//! Publishing: what is said to be published is, and what is not is an error of exactly that message.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bus::{Acknowledge, Bus, Message, PublishError, Source, events::ObjectId};
use bytes::Bytes;
use testkit::eventually;
use tokio::{sync::Barrier, task::JoinSet, time::timeout};

use crate::{
    events::object,
    kit::{
        PATIENCE, bus, bus_of, drain, id_set, message, next, numbered, publish, queue, take, take_until, with_messages,
        work_queue,
    },
    subject::{Foreign, Network, Pressured, Subject},
};

/// So many publish at the same time where it matters that they do not get into each other's way.
const CALLERS: usize = 64;

pub async fn case_01_a_message_arrives_as_it_was_sent<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = work_queue(&subject).await;
    let sent = Message {
        correlation_id: Some("it belongs to this".to_owned()),
        kind: Some("A_KIND".to_owned()),
        app_id: Some("test".to_owned()),
        timestamp: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        content_type: Some("application/json".to_owned()),
        headers: serde_json::from_str(
            r#"{"text":"é","whole":-7,"part":0.5,"yes":true,"list":[1,"a"],"table":{"a":null}}"#,
        )
        .unwrap(),
        body: vec![0, 159, 146, 150, 255].into(),
        ..message(subject.exchange(), "a.b.c", "an id")
    };
    publish(&*transport, vec![sent.clone()]).await;
    let received = next(&mut *transport.subscribe(Source::Shared(queue), 1)).await;
    assert_eq!(received.message, sent);
    assert_eq!(received.earlier_deliveries, 0);
}

pub async fn case_02_an_empty_body_and_the_longest_one_travel<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = work_queue(&subject).await;
    let longest: Bytes = (0..4 * 1024 * 1024).map(|byte: u32| byte.to_le_bytes()[1]).collect();
    for body in [Bytes::new(), longest] {
        publish(&*transport, vec![Message { body: body.clone(), ..message(subject.exchange(), "a.b", 1) }]).await;
        let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
        let received = next(&mut *subscription).await;
        assert!(received.message.body == body, "{} of {} bytes", received.message.body.len(), body.len());
        subscription.acknowledge(received.receipt, Acknowledge::One).await.unwrap();
    }
}

pub async fn case_02_an_event_one_byte_over_the_bound_is_refused_before_it_is_sent<S: Subject>() {
    let subject = S::fresh().await;
    let transport = subject.transport();
    let event = object(ObjectId::new(), "nop");
    let bytes = bus(&subject).encode(&event, bus::now(), None).unwrap().body.len();
    let fits: Bus = bus_of(transport.clone(), &subject, bytes);
    let too_small = bus_of(transport.clone(), &subject, bytes - 1);
    let error = too_small.publish(&event, None, PATIENCE).await.unwrap_err();
    assert_eq!(error, PublishError::TooLarge { bytes, max: bytes - 1 });
    fits.publish(&event, None, PATIENCE).await.unwrap();
    let arrived = drain(&*transport, &fits.topology().distributor(), "object.created.nop").await;
    assert_eq!(arrived.len(), 1, "only the one that fits was sent");
}

pub async fn case_14_exactly_the_messages_that_no_queue_gets_are_errors_whoever_else_publishes<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = work_queue(&subject).await;
    let mut publishers = JoinSet::new();
    for publisher in 0..CALLERS {
        let (transport, exchange) = (transport.clone(), subject.exchange().to_owned());
        publishers.spawn(async move {
            let bad = |number: usize| number % 7 == publisher % 7;
            let key = |number| if bad(number) { "bad" } else { "a.good" };
            let messages = (0..40).map(|n| message(&exchange, key(n), format!("{publisher}-{n}"))).collect();
            let results = transport.publish(messages, PATIENCE).await;
            for (number, result) in results.iter().enumerate() {
                let unroutable = Err(PublishError::Unroutable { routing_key: "bad".to_owned() });
                let expected = if bad(number) { unroutable } else { Ok(()) };
                assert_eq!(*result, expected, "{publisher}-{number}");
            }
            results.into_iter().enumerate().filter(|(_, result)| result.is_ok()).map(move |(n, _)| (publisher, n))
        });
    }
    let published = publishers.join_all().await.into_iter().flatten().map(|(p, n)| format!("{p}-{n}")).collect();
    assert_eq!(id_set(&drain(&*transport, &queue, "a.b").await), published, "those, and no others, arrived");
}

/// A queue with room for one message, and another that takes everything: `a.full` goes to both.
async fn with_a_full_queue<S: Foreign>(subject: &S) -> (Arc<dyn bus::Transport>, lapin::Channel, String) {
    use lapin::{
        options::{QueueBindOptions, QueueDeclareOptions},
        types::{AMQPValue, FieldTable},
    };
    let (transport, _) = work_queue(subject).await;
    // What is published to it is in both queues; it is confirmed, so the exchange is there.
    publish(&*transport, vec![message(subject.exchange(), "a.b", "the first")]).await;
    let foreign = subject.foreign_client().await;
    let full = format!("{}.full", subject.exchange());
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), 1.into());
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    foreign.queue_declare(full.as_str().into(), durable, arguments).await.unwrap();
    let (queue, exchange) = (full.as_str().into(), subject.exchange().into());
    foreign
        .queue_bind(queue, exchange, "a.full".into(), QueueBindOptions::default(), FieldTable::default())
        .await
        .unwrap();
    publish(&*transport, vec![message(subject.exchange(), "a.full", "the one that fits")]).await;
    (transport, foreign, full)
}

pub async fn case_15_exactly_the_messages_that_a_full_queue_refuses_are_errors_whoever_else_publishes<S: Foreign>() {
    let subject = S::fresh().await;
    let (transport, _foreign, _full) = with_a_full_queue(&subject).await;
    let mut publishers = JoinSet::new();
    for publisher in 0..CALLERS {
        let (transport, exchange) = (transport.clone(), subject.exchange().to_owned());
        publishers.spawn(async move {
            let key = |number| if number % 5 == publisher % 5 { "a.full" } else { "a.b" };
            let messages = (0..20).map(|n| message(&exchange, key(n), format!("{publisher}-{n}"))).collect();
            let results = transport.publish(messages, PATIENCE).await;
            for (number, result) in results.into_iter().enumerate() {
                let expected = if key(number) == "a.full" { Err(PublishError::Refused) } else { Ok(()) };
                assert_eq!(result, expected, "{publisher}-{number}");
            }
        });
    }
    publishers.join_all().await;
}

pub async fn case_16_a_message_that_one_of_two_queues_refuses_is_an_error_and_comes_twice_when_sent_again<
    S: Foreign,
>() {
    let subject = S::fresh().await;
    let (transport, foreign, full) = with_a_full_queue(&subject).await;
    let again = message(subject.exchange(), "a.full", "again");
    assert_eq!(transport.publish(vec![again.clone()], PATIENCE).await, [Err(PublishError::Refused)]);
    let purged = foreign.queue_purge(full.as_str().into(), lapin::options::QueuePurgeOptions::default()).await;
    assert_eq!(purged.unwrap(), 1, "the refused one is not in it");
    publish(&*transport, vec![again]).await;
    let taken = drain(&*transport, &queue(subject.exchange(), "work", "a.#"), "a.b").await;
    let copies = taken.iter().filter(|delivery| delivery.message.id == "again").count();
    assert_eq!(copies, 2, "the other queue took it both times, with the same id");
}

pub async fn case_17_a_publish_that_cannot_be_confirmed_is_unknown_when_its_patience_ends<S: Pressured>() {
    let subject = S::alone().await;
    let (transport, _) = work_queue(&subject).await;
    publish(&*transport, vec![message(subject.exchange(), "a.b", "before")]).await;
    subject.block().await;
    let (began, patience) = (Instant::now(), Duration::from_millis(300));
    let messages = [1, 2].map(|id| message(subject.exchange(), "a.b", id)).to_vec();
    let results = transport.publish(messages, patience).await;
    assert_eq!(results, vec![Err(PublishError::Unknown(patience)); 2]);
    assert!(began.elapsed() >= patience);
    assert!(began.elapsed() < Duration::from_secs(5));
}

pub async fn case_17_a_publish_to_nobody_is_unknown_when_its_patience_ends<S: Network>() {
    // A port that nobody can take meanwhile, because it is taken, and on which nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let transport = S::transport_to(taken.local_addr().unwrap().port());
    let (began, patience) = (Instant::now(), Duration::from_millis(300));
    let results = transport.publish(vec![message("x", "a", 1), message("x", "a", 2)], patience).await;
    assert_eq!(results, vec![Err(PublishError::Unknown(patience)); 2]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(transport.status().is_err());
}

pub async fn case_17_no_publish_is_confirmed_that_was_not_taken_however_short_its_patience<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    let mut confirmed = BTreeSet::new();
    for number in 0..300 {
        let patience = Duration::from_micros(number % 10 * 300);
        match &transport.publish(vec![message(subject.exchange(), "a.b", number)], patience).await[..] {
            [Ok(())] => _ = confirmed.insert(number.to_string()),
            [Err(PublishError::Unknown(told))] => assert_eq!(*told, patience),
            other => panic!("{other:?}"),
        }
    }
    // Whatever was sent before this one is taken by now.
    publish(&*transport, vec![message(subject.exchange(), "a.b", "behind")]).await;
    let arrived = id_set(&drain(&*transport, &queue, "a.b").await);
    assert!(arrived.is_superset(&confirmed), "lost: {:?}", confirmed.difference(&arrived));
}

/// A body that is counted for as long as anybody holds it.
struct Counted(Arc<AtomicUsize>, Vec<u8>);

impl Counted {
    fn body(held: &Arc<AtomicUsize>, bytes: usize) -> Bytes {
        held.fetch_add(1, Ordering::SeqCst);
        Bytes::from_owner(Self(held.clone(), vec![7; bytes]))
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn none_is_held(bodies: &AtomicUsize) {
    eventually(async || match bodies.load(Ordering::SeqCst) {
        0 => Ok(()),
        count => Err(format!("{count} bodies are still held")),
    })
    .await;
}

pub async fn case_18_a_publish_that_is_dropped_leaks_nothing_and_stalls_nobody<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    publish(&*transport, vec![message(subject.exchange(), "a.b", "first")]).await;
    let held = Arc::new(AtomicUsize::new(0));
    for number in 0..500 {
        let message = Message { body: Counted::body(&held, 1000), ..message(subject.exchange(), "a.b", number) };
        let call = transport.publish(vec![message], PATIENCE);
        let _ = timeout(Duration::from_micros(number % 5 * 100), call).await;
    }
    publish(&*transport, vec![message(subject.exchange(), "a.b", "last")]).await;
    let arrived = id_set(&drain(&*transport, &queue, "a.b").await);
    assert!(arrived.contains("last"));
    // All that was taken is acknowledged: nobody has a reason to hold a body.
    none_is_held(&held).await;
}

pub async fn case_19_while_nothing_is_taken_producers_wait_and_what_they_gave_up_is_not_kept<S: Pressured>() {
    /// What either transport may keep of what was given up: the calls that wait for its one writer, and the window that
    /// it tries to write.
    const MAX_KEPT: usize = 1024 + 256;
    /// So that three times as much is given up.
    const ROUNDS: usize = 60;
    const BODY_BYTES: usize = 1024;
    let subject = S::alone().await;
    let (transport, queue) = with_messages(&subject, 1).await;
    subject.block().await;
    let held = Arc::new(AtomicUsize::new(0));
    let patience = Duration::from_millis(50);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (transport, exchange, held) = (transport.clone(), subject.exchange().to_owned(), held.clone());
        callers.spawn(async move {
            for round in 0..ROUNDS {
                let message = Message {
                    body: Counted::body(&held, BODY_BYTES),
                    ..message(&exchange, "a.b", format!("{caller}-{round}"))
                };
                let began = Instant::now();
                let results = transport.publish(vec![message], patience).await;
                assert_eq!(results, [Err(PublishError::Unknown(patience))], "{caller}-{round}");
                assert!(began.elapsed() >= patience, "it waited");
                let now = held.load(Ordering::SeqCst);
                assert!(now <= CALLERS + MAX_KEPT, "{now} bodies are held");
            }
        });
    }
    callers.join_all().await;
    subject.unblock().await;
    // It resumes, and forgets what nobody waits for any more.
    publish(&*transport, vec![message(subject.exchange(), "a.b", "afterwards")]).await;
    drain(&*transport, &queue, "a.b").await;
    none_is_held(&held).await;
}

pub async fn case_19_of_long_messages_fewer_wait_so_that_their_bytes_have_a_bound<S: Pressured>() {
    const BODY_BYTES: usize = 1 << 20;
    /// What waits for the one task of a transport, and the window that it tries to publish.
    const MAX_KEPT: usize = 64 + 16 + 1;
    const ROUNDS: usize = 5;
    let subject = S::alone().await;
    let (transport, queue) = with_messages(&subject, 1).await;
    subject.block().await;
    let held = Arc::new(AtomicUsize::new(0));
    let patience = Duration::from_millis(200);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (transport, exchange, held) = (transport.clone(), subject.exchange().to_owned(), held.clone());
        callers.spawn(async move {
            for round in 0..ROUNDS {
                let body = Counted::body(&held, BODY_BYTES);
                let message = Message { body, ..message(&exchange, "a.b", format!("{caller}-{round}")) };
                // The first of them may be taken before RabbitMQ says that it takes no more.
                transport.publish(vec![message], patience).await;
                let now = held.load(Ordering::SeqCst);
                assert!(now <= CALLERS + MAX_KEPT, "{now} MiB are held");
            }
        });
    }
    callers.join_all().await;
    assert!(held.load(Ordering::SeqCst) <= MAX_KEPT, "of those that were given up");
    subject.unblock().await;
    publish(&*transport, vec![message(subject.exchange(), "a.b", "afterwards")]).await;
    drain(&*transport, &queue, "a.b").await;
    none_is_held(&held).await;
}

pub async fn case_19_after_nothing_was_taken_for_long_it_goes_on_at_once<S: Pressured>() {
    /// Longer than the time after which a window that is not confirmed is given up, while nobody says why.
    const LONG: Duration = Duration::from_secs(25);
    /// Shorter than the wait before a broken connection is tried again after that.
    const SOON: Duration = Duration::from_secs(8);
    let subject = S::alone().await;
    let (transport, _) = with_messages(&subject, 1).await;
    subject.block().await;
    let began = Instant::now();
    while began.elapsed() < LONG {
        let patience = Duration::from_secs(1);
        transport.publish(vec![message(subject.exchange(), "a.b", "held back")], patience).await;
    }
    let status = transport.status().unwrap_err();
    assert!(status.contains("no more"), "{status}");
    subject.unblock().await;
    let results = transport.publish(vec![message(subject.exchange(), "a.b", "afterwards")], SOON).await;
    assert_eq!(results, [Ok(())]);
    eventually(async || transport.status()).await;
}

pub async fn case_27_what_was_accepted_before_a_close_under_load_arrives<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 0).await;
    let mut publishers = JoinSet::new();
    let all_publish = Arc::new(Barrier::new(17));
    for publisher in 0..16 {
        let (transport, exchange) = (transport.clone(), subject.exchange().to_owned());
        let all_publish = all_publish.clone();
        publishers.spawn(async move {
            let mut accepted = Vec::new();
            for number in 0.. {
                let id = format!("{publisher}-{number}");
                match &transport.publish(vec![message(&exchange, "a.b", &id)], PATIENCE).await[..] {
                    [Ok(())] => accepted.push(id),
                    [Err(PublishError::Closed)] => break,
                    other => panic!("{other:?}"),
                }
                if number == 0 {
                    all_publish.wait().await;
                }
            }
            accepted
        });
    }
    all_publish.wait().await;
    transport.close().await;
    let accepted: BTreeSet<String> = publishers.join_all().await.into_iter().flatten().collect();
    assert!(accepted.len() >= 16, "{}", accepted.len());
    drop(transport);
    let transport = subject.reopen().await;
    let arrived = id_set(&drain(&*transport, &queue, "a.b").await);
    assert!(arrived.is_superset(&accepted), "lost: {:?}", accepted.difference(&arrived));
}

pub async fn case_28_closing_several_times_at_once_ends_everything_and_nothing_hangs<S: Subject>() {
    let subject = S::fresh().await;
    let (transport, queue) = with_messages(&subject, 20).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 5);
    take(&mut *subscription, 5).await;
    let consumer = tokio::spawn(async move { while subscription.next().await.is_some() {} });
    let mut everything = JoinSet::new();
    for number in 0..8 {
        let (closing, publishing) = (transport.clone(), transport.clone());
        let exchange = subject.exchange().to_owned();
        everything.spawn(async move { closing.close().await });
        everything.spawn(async move {
            let results = publishing.publish(vec![message(&exchange, "a.b", format!("late {number}"))], PATIENCE).await;
            assert!(matches!(results[..], [Ok(()) | Err(PublishError::Closed)]), "{results:?}");
        });
    }
    everything.join_all().await;
    consumer.await.unwrap();
    let late = transport.publish(vec![message(subject.exchange(), "a.b", "too late")], PATIENCE).await;
    assert_eq!(late, [Err(PublishError::Closed)]);
    assert_eq!(transport.subscribe(Source::Shared(queue.clone()), 5).next().await, None);
    drop(transport);
    let transport = subject.reopen().await;
    take_until(&mut *transport.subscribe(Source::Shared(queue), 100), &numbered(0..20)).await;
}
