//! The word counter: a text in by a form, the ten most frequent words of all texts out.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::{Options, System, eventually, eventually_within, shared_broker_url};

use crate::{
    kit::{all_finished, everywhere, form},
    word_counts::{counted_elsewhere, longest_license},
};

everywhere! {
    the_report_is_about_everything_submitted_so_far,
    what_was_counted_can_be_forgotten,
    eight_clients_lose_no_word_while_processors_are_killed,
}

/// As `curl -d` does it: the body is as it stands here.
async fn add(system: &System, body: &str) -> (StatusCode, Value) {
    let request = system.client().post(system.url_of("datagen", "/add-frequencies"));
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// The report of a text that is counted, as words and how often they occurred.
async fn report(system: &System, body: &str) -> Vec<(String, u64)> {
    let (status, report) = add(system, body).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    let frequencies = report["frequencies"].as_array().unwrap().iter();
    frequencies.map(|word| (word["name"].as_str().unwrap().to_owned(), word["count"].as_u64().unwrap())).collect()
}

fn words(words: &[(&str, u64)]) -> Vec<(String, u64)> {
    words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

async fn the_report_is_about_everything_submitted_so_far(options: Options) {
    let system = System::start(options).await.unwrap();
    assert_eq!(report(&system, "text=a b c d").await, words(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
    assert_eq!(report(&system, "text=a+b%20c d").await, words(&[("a", 2), ("b", 2), ("c", 2), ("d", 2)]));
    let folded = report(&system, "text=A, a! \u{201c}a\u{201d}").await;
    assert_eq!(folded[0], ("a".to_owned(), 5), "case and punctuation do not tell words apart");
    assert_eq!(report(&system, "text=").await, folded, "no words are none");
    let many = report(&system, "text=e e e e e e f f f f f f f g h i j k l").await;
    assert_eq!(many[..3], words(&[("f", 7), ("e", 6), ("a", 5)]));
    assert_eq!(many.len(), 10);
    // A text is an object like any other, of three tasks.
    let (_, report) = add(&system, "text=one two three four five six seven").await;
    let object = system.get(&format!("/api/objects/{}", report["object"].as_str().unwrap())).await.unwrap();
    assert_eq!(object["tasks"].as_array().unwrap().len(), 3);
    eventually(async || {
        let lines = system.process("datagen").lines();
        let said = lines.iter().any(|line| line.contains("the most frequent words: f 7, e 6, a 5"));
        if said { Ok(()) } else { Err(format!("the report is not in the log: {lines:?}")) }
    })
    .await;
}

async fn what_was_counted_can_be_forgotten(options: Options) {
    let system = System::start(options).await.unwrap();
    let delete = async |path: &str| {
        let answer = system.client().delete(system.url_of("datagen", path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    report(&system, "text=a b").await;
    assert_eq!(delete("/delete-frequencies").await, (200, "Deleted".to_owned()));
    assert_eq!(report(&system, "text=b c").await, words(&[("b", 1), ("c", 1)]));
    let (status, reset) = delete("/api/totals/word-frequencies").await;
    assert_eq!(
        (status, serde_json::from_str(&reset).unwrap()),
        (200, json!({"operation": "word-frequencies", "deleted": 2}))
    );
    assert_eq!(system.get("/api/totals/word-frequencies").await.unwrap()["distinct"], 0);
    let statistics = system.get("/api/statistics").await.unwrap();
    assert_eq!(statistics["objects"]["succeeded"], 2, "objects and figures stay as they are");
}

async fn eight_clients_lose_no_word_while_processors_are_killed(options: Options) {
    const CLIENTS: usize = 8;
    const KILLS: usize = 6;
    let texts: Vec<String> = (0..4).map(|number| format!("{} word{number} naïve", longest_license())).collect();
    let options = options.processors(3).set("PROCESS_TIME", "0s..100ms").set("CONCURRENCY", 2);
    let mut system = System::start(options).await.unwrap();
    let (url, answered) = (system.url_of("datagen", "/add-frequencies"), AtomicUsize::new(0));
    let clients = join_all((0..CLIENTS).map(async |client| {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(50)).build().unwrap();
        for (number, text) in texts.iter().enumerate() {
            eventually_within(Duration::from_secs(180), async || {
                let request = http.post(&url).header("idempotency-key", format!("{client}-{number}"));
                let answer = form(request, text).send().await.map_err(|error| error.to_string())?;
                match answer.status().as_u16() {
                    200 | 202 => Ok(()),
                    503 => Err("refused".to_owned()),
                    other => panic!("{other}: {}", answer.text().await.unwrap()),
                }
            })
            .await;
            answered.fetch_add(1, Ordering::SeqCst);
        }
    }));
    let objects = CLIENTS * texts.len();
    let names = system.names();
    let processors: Vec<&String> = names.iter().filter(|name| name.starts_with("processor")).collect();
    // One process is its processor, too.
    let victims = if processors.is_empty() { names.iter().collect() } else { processors };
    let killing = async {
        for kill in 0..KILLS {
            let until = objects * kill / KILLS;
            eventually_within(Duration::from_secs(180), async || match answered.load(Ordering::SeqCst) {
                count if count >= until => Ok(()),
                count => Err(format!("{count} of {until} are answered")),
            })
            .await;
            let victim = victims[kill % victims.len()];
            system.kill(victim).await.unwrap();
            system.start_service(victim).unwrap();
        }
    };
    tokio::join!(clients, killing);
    system.all_ready().await;
    all_finished(&system, objects).await;

    let mut expected = BTreeMap::<String, u64>::new();
    for text in &texts {
        for (word, count) in counted_elsewhere(text).await {
            *expected.entry(word).or_default() += count * CLIENTS as u64;
        }
    }
    let totals = system.sqlite3("select json_group_object(name, count) from totals").await.unwrap();
    let totals: BTreeMap<String, u64> = serde_json::from_str(&totals).unwrap();
    assert_eq!(totals, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_waits_for_a_processor_and_is_counted_when_one_joins() {
    let mut system = System::start(Options::on(shared_broker_url())).await.unwrap();
    system.stop("processor-0").await.unwrap();
    let request = system.client().post(system.url_of("datagen", "/add-frequencies")).header("prefer", "wait=1");
    let answer = form(request, "a").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let on_its_way: Value = answer.json().await.unwrap();
    assert!(location.ends_with(on_its_way["object"].as_str().unwrap()), "{on_its_way}");

    let url = system.url_of("datagen", "/add-frequencies");
    let request = form(system.client().post(url).header("prefer", "wait=60"), "a");
    let waiting = tokio::spawn(request.send());
    eventually(async || {
        let objects = system.get("/api/statistics").await.map_err(|error| error.to_string())?["objects"].clone();
        if objects["created"] == 2 { Ok(()) } else { Err(objects.to_string()) }
    })
    .await;
    assert!(!waiting.is_finished());
    system.start_service("processor-0").unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // Both are counted, or the second one was first.
    let report: Value = answer.json().await.unwrap();
    assert!(["1", "2"].contains(&report["frequencies"][0]["count"].to_string().as_str()), "{report}");
    all_finished(&system, 2).await;
    assert_eq!(system.get("/api/totals/word-frequencies").await.unwrap()["total"], 2);
}
