//! The documents that people write say what the code does.

use std::collections::BTreeSet;

use bus::{RETRY_DELAYS, Topology};
use contract::{EVENT_TYPES, places};

use crate::{
    kit::{file, flow},
    markdown::{code, first_block, table, words},
};

const SERVICES: [&str; 4] = ["datagen", "distributor", "processor", "statistics"];

/// The services that a text names.
fn services(text: &str) -> BTreeSet<&'static str> {
    SERVICES.into_iter().filter(|service| words(text).any(|word| word == *service)).collect()
}

/// The types of events that a text names, and whatever else looks like one.
fn events(text: &str) -> BTreeSet<&str> {
    let is_type =
        |word: &&str| word.contains('_') && word.chars().all(|letter| letter == '_' || letter.is_ascii_uppercase());
    words(text).filter(is_type).collect()
}

#[tokio::test]
async fn the_table_of_events_in_architecture_is_the_flow() {
    let flow = flow().await;
    let text = file("ARCHITECTURE.md");
    let rows = table(&text, &["event", "routing key", "from", "to", "says"]);
    let named: Vec<&str> = rows.iter().map(|row| code(&row[0])[0]).collect();
    assert_eq!(named, EVENT_TYPES.map(|event| event.name));
    for row in &rows {
        let name = code(&row[0])[0];
        let writers = flow.writers(name);
        assert_eq!(services(&row[2]), writers.iter().map(|writer| writer.service).collect(), "who publishes {name}");
        assert!(writers.iter().all(|writer| code(&row[1]) == [&*writer.routing_key]), "{name}: {} {writers:?}", row[1]);
        let readers = flow.readers(name).into_iter().map(|(_, service)| service).collect();
        assert_eq!(services(&row[3]), readers, "who consumes {name}");
    }
}

#[tokio::test]
async fn the_table_of_queues_in_architecture_is_the_topology_and_the_flow() {
    let (flow, places) = (flow().await, places(&Topology::new("ebs")));
    let text = file("ARCHITECTURE.md");
    let rows = table(&text, &["queue", "gets", "consumed by"]);
    let named: Vec<&str> = rows.iter().map(|row| code(&row[0])[0]).collect();
    assert_eq!(named, places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>());
    for (row, place) in rows.iter().zip(&places) {
        if !place.patterns.is_empty() {
            assert_eq!(code(&row[1]), place.patterns, "{}", place.name);
        }
        if !place.values.is_empty() {
            let seconds: Vec<u64> = words(&row[1]).filter_map(|word| word.parse().ok()).collect();
            assert_eq!(seconds, RETRY_DELAYS.map(|delay| delay.as_secs()), "{}", place.name);
        }
        let consumers = flow.consumers_of(&place.name);
        assert_eq!(services(&row[2]), consumers.iter().copied().collect(), "who consumes {}", place.name);
        assert_eq!(words(&row[2]).any(|word| word == "nobody"), consumers.is_empty(), "{}", place.name);
    }
    let known: BTreeSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
    let consumed: BTreeSet<&str> = flow.consumers.iter().map(|(queue, _)| queue.as_str()).collect();
    assert!(consumed.is_subset(&known), "{consumed:?}");
}

#[tokio::test]
async fn what_make_flow_prints_has_who_publishes_and_who_consumes_each_event() {
    let flow = flow().await;
    let printed = flow.to_string();
    let is_drawn = |word: &&str| word.chars().all(|letter| "─▶┬├└".contains(letter));
    let lines = printed.lines().map(|line| line.split_whitespace().filter(|word| !is_drawn(word)).collect());
    let lines: Vec<Vec<&str>> = lines.collect();
    for event in EVENT_TYPES {
        for published in flow.writers(event.name) {
            let (queue, reader) = flow.readers(event.name)[0];
            let line = [published.service, event.name, &published.routing_key, queue, reader];
            assert!(lines.iter().any(|printed| *printed == line), "{line:?} is missing: {printed}");
        }
        for (queue, reader) in flow.readers(event.name) {
            assert!(lines.iter().any(|printed| printed.ends_with(&[queue, reader])), "{queue}, {reader}: {printed}");
        }
    }
    for copied in &flow.copied {
        let words = [&*copied.kind, &copied.through, &copied.queue, copied.service];
        let are_in = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(printed.lines().any(are_in), "{copied:?} is missing: {printed}");
    }
}

#[tokio::test]
async fn the_picture_in_architecture_is_what_make_flow_prints() {
    let text = file("ARCHITECTURE.md");
    let (_, rest) = text.split_once("<!-- What `make flow` prints. -->\n```\n").expect("where the picture begins");
    let (picture, _) = rest.split_once("```\n").expect("where it ends");
    let flow = flow().await.to_string();
    assert!(picture == flow, "this is what `make flow` prints, put it into ARCHITECTURE.md:\n{flow}");
}

#[tokio::test]
async fn the_picture_in_the_readme_has_every_event_and_every_service() {
    let text = file("README.md");
    let picture = first_block(&text);
    assert_eq!(events(picture), EVENT_TYPES.iter().map(|event| event.name).collect());
    assert_eq!(services(picture), BTreeSet::from(SERVICES));
}

#[tokio::test]
async fn each_service_says_of_itself_what_it_consumes_and_publishes() {
    let flow = flow().await;
    for service in SERVICES {
        let text = file(&format!("services/{service}/src/lib.rs"));
        let part = |begin: &str, end: &str| text.split(begin).nth(1).unwrap().split(end).next().unwrap().to_owned();
        let (consumes, publishes) = (part("*Consumes*", "*Publishes*"), part("*Publishes*", "*Stores*"));
        let consumed = EVENT_TYPES.iter().map(|event| event.name);
        let consumed = consumed.filter(|kind| flow.readers(kind).iter().any(|(_, reader)| *reader == service));
        let consumed: BTreeSet<&str> = consumed.collect();
        if words(&consumes).any(|word| word == "everything") {
            assert_eq!(consumed.len(), EVENT_TYPES.len(), "{service}: {consumed:?}");
        } else {
            assert_eq!(events(&consumes), consumed, "{service} consumes");
        }
        let published = flow.published.iter().filter(|published| published.service == service);
        assert_eq!(events(&publishes), published.map(|published| &*published.kind).collect(), "{service} publishes");
    }
}
