//! The transport over RabbitMQ, and the pitfalls that it is built around.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{
    Acknowledge, AcknowledgeError, Message, PublishError, Source, Transport,
    amqp::{Address, Amqp},
};
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use testkit::{Broker, Signal, eventually, eventually_within, shared_broker_url, unique_name, waiting_messages};
use tokio::net::TcpListener;

use crate::kit::{PATIENCE, address, foreign_client, message, publish, queue, topic, transport};

/// A queue with these messages in it, and a transport that made it.
async fn with_messages(count: usize) -> (Amqp, bus::Queue, String) {
    let (transport, exchange) = (transport(), unique_name());
    let queue = queue(&exchange, "work", "a.#");
    transport.ensure(topic(&exchange), vec![queue.clone()]).await;
    publish(&transport, (0..count).map(|id| message(&exchange, "a.b", id)).collect()).await;
    (transport, queue, exchange)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_sent() {
    let (transport, exchange) = (transport(), unique_name());
    let queue = queue(&exchange, "work", "#");
    transport.ensure(topic(&exchange), vec![queue.clone()]).await;
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
        ..message(&exchange, "a.b.c", "an id")
    };
    publish(&transport, vec![sent.clone()]).await;
    let received = transport.subscribe(Source::Shared(queue), 1).next().await.unwrap();
    assert_eq!(received.message, sent);
    assert_eq!(received.earlier_deliveries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_messages_that_no_queue_gets_are_errors_whoever_else_publishes() {
    let (transport, exchange) = (Arc::new(transport()), unique_name());
    transport.ensure(topic(&exchange), vec![queue(&exchange, "work", "good.#")]).await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..64 {
        let (transport, exchange) = (transport.clone(), exchange.clone());
        publishers.spawn(async move {
            let bad = |number: usize| number % 7 == publisher % 7;
            let key = |number| if bad(number) { "bad" } else { "good.one" };
            let messages = (0..40).map(|n| message(&exchange, key(n), format!("{publisher}-{n}"))).collect();
            let results = transport.publish(messages, PATIENCE).await;
            for (number, result) in results.into_iter().enumerate() {
                let unroutable = matches!(result, Err(PublishError::Unroutable { .. }));
                assert_eq!(unroutable, bad(number), "{publisher}-{number}: {result:?}");
                assert!(unroutable || result.is_ok(), "{publisher}-{number}: {result:?}");
            }
        });
    }
    publishers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_makes_sure_of_the_queues_that_must_be_reached() {
    let (transport, queue, exchange) = with_messages(0).await;
    let foreign = foreign_client().await;
    // Nobody consumes, and yet what is published waits for whoever comes.
    publish(&transport, vec![message(&exchange, "a.b", 1)]).await;
    let deleted = foreign.queue_delete(queue.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    assert_eq!(deleted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_prefetch_is_delivered_unacknowledged() {
    let (transport, queue, _) = with_messages(10).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 3);
    let mut last = None;
    for _ in 0..3 {
        last = subscription.next().await;
    }
    let waiting = async || waiting_messages(&shared_broker_url(), &queue.name).await.unwrap().unwrap();
    assert_eq!(waiting().await, 7);
    subscription.acknowledge(last.unwrap().receipt, Acknowledge::UpTo).await.unwrap();
    eventually(async || match waiting().await {
        4 => Ok(()),
        other => Err(format!("{other} wait")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_consumer_gets_the_messages_in_their_order() {
    let (transport, queue, _) = with_messages(600).await;
    let mut subscription = transport.subscribe(Source::Shared(queue), 50);
    for expected in 0..600 {
        let delivery = subscription.next().await.unwrap();
        assert_eq!(delivery.message.id, expected.to_string());
        subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_comes_again_and_says_so() {
    let (transport, queue, _) = with_messages(4).await;
    let mut first = transport.subscribe(Source::Shared(queue.clone()), 10);
    for _ in 0..4 {
        let delivery = first.next().await.unwrap();
        if delivery.message.id == "2" {
            first.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
        }
    }
    drop(first);
    let mut second = transport.subscribe(Source::Shared(queue), 10);
    let mut ids = HashSet::new();
    for _ in 0..3 {
        let delivery = second.next().await.unwrap();
        assert_eq!(delivery.earlier_deliveries, 1);
        ids.insert(delivery.message.id);
    }
    assert_eq!(ids, HashSet::from(["0", "1", "3"].map(str::to_owned)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_acknowledgement_and_one_of_a_lost_session_are_errors() {
    let (transport, queue, exchange) = with_messages(1).await;
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
    let first = subscription.next().await.unwrap();
    subscription.acknowledge(first.receipt, Acknowledge::One).await.unwrap();
    assert_eq!(subscription.acknowledge(first.receipt, Acknowledge::One).await, Err(AcknowledgeError::Lost));

    publish(&transport, vec![message(&exchange, "a.b", 2)]).await;
    let second = subscription.next().await.unwrap();
    // The broker ends a consumer whose queue is deleted without an error: the session is built anew, queue and all.
    let foreign = foreign_client().await;
    foreign.queue_delete(queue.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let third = eventually(async || {
        let result = transport.publish(vec![message(&exchange, "a.b", 3)], PATIENCE).await;
        result.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())?;
        Ok(subscription.next().await.unwrap())
    })
    .await;
    assert_eq!(third.message.id, "3");
    assert_eq!(subscription.acknowledge(second.receipt, Acknowledge::One).await, Err(AcknowledgeError::Lost));
    subscription.acknowledge(third.receipt, Acknowledge::One).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_an_error_that_names_it() {
    let (transport, exchange) = (transport(), unique_name());
    let queue = queue(&exchange, "work", "#");
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    foreign_client().await.queue_declare(queue.name.as_str().into(), durable, arguments).await.unwrap();
    let _subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
    eventually(async || match transport.status() {
        Err(reason) if reason.contains("PRECONDITION_FAILED") && reason.contains(&queue.name) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_subscription_owns_a_queue_and_the_next_takes_over_when_it_goes() {
    let (first, queue, exchange) = with_messages(2).await;
    let owner = format!("{exchange}.owner");
    let source = Source::Exclusive { queue, owner };
    let mut active = first.subscribe(source.clone(), 1);
    active.next().await.unwrap();
    let second = transport();
    let mut waiting = second.subscribe(source, 1);
    eventually(async || match second.status() {
        Err(reason) if reason.contains("another one is active") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    drop(active);
    first.close().await;
    assert_eq!(waiting.next().await.unwrap().message.id, "0");
    assert_eq!(second.status(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broadcast_subscriber_hears_what_is_said_while_it_listens() {
    let (transport, exchange) = (transport(), unique_name());
    let bindings = vec![bus::Binding { exchange: topic(&exchange), pattern: "a.*".to_owned() }];
    let mut listeners = [0, 1].map(|_| transport.subscribe(Source::Broadcast(bindings.clone()), 10));
    for listener in &mut listeners {
        // A subscription listens once the broker made its queue: then this is heard.
        let heard = eventually(async || {
            let _ = transport.publish(vec![message(&exchange, "a.hello", 1)], PATIENCE).await;
            tokio::time::timeout(Duration::from_millis(200), listener.next()).await.map_err(|_| "silence".to_owned())
        });
        assert_eq!(heard.await.unwrap().message.id, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_cannot_be_confirmed_is_unknown_when_its_patience_ends() {
    let nowhere = testkit::free_port().unwrap();
    let transport = Amqp::connect(&Address::parse(&format!("127.0.0.1:{nowhere}")).unwrap(), "test");
    let began = Instant::now();
    let patience = Duration::from_millis(300);
    let results = transport.publish(vec![message("x", "a", 1), message("x", "a", 2)], patience).await;
    assert_eq!(results, vec![Err(PublishError::Unknown(patience)); 2]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(transport.status().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_dropped_stalls_nobody() {
    let (transport, _, exchange) = with_messages(0).await;
    for number in 0..200 {
        let call = transport.publish(vec![message(&exchange, "a.b", number)], PATIENCE);
        let _ = tokio::time::timeout(Duration::from_micros(number % 5 * 100), call).await;
    }
    publish(&transport, vec![message(&exchange, "a.b", "last")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_accepts_and_says_nothing_does_not_hold_us() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let transport = Amqp::connect(&Address::parse(&format!("127.0.0.1:{port}")).unwrap(), "test");
    let mut held = Vec::new();
    // The first connection stays silent; that there is a second one shows that the first was given up.
    for _ in 0..2 {
        held.push(tokio::time::timeout(Duration::from_secs(60), silent.accept()).await.unwrap().unwrap());
    }
    assert!(transport.status().unwrap_err().contains("publishing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_messages_that_a_queue_cannot_take_are_refused() {
    let (transport, _, exchange) = with_messages(0).await;
    let foreign = foreign_client().await;
    let full = format!("{exchange}.full");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), 1.into());
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    foreign.queue_declare(full.as_str().into(), durable, arguments).await.unwrap();
    let bind = QueueBindOptions::default();
    let (queue, from) = (full.as_str().into(), exchange.as_str().into());
    foreign.queue_bind(queue, from, "full".into(), bind, FieldTable::default()).await.unwrap();

    publish(&transport, vec![message(&exchange, "full", "the one that fits")]).await;
    let keys = (0..50).map(|number| if number % 5 == 0 { "full" } else { "a.b" });
    let messages = keys.enumerate().map(|(number, key)| message(&exchange, key, number)).collect();
    for (number, result) in transport.publish(messages, PATIENCE).await.into_iter().enumerate() {
        let expected = if number % 5 == 0 { Err(PublishError::Refused) } else { Ok(()) };
        assert_eq!(result, expected, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_is_noticed_by_its_missing_heartbeats() {
    let broker = Broker::start().await.unwrap();
    let transport = Amqp::connect(&Address::parse(&broker.url()).unwrap(), "test");
    let exchange = unique_name();
    let queue = queue(&exchange, "work", "#");
    let mut subscription = transport.subscribe(Source::Shared(queue), 1);
    eventually(async || transport.status()).await;
    broker.signal(Signal::SIGSTOP).unwrap();
    // Three heartbeats, and some for a slow machine.
    eventually_within(Duration::from_secs(45), async || match transport.status() {
        Err(reason) if reason.contains("publishing") && reason.contains("consuming") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    broker.signal(Signal::SIGCONT).unwrap();
    eventually(async || transport.status()).await;
    publish(&transport, vec![message(&exchange, "a", 1)]).await;
    assert_eq!(subscription.next().await.unwrap().message.id, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_survives_a_kill_of_the_broker_also_in_a_queue_that_is_new() {
    let mut broker = Broker::start().await.unwrap();
    let transport = Amqp::connect(&Address::parse(&broker.url()).unwrap(), "test");
    let exchange = unique_name();
    let queue = queue(&exchange, "work", "#");
    transport.ensure(topic(&exchange), vec![queue.clone()]).await;
    publish(&transport, vec![message(&exchange, "a", 1)]).await;
    broker.kill().await.unwrap();
    broker.resume().await.unwrap();
    let delivery = transport.subscribe(Source::Shared(queue), 1).next().await.unwrap();
    assert_eq!(delivery.message.id, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_resumes_after_the_broker_was_killed_and_nothing_confirmed_is_lost() {
    let mut broker = Broker::prepare().unwrap();
    let transport = Arc::new(Amqp::connect(&Address::parse(&broker.url()).unwrap(), "test"));
    let exchange = unique_name();
    let queue = queue(&exchange, "work", "#");
    transport.ensure(topic(&exchange), vec![queue.clone()]).await;
    let mut subscription = transport.subscribe(Source::Shared(queue), 20);
    // The broker comes after those who use it.
    broker.resume().await.unwrap();
    let publisher = {
        let (transport, exchange) = (transport.clone(), exchange.clone());
        tokio::spawn(async move {
            for number in 0..400 {
                let patience = Duration::from_secs(120);
                let results = transport.publish(vec![message(&exchange, "a", number)], patience).await;
                assert_eq!(results, [Ok(())], "{number}");
            }
        })
    };
    let mut seen = HashSet::new();
    let mut killed = false;
    while seen.len() < 400 {
        let delivery = subscription.next().await.unwrap();
        seen.insert(delivery.message.id);
        let _ = subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await;
        if seen.len() == 100 && !killed {
            killed = true;
            broker.kill().await.unwrap();
            broker.resume().await.unwrap();
        }
    }
    publisher.await.unwrap();
    eventually(async || transport.status()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_over_the_bound_is_refused_before_it_is_sent() {
    let bus = crate::kit::bus_of(address(), &unique_name(), 100);
    let event = crate::kit::object(bus::events::ObjectId::new(), "nop");
    let error = bus.publish(&event, None, PATIENCE).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { max: 100, .. }), "{error}");
}
