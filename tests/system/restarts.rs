//! Eighteen restarts, each process in its turn, by kill -9 or in good order, while objects come in: exactly the accepted
//! objects finish, each counted once.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Options, System, eventually_within};

use crate::kit::{all_finished, everywhere, figure, stopped_with_empty_queues};

/// How many objects; `EBS_TEST_OBJECTS` says otherwise.
const OBJECTS: usize = 600;
const CLIENTS: usize = 8;
/// Three for each of six services; all of them for the one process that they may be.
const RESTARTS: usize = 18;
const WORDS: [&str; 4] = ["apple", "banana", "cherry", "date"];

/// How a process ends.
#[derive(Clone, Copy)]
enum How {
    /// By kill -9.
    Killed,
    /// By SIGTERM; it must end well.
    Stopped,
}

/// The text of object number `number`: each word as often as its place says, and one that tells it from its neighbours.
fn text(number: usize) -> String {
    let words = WORDS.iter().enumerate().flat_map(|(place, word)| vec![*word; place + 1]);
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.push(format!("number{}", number % 10));
    words.join(" ")
}

fn expected_totals(objects: usize) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for number in 0..objects {
        for word in text(number).split(' ') {
            *totals.entry(word.to_owned()).or_default() += 1;
        }
    }
    totals
}

/// Submits every object until it is accepted, whatever happens to the door; the ids.
async fn submit_all(url: &str, objects: usize, accepted: &AtomicUsize) -> HashSet<String> {
    let next = AtomicUsize::new(0);
    let clients = (0..CLIENTS).map(async |_| {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let mut ids = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= objects {
                return ids;
            }
            let body = json!({"data": text(number), "name": format!("object {number}")});
            ids.push(submit(&client, url, number, &body).await);
            accepted.fetch_add(1, Ordering::SeqCst);
        }
    });
    join_all(clients).await.into_iter().flatten().collect()
}

/// Ends every process in turn and starts it again, spread over the submissions.
async fn restart_all(how: How, system: &mut System, objects: usize, accepted: &AtomicUsize) {
    let names = system.names();
    for restart in 0..RESTARTS {
        let until = objects * (restart + 1) / (RESTARTS + 2);
        eventually_within(Duration::from_secs(300), async || match accepted.load(Ordering::SeqCst) {
            count if count >= until => Ok(()),
            count => Err(format!("{count} of {until} accepted")),
        })
        .await;
        let name = &names[restart % names.len()];
        match how {
            How::Killed => system.kill(name).await.unwrap(),
            How::Stopped => {
                // As whoever rolls through a deployment does: what was started a moment ago may not hear signals yet.
                system.ready(name).await;
                system.stop(name).await.unwrap();
            }
        }
        system.start_service(name).unwrap();
    }
}

async fn submit(client: &reqwest::Client, url: &str, number: usize, body: &Value) -> String {
    eventually_within(Duration::from_secs(120), async || {
        let request = client.post(url).header("idempotency-key", format!("restarts-{number}")).json(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        match status {
            201 => {
                let object: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                Ok(object["id"].as_str().unwrap().to_owned())
            }
            503 => Err(text),
            _ => panic!("{status}: {text}"),
        }
    })
    .await
}

everywhere! {
    exactly_the_accepted_objects_finish_whatever_is_killed,
    exactly_the_accepted_objects_finish_in_rolling_restarts,
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_over_rabbitmq_comes_to_the_same_outcome() {
    exactly_the_accepted_objects_finish_whatever_is_killed(Options::one_process_on(testkit::shared_broker_url())).await;
}

async fn exactly_the_accepted_objects_finish_whatever_is_killed(options: Options) {
    exactly_the_accepted_objects_finish(How::Killed, options).await;
}

async fn exactly_the_accepted_objects_finish_in_rolling_restarts(options: Options) {
    // So that tasks are executed whenever a processor is told to stop.
    let options = options.set("PROCESS_TIME", "0s..50ms").set("CONCURRENCY", 16);
    exactly_the_accepted_objects_finish(How::Stopped, options).await;
}

async fn exactly_the_accepted_objects_finish(how: How, options: Options) {
    let objects = std::env::var("EBS_TEST_OBJECTS").map_or(OBJECTS, |count| count.parse().unwrap());
    let mut system = System::start(options.processors(3)).await.unwrap();
    let accepted = AtomicUsize::new(0);
    let url = system.url_of("datagen", "/api/objects");
    let (ids, ()) =
        tokio::join!(submit_all(&url, objects, &accepted), restart_all(how, &mut system, objects, &accepted));
    assert_eq!(ids.len(), objects, "each object has an id of its own");
    system.all_ready().await;
    all_finished(&system, objects).await;

    let finished: HashSet<String> = system
        .sqlite3("select id from objects where status = 'succeeded'")
        .await
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(finished, ids, "exactly the accepted objects finish");
    let tasks = "select count(*), min(n), max(n) from (select count(*) n from tasks group by object_id)";
    assert_eq!(system.sqlite3(tasks).await.unwrap().trim(), format!("{objects}|3|3"), "each with its three tasks");
    let attempts = "select min(attempt), max(attempt) from tasks";
    assert_eq!(system.sqlite3(attempts).await.unwrap().trim(), "1|1", "no restart costs an attempt");
    for (name, expected) in [
        ("objects created", objects),
        ("objects succeeded", objects),
        ("objects failed", 0),
        ("objects in progress", 0),
        ("tasks distributed", 3 * objects),
        ("tasks in progress", 0),
        ("tasks processed", 3 * objects),
        ("tasks failed", 0),
    ] {
        assert_eq!(figure(&system, name).await, expected as f64, "{name}");
    }
    assert_eq!(crate::kit::totals(&system).await, expected_totals(objects));
    stopped_with_empty_queues(&mut system).await;
}
