//! A disk that is full, or read-only: nothing is lost, the processes stay and say why they are not ready, and when there is
//! room again they go on by themselves.

use std::time::{Duration, Instant};

use bus::Message;
use serde_json::{Value, json};
use testkit::{Options, System, Volume, eventually, shared_broker_url};

use crate::{
    dead_letters::{listed, publish},
    kit::{all_finished, figure, stopped_with_empty_queues},
};

/// Small enough to be filled at once, large enough for what a start writes.
const VOLUME_BYTES: u64 = 16 << 20;
/// So long that the rest of a log, which needs no room, is soon used up.
const DATA_BYTES: usize = 100_000;
/// A row that is written again in whole when it changes.
const LONG_BYTES: usize = 1_000_000;
/// The volume has not room for so many.
const MANY: usize = 1000;

async fn not_ready_because(system: &System, name: &str, reasons: &[&str]) {
    eventually(async || {
        let missing = system.missing(name).await.map_err(|error| error.to_string())?;
        if reasons.iter().any(|reason| missing.contains(reason)) { Ok(()) } else { Err(format!("{name}: {missing:?}")) }
    })
    .await;
}

fn object(number: usize) -> Value {
    json!({"operation": "nop", "data": ["x".repeat(DATA_BYTES), number]})
}

/// Submits an object under a key of its own; whether it was accepted, and what was said.
async fn submit(system: &System, number: usize) -> (u16, Option<String>, String) {
    let request = system.client().post(system.url_of("datagen", "/api/objects"));
    let answer =
        request.header("idempotency-key", format!("disk-{number}")).json(&object(number)).send().await.unwrap();
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), retry_after, answer.text().await.unwrap())
}

async fn submitted(system: &System, number: usize) {
    eventually(async || match submit(system, number).await {
        (201, ..) => Ok(()),
        (503, _, text) => Err(text),
        (status, _, text) => panic!("{status}: {text}"),
    })
    .await;
}

crate::kit::everywhere! {
    when_the_disk_of_the_record_is_full_events_wait_and_are_merged_when_there_is_room,
    when_the_disk_of_the_record_is_full_a_replay_is_refused_until_there_is_room,
    a_start_on_a_full_disk_waits_for_room,
    a_start_on_a_read_only_disk_waits_until_it_can_be_written,
}

async fn when_the_disk_of_the_record_is_full_events_wait_and_are_merged_when_there_is_room(options: Options) {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    let mut system = System::start(options.record_in(volume.path())).await.unwrap();
    let before = system.process("statistics").id();
    submitted(&system, 0).await;
    all_finished(&system, 1).await;

    volume.fill().unwrap();
    let mut accepted = 1;
    while system.missing("statistics").await.unwrap().is_empty() {
        assert!(accepted < MANY, "the record is still written");
        submitted(&system, accepted).await;
        accepted += 1;
    }
    not_ready_because(&system, "statistics", &["full"]).await;
    // What it has is answered, and what it has not is not lost: it is on the bus.
    let merged = figure(&system, "objects succeeded").await;
    assert!(merged < accepted as f64, "{merged} of {accepted}");
    assert_eq!(system.get("/api/statistics").await.unwrap()["objects"]["succeeded"], merged as u64);
    assert!(system.runs("statistics"));

    volume.make_room().unwrap();
    system.all_ready().await;
    all_finished(&system, accepted).await;
    assert_eq!(figure(&system, "objects succeeded").await, accepted as f64);
    assert_eq!(figure(&system, "objects created").await, accepted as f64);
    assert_eq!(figure(&system, "tasks failed").await, 0.0);
    assert_eq!(system.process("statistics").id(), before, "it never ended");
    stopped_with_empty_queues(&mut system).await;
}

