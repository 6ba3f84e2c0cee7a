//! What only a bus inside one process promises: it owns a file.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{
    Acknowledge, Bus as EventBus, Handle, Message, Outcome, PublishError, Queue, Received, Settings, Slot, Source,
    Transport,
    embedded::{Embedded as Bus, Limits, Memory, OpenError},
    events::{ObjectCreated, ObjectId, Task, TaskCreated, TaskId},
};
use rand::{Rng, RngExt};
use testkit::{Volume, eventually, unique_name};

use crate::{
    events::object,
    kit::{PATIENCE, drain, id_set, ids, message, publish, queue, take, take_until, topic},
    loops::{Running, distributors},
    seed::random,
    subject::{Embedded, Mortal, Subject, bus_file, open},
    work::{Ledger, Manner, assert_undamaged, work, work_queue},
};

/// For what is not to be, or may be slow.
const SOON: Duration = Duration::from_millis(300);

/// Also the process that other cases kill: told to, it works until then.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_kills_loses_nothing_and_ends_with_what_it_confirmed() {
    crate::subject::obey().await;
    let subject = Embedded::fresh().await;
    let folder = tempfile::tempdir().unwrap();
    let (ledger, exchange) = (Ledger::in_folder(folder.path()), subject.exchange().to_owned());
    let working = work(subject.transport(), exchange, Manner::Acknowledges, 0, ledger.clone());
    tokio::select! {
        () = working => panic!("it does not end by itself"),
        () = eventually(async || match ledger.ids("seen").len() {
            500.. => Ok(()),
            count => Err(format!("{count} of 500")),
        }) => {}
    }
    let transport = subject.reopen().await;
    let unseen = ledger.ids("confirmed").difference(&ledger.ids("seen")).cloned().collect();
    let mut subscription = transport.subscribe(Source::Shared(work_queue(subject.exchange())), 60_000);
    take_until(&mut *subscription, &unseen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_process_has_open_is_refused_by_its_name() {
    let mut subject = Embedded::at_work(Manner::Holds).await;
    eventually(async || match subject.ledger().ids("confirmed").len() {
        0 => Err("it does not work yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    let file = bus_file(subject.folder());
    let error = Bus::open(&file, Limits::default()).await.err().expect("it is in use");
    assert!(matches!(&error, OpenError::InUse { path } if *path == file), "{error:?}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    // The refusal harmed nobody, and when the other one has gone, the file can be had.
    let before = subject.ledger().ids("confirmed").len();
    subject.kill().await;
    assert!(before > 0);
    open(&file, Limits::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_open_in_this_process_is_refused_until_it_is_closed() {
    let subject = Embedded::fresh().await;
    let file = bus_file(subject.folder());
    assert!(matches!(Bus::open(&file, Limits::default()).await, Err(OpenError::InUse { .. })));
    subject.reopen().await;
}

/// A closed bus file with some messages in it, all of which were confirmed.
async fn file_with_messages(folder: &Path, count: usize) -> (std::path::PathBuf, String) {
    let (file, exchange) = (bus_file(folder), unique_name());
    let bus = open(&file, Limits::default()).await.unwrap();
    bus.ensure(topic(&exchange), vec![queue(&exchange, "work", "#")]).await;
    let messages = |number: usize| Message { body: body(number).into(), ..message(&exchange, "a", number) };
    // In several commits.
    for first in (0..count).step_by(10) {
        publish(&bus, (first..first + 10).map(messages).collect()).await;
    }
    bus.close().await;
    (file, exchange)
}

fn body(number: usize) -> Vec<u8> {
    text(number).repeat(20).into_bytes()
}

/// What can be found in the file.
fn text(number: usize) -> String {
    format!("[the bytes of message {number:04}]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = file_with_messages(folder.path(), 10).await;
    let sql = |text: &str| {
        // The thread of a connection that was given up ends a moment later.
        let patiently = ["-cmd", ".timeout 5000"];
        let output = std::process::Command::new("sqlite3").args(patiently).arg(&file).arg(text).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let version: u32 = sql("PRAGMA user_version").parse().unwrap();
    sql(&format!("PRAGMA user_version = {}", version + 1));
    let error = open(&file, Limits::default()).await.err().expect("it is newer");
    assert!(matches!(&error, OpenError::Newer { .. }), "{error:?}");
    assert_eq!(sql("PRAGMA user_version"), (version + 1).to_string());
    sql(&format!("PRAGMA user_version = {version}"));
    open(&file, Limits::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_bytes_were_damaged_is_reported_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = file_with_messages(folder.path(), 100).await;
    let mut bytes = std::fs::read(&file).unwrap();
    let wanted = text(random().random_range(0..100)).into_bytes();
    // Wherever it is: some of it may be where pages have nothing any more.
    let mut places = 0;
    for at in 0..=bytes.len() - wanted.len() {
        if bytes[at..].starts_with(&wanted) {
            bytes[at + wanted.len() / 2] ^= 1;
            places += 1;
        }
    }
    assert!(places > 0, "its bytes are in the file");
    std::fs::write(&file, bytes).unwrap();
    let error = open(&file, Limits::default()).await.err().expect("it is damaged");
    assert!(matches!(&error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

/// Whatever bytes are hit: the bus says so, or all the messages are there.
#[tokio::test(flavor = "multi_thread")]
async fn damage_anywhere_in_the_file_is_reported_or_harms_no_message() {
    const HITS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let (file, exchange) = file_with_messages(folder.path(), 100).await;
    let sound = std::fs::read(&file).unwrap();
    let mut random = random();
    let mut reported = 0;
    for _ in 0..HITS {
        let place = tempfile::tempdir().unwrap();
        let copy = bus_file(place.path());
        let mut bytes = sound.clone();
        let at = random.random_range(0..bytes.len() - 16);
        random.fill_bytes(&mut bytes[at..at + 16]);
        std::fs::write(&copy, &bytes).unwrap();
        let Ok(bus) = open(&copy, Limits::default()).await else {
            reported += 1;
            continue;
        };
        let remains = drain(&bus, &queue(&exchange, "work", "#"), "a").await;
        let whole = remains.iter().enumerate().all(|(number, delivery)| delivery.message.body == body(number));
        assert!(remains.len() == 100 && whole, "16 bytes at {at} of {}: {} messages", bytes.len(), remains.len());
    }
    assert!(reported > 0, "none of {HITS} hits was noticed");
}

/// The same of the log that is beside the file after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_log_that_a_kill_left_is_reported_or_harms_nothing_that_was_confirmed() {
    const HITS: usize = 30;
    let mut subject = Embedded::at_work(Manner::Holds).await;
    eventually(async || match subject.ledger().ids("confirmed").len() {
        300.. => Ok(()),
        count => Err(format!("{count} are confirmed")),
    })
    .await;
    subject.kill().await;
    let confirmed = subject.ledger().ids("confirmed");
    let log_of = |file: &Path| file.with_extension("db-wal");
    let file = bus_file(subject.folder());
    let (database, log) = (std::fs::read(&file).unwrap(), std::fs::read(log_of(&file)).unwrap());
    let mut random = random();
    let mut reported = 0;
    for _ in 0..HITS {
        let place = tempfile::tempdir().unwrap();
        let copy = bus_file(place.path());
        let mut bytes = log.clone();
        // Not in its last part: what is torn there is a commit that nobody was told of.
        let at = random.random_range(0..bytes.len() / 2);
        random.fill_bytes(&mut bytes[at..at + 16]);
        std::fs::write(&copy, &database).unwrap();
        std::fs::write(log_of(&copy), &bytes).unwrap();
        let Ok(bus) = open(&copy, Limits::default()).await else {
            reported += 1;
            continue;
        };
        let mut subscription = bus.subscribe(Source::Shared(work_queue(subject.exchange())), 60_000);
        for delivery in take_until(&mut *subscription, &confirmed).await {
            assert_undamaged(&delivery.message);
        }
    }
    assert!(reported > 0, "none of {HITS} hits was noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bus_at_all_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = bus_file(folder.path());
    std::fs::write(&file, "a letter to a friend ".repeat(500)).unwrap();
    assert!(open(&file, Limits::default()).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a letter to a friend ".repeat(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_something_else_and_a_place_for_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("songs.db");
    let made = std::process::Command::new("sqlite3").arg(&foreign).arg("CREATE TABLE songs (name)").status().unwrap();
    assert!(made.success());
    let error = open(&foreign, Limits::default()).await.err().expect("it has songs");
    assert!(matches!(&error, OpenError::Foreign { path } if *path == foreign), "{error:?}");
    for place in [folder.path().to_owned(), folder.path().join("no/such/folder/bus.db")] {
        let error = open(&place, Limits::default()).await.err().expect("there can be no file");
        assert!(matches!(error, OpenError::Failed { .. }), "{error:?}");
    }
}

/// Small enough to be full soon.
const VOLUME_BYTES: u64 = 8 << 20;

/// A bus on a small disk, with a queue.
struct Small {
    volume: Volume,
    file: PathBuf,
    exchange: String,
    bus: Bus,
    work: Queue,
}

impl Small {
    async fn new() -> Self {
        let volume = Volume::new(VOLUME_BYTES).unwrap();
        let (file, exchange) = (bus_file(volume.path()), unique_name());
        let bus = open(&file, Limits::default()).await.unwrap();
        let work = queue(&exchange, "work", "a.#");
        bus.ensure(topic(&exchange), vec![work.clone()]).await;
        Self { volume, file, exchange, bus, work }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_confirmed_and_when_there_is_room_all_goes_on() {
    let Small { volume, file, exchange, bus, work } = Small::new().await;
    let long = |id: usize| Message { body: vec![b'x'; 100_000].into(), ..message(&exchange, "a.b", id) };
    let mut subscription = bus.subscribe(Source::Shared(work.clone()), 1000);
    publish(&bus, vec![long(0)]).await;
    let first = take(&mut *subscription, 1).await;

    volume.fill().unwrap();
    let mut count = 1;
    while bus.publish(vec![long(count)], SOON).await[0].is_ok() {
        count += 1;
    }
    let full = bus.status().unwrap_err();
    assert!(full.contains("full"), "{full}");
    // What was confirmed is delivered and can be acknowledged by whoever consumes already. Who begins to must wait, because
    // how much they may hold is written down first.
    let confirmed = take(&mut *subscription, count - 1).await;
    for delivery in first.into_iter().chain(confirmed) {
        subscription.acknowledge(delivery.receipt, Acknowledge::One).await.unwrap();
    }
    // What takes a transaction fails in another way than what takes a row. It waits, too.
    let other = queue(&exchange, "other", "b.#");
    let declared = bus.ensure(topic(&exchange), vec![other.clone()]);
    assert!(tokio::time::timeout(SOON, declared).await.is_err());
    for _ in 0..3 {
        assert!(bus.publish(vec![long(count)], SOON).await[0].is_err());
    }

    volume.make_room().unwrap();
    eventually(async || bus.status()).await;
    publish(&bus, vec![long(count), message(&exchange, "b.c", "other")]).await;
    let unconfirmed: BTreeSet<String> = take(&mut *subscription, 1).await.into_iter().map(|d| d.message.id).collect();
    assert_eq!(unconfirmed, BTreeSet::from([count.to_string()]));
    drop(subscription);
    bus.close().await;
    let bus = open(&file, Limits::default()).await.unwrap();
    assert_eq!(ids(&drain(&bus, &other, "b.c").await), ["other"]);
    // Those that were not confirmed in time may have been taken more than once; nothing else is there.
    let left = drain(&bus, &work, "a.b").await;
    assert!(!left.is_empty() && ids(&left).iter().all(|id| *id == count.to_string()), "{:?}", ids(&left));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_it_closes_all_the_same_and_confirms_nothing_that_is_not_there() {
    let Small { volume, file, exchange, bus, work } = Small::new().await;
    let long = |id: usize| Message { body: vec![b'x'; 100_000].into(), ..message(&exchange, "a.b", id) };
    volume.fill().unwrap();
    let (mut confirmed, mut count) = (BTreeSet::new(), 0);
    while bus.status().is_ok() {
        if bus.publish(vec![long(count)], SOON).await[0].is_ok() {
            confirmed.insert(count.to_string());
        }
        count += 1;
    }
    let (results, closed) = tokio::join!(bus.publish(vec![long(count)], PATIENCE), async {
        tokio::task::yield_now().await;
        tokio::time::timeout(PATIENCE / 2, bus.close()).await
    });
    closed.expect("it ends");
    assert_eq!(results, [Err(PublishError::Closed)]);

    volume.make_room().unwrap();
    let bus = open(&file, Limits::default()).await.unwrap();
    let there = id_set(&drain(&bus, &work, "a.b").await);
    assert!(there.is_superset(&confirmed) && !there.contains(&count.to_string()), "{there:?} of {confirmed:?}");
}

/// Splits each object: what is held is done only when that is published.
struct Splits(EventBus, AtomicUsize);

impl Handle<ObjectCreated> for Splits {
    async fn handle(&self, received: Received<ObjectCreated>, _: Slot) -> Outcome {
        let object = received.event.object;
        let id = TaskId::of(object.id, 1, 0);
        let (operation, parameters, data) = (object.operation, object.parameters, object.data);
        let task = Task { id, object_id: object.id, part: 0, parts: 1, operation, parameters, data, round: 0 };
        match self.0.publish(&TaskCreated { task }, Some(&received.envelope), Duration::from_secs(1)).await {
            Ok(()) => {
                self.1.fetch_add(1, Ordering::Relaxed);
                Outcome::Done
            }
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_what_waits_is_taken_however_much_waits() {
    let limits = Limits { max_waiting_bytes: 200_000, ..Limits::default() };
    let transport: Arc<dyn Transport> = Arc::new(Bus::in_memory(&Memory::default(), limits));
    let bus = EventBus::over(
        transport,
        Settings { exchange: unique_name(), app: "test".to_owned(), max_event_bytes: 100_000 },
    );
    let mut count = 0;
    while bus.status().is_ok() {
        count += usize::from(bus.publish(&object(ObjectId::new(), "nop"), None, SOON).await.is_ok());
    }
    assert!(bus.status().unwrap_err().contains("wait to be consumed"));
    // Nobody consumes the tasks: what waits becomes more.
    let splits = Arc::new(Splits(bus.clone(), AtomicUsize::new(0)));
    let running = Running::start(&bus, distributors(&bus), &splits);
    eventually(async || match splits.1.load(Ordering::Relaxed) {
        done if done >= count => Ok(()),
        done => Err(format!("{done} of {count}")),
    })
    .await;
    running.end().await;
    assert_eq!(bus.depth(&bus.topology().distributor()).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_place_cannot_be_written_now_says_that_it_may_be_later() {
    let volume = Volume::new(VOLUME_BYTES).unwrap();
    let file = bus_file(volume.path());
    volume.fill().unwrap();
    let error = open(&file, Limits::default()).await.err().expect("there is no room");
    assert!(matches!(&error, OpenError::Unavailable { path, .. } if *path == file), "{error:?}");
    volume.make_room().unwrap();
    open(&file, Limits::default()).await.unwrap().close().await;
    volume.set_read_only(true).unwrap();
    let error = open(&file, Limits::default()).await.err().expect("it cannot be written");
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error:?}");
    volume.set_read_only(false).unwrap();
    open(&file, Limits::default()).await.unwrap();
}
