//! `work_queue`.

use testkit::{Process, eventually, shared_broker_url, waiting_messages};

use crate::kit::{Place, count, interrupt, line};

async fn produce(place: &Place, text: &str) {
    let ended = place.run("work_queue", &format!("produce {text}")).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_consumer_that_starts_later_does_what_was_produced_before_and_acknowledges_it() {
    let place = Place::on_broker();
    let ended = place.run("work_queue", "produce my message").await;
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "produced: my message\n"), "{ended:?}");
    produce(&place, "").await;
    assert_eq!(waiting_messages(&shared_broker_url(), &place.queue("orders")).await.unwrap(), Some(2));

    let mut consumer = place.start("work_queue", "consume");
    line(&consumer, "done: my message").await;
    line(&consumer, "done: Hello, work!").await;
    interrupt(&mut consumer).await;
    // What was not acknowledged would be back.
    assert_eq!(waiting_messages(&shared_broker_url(), &place.queue("orders")).await.unwrap(), Some(0));
}

#[tokio::test]
async fn consumers_share_the_work_and_each_message_is_for_one_of_them() {
    let place = Place::on_broker();
    let consumers = [(); 2].map(|()| place.start("work_queue", "consume"));
    for number in 0..6 {
        produce(&place, &format!("number {number}.")).await;
    }
    let done = |consumer: &Process| count(consumer, "done: ");
    eventually(async || {
        let all: usize = consumers.iter().map(done).sum();
        if all >= 6 { Ok(()) } else { Err(format!("{all} of 6")) }
    })
    .await;
    for number in 0..6 {
        let of_this: usize = consumers.iter().map(|consumer| count(consumer, &format!("done: number {number}."))).sum();
        assert_eq!(of_this, 1, "number {number}");
    }
    assert!(consumers.iter().all(|consumer| done(consumer) > 0), "a second of work each: nobody has time for all");
}

#[tokio::test]
async fn what_a_consumer_was_doing_when_it_was_killed_is_done_by_another() {
    let place = Place::on_broker();
    produce(&place, "long...").await;
    let mut killed = place.start("work_queue", "consume");
    line(&killed, "working on: long...").await;
    killed.kill().await.unwrap();
    assert_eq!(count(&killed, "done"), 0, "it was killed too late");
    let other = place.start("work_queue", "consume");
    line(&other, "done: long...").await;
}

#[tokio::test]
async fn what_is_being_done_at_ctrl_c_is_finished() {
    let place = Place::on_broker();
    produce(&place, "long..").await;
    let mut consumer = place.start("work_queue", "consume");
    line(&consumer, "working on: long..").await;
    interrupt(&mut consumer).await;
    assert_eq!(count(&consumer, "done: long.."), 1);
}

#[tokio::test]
async fn on_the_embedded_bus_it_is_one_process_or_one_after_the_other() {
    let mut both = Place::embedded().start("work_queue", "both at once");
    line(&both, "produced: at once").await;
    line(&both, "done: at once").await;
    interrupt(&mut both).await;

    let folder = tempfile::tempdir().unwrap();
    let place = Place::at(&format!("embedded:{}", folder.path().join("work.db").display()));
    produce(&place, "kept").await;
    let mut consumer = place.start("work_queue", "consume");
    line(&consumer, "done: kept").await;
    let ended = place.run("work_queue", "produce").await;
    assert!(ended.code == Some(1) && ended.errors.contains("in use by another process"), "{ended:?}");
    interrupt(&mut consumer).await;
}

#[tokio::test]
async fn bad_commands_are_told_what_is_allowed() {
    let ended = Place::embedded().run("work_queue", "produce").await;
    assert!(ended.code == Some(64) && ended.errors.contains("gone with this process"), "{ended:?}");
    let place = Place::at("embedded:never-made.db");
    for arguments in ["", "eat", "consume this"] {
        let ended = place.run("work_queue", arguments).await;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.errors.contains("produce [WORDS...]") && ended.errors.contains("consume"), "{ended:?}");
    }
    let ended = Place::at("http://localhost").run("work_queue", "produce").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("QUEUE_URL") && ended.errors.contains("amqp://"), "{ended:?}");
}