async fn when_the_disk_of_the_record_is_full_a_replay_is_refused_until_there_is_room(options: Options) {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    let mut system = System::start(options.record_in(volume.path())).await.unwrap();
    let long = Message {
        exchange: system.exchange().to_owned(),
        routing_key: "object.created.nop".to_owned(),
        id: "long".to_owned(),
        body: vec![b'x'; LONG_BYTES].into(),
        ..Message::default()
    };
    publish(&mut system, long).await;
    let letter = listed(&system, "state=waiting", 2).await.remove(0);
    let path = format!("/api/dead-letters/{}/replay", letter["id"].as_str().unwrap());
    let replay = async || {
        let answer = system.client().post(system.url_of("datagen", &path)).send().await.unwrap();
        let may_come_again = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), may_come_again, answer.text().await.unwrap())
    };

    volume.fill().unwrap();
    let (status, may_come_again, text) = replay().await;
    assert!(status == 503 && may_come_again && text.contains("full"), "{status}: {text}");
    volume.make_room().unwrap();
    let (status, _, text) = replay().await;
    assert_eq!(status, 202, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_of_the_bus_is_full_submissions_are_refused_until_there_is_room() {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    let mut system = System::start(Options::embedded().bus_in(volume.path())).await.unwrap();
    let before = system.process("ebs").id();
    volume.fill().unwrap();
    let mut accepted = 0;
    let refused = loop {
        assert!(accepted < MANY, "the bus is still written");
        let began = Instant::now();
        match submit(&system, accepted).await {
            (201, ..) => accepted += 1,
            (503, retry_after, text) => {
                assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
                assert!(retry_after.is_some(), "{text}");
                break accepted;
            }
            (status, _, text) => panic!("{status}: {text}"),
        }
    };
    not_ready_because(&system, "ebs", &["full"]).await;
    // What was merged before can be read.
    system.get("/api/statistics").await.unwrap();
    assert!(system.runs("ebs"));

    volume.make_room().unwrap();
    system.all_ready().await;
    // The one that was refused may have been taken: under its key it is the same object.
    for number in refused..refused + 3 {
        submitted(&system, number).await;
    }
    all_finished(&system, refused + 3).await;
    assert_eq!(figure(&system, "objects created").await, (refused + 3) as f64);
    assert_eq!(figure(&system, "objects succeeded").await, (refused + 3) as f64);
    assert_eq!(system.process("ebs").id(), before, "it never ended");
    stopped_with_empty_queues(&mut system).await;
}

async fn a_start_on_a_full_disk_waits_for_room(options: Options) {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    volume.fill().unwrap();
    let options = options.record_in(volume.path()).bus_in(volume.path());
    let mut system = System::prepare(options).unwrap();
    system.start_all().unwrap();
    waits_and_goes_on(&mut system, &["full", "No space"], || volume.make_room().unwrap()).await;
}

/// Nothing that is waited for keeps it from ending.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_started_on_a_full_disk_stops_when_it_is_told_to() {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    let options = Options::embedded().record_in(volume.path()).bus_in(volume.path());
    let mut system = System::start(options).await.unwrap();
    system.stop("ebs").await.unwrap();
    volume.fill().unwrap();
    // It has its files, and now another operation, whose queue is to be made.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operations.toml");
    std::fs::write(&file, "[operations.other]\ndescription = 'Of a test.'\nexternal = true\n").unwrap();
    system.set("OPERATIONS_FILE", file.display());
    system.start_all().unwrap();
    eventually(async || system.missing("ebs").await.map(drop).map_err(|error| error.to_string())).await;
    not_ready_because(&system, "ebs", &["full", "No space"]).await;
    system.stop("ebs").await.unwrap();
}

async fn a_start_on_a_read_only_disk_waits_until_it_can_be_written(options: Options) {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    // Not its first start.
    let options = options.record_in(volume.path()).bus_in(volume.path());
    let mut system = System::start(options).await.unwrap();
    submitted(&system, 0).await;
    all_finished(&system, 1).await;
    for name in system.names() {
        system.stop(&name).await.unwrap();
    }
    volume.set_read_only(true).unwrap();
    system.start_all().unwrap();
    waits_and_goes_on(&mut system, &["Read-only", "readonly"], || volume.set_read_only(false).unwrap()).await;
    assert_eq!(figure(&system, "objects succeeded").await, 2.0);
}

/// It is not ready for that reason, but alive, and does its work when that is over.
async fn waits_and_goes_on(system: &mut System, reasons: &[&str], end: impl FnOnce()) {
    let before = system.process("statistics").id();
    eventually(async || system.missing("statistics").await.map(drop).map_err(|error| error.to_string())).await;
    not_ready_because(system, "statistics", reasons).await;
    let alive = system.client().get(system.url_of("statistics", "/livez")).send().await.unwrap();
    assert_eq!(alive.status(), 200);
    end();
    system.all_ready().await;
    assert_eq!(system.process("statistics").id(), before, "it never ended");
    let finished = system.submit(&json!({"operation": "plusone", "data": [1]})).await.unwrap();
    system.finished(finished["id"].as_str().unwrap()).await.unwrap();
}

/// Starting by hand over a broker, too: the record alone has no room.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_over_rabbitmq_waits_for_room_for_its_record() {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    volume.fill().unwrap();
    let options = Options::one_process_on(shared_broker_url()).record_in(volume.path());
    let mut system = System::prepare(options).unwrap();
    system.start_all().unwrap();
    waits_and_goes_on(&mut system, &["full", "No space"], || volume.make_room().unwrap()).await;
}
