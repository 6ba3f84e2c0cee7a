//! What these tests share.

use serde_json::Value;
use testkit::{System, eventually, waiting_messages};

/// The headline figures, as the view shows them: name and value.
pub async fn figure(system: &System, name: &str) -> f64 {
    let value = system.sqlite3(&format!("select value from statistics where figure = '{name}'")).await.unwrap();
    value.trim().parse().unwrap_or_else(|_| panic!("the view says {value:?} for {name:?}"))
}

/// Waits until so many objects have finished.
pub async fn all_finished(system: &System, count: usize) {
    eventually(async || {
        let statistics = system.get("/api/statistics").await.map_err(|error| format!("{error:#}"))?;
        let objects = &statistics["objects"];
        let number = |name: &str| objects[name].as_u64().unwrap_or_default();
        let finished = number("succeeded") + number("failed") + number("timed_out");
        if finished >= count as u64 { Ok(()) } else { Err(format!("{finished} of {count} finished: {statistics}")) }
    })
    .await;
}

/// The totals of word-frequencies: word and count.
pub async fn totals(system: &System) -> std::collections::BTreeMap<String, u64> {
    let totals = system.get("/api/totals/word-frequencies?limit=1000").await.unwrap();
    let totals = totals["totals"].as_array().unwrap().iter();
    totals.map(|total| (total["name"].as_str().unwrap().to_owned(), total["count"].as_u64().unwrap())).collect()
}

/// Waits until nothing is on its way, stops every service and sees that no message was left anywhere, set aside ones
/// included.
pub async fn stopped_with_empty_queues(system: &mut System, broker: &str) {
    // Empty once is not enough: what was delivered a moment ago is not in the queue, and would go back into it.
    let mut times_empty = 0;
    eventually(async || {
        let outbox = system.sqlite3("select count(*) from outbox").await.map_err(|error| error.to_string())?;
        let waiting = waiting(system, broker).await;
        times_empty = if outbox.trim() == "0" && waiting.is_empty() { times_empty + 1 } else { 0 };
        if times_empty >= 10 { Ok(()) } else { Err(format!("in the outbox {outbox}, waiting {waiting:?}")) }
    })
    .await;
    for name in system.names() {
        system.stop(&name).await.unwrap();
    }
    assert_eq!(waiting(system, broker).await, [], "messages are left");
}

/// The queues that are not empty, and how many messages wait in them.
async fn waiting(system: &System, broker: &str) -> Vec<(String, u32)> {
    let operations = ["nop", "plusone", "pow", "word-frequencies"].map(|name| format!("processor.{name}"));
    let queues = ["distributor".to_owned(), "statistics".to_owned(), "dead".to_owned()];
    let mut waiting = Vec::new();
    for queue in queues.into_iter().chain(operations) {
        let queue = format!("{}.{queue}", system.exchange());
        if let Some(count @ 1..) = waiting_messages(broker, &queue).await.unwrap() {
            waiting.push((queue, count));
        }
    }
    waiting
}

/// The results of an object's tasks, in order.
pub fn partials(object: &Value) -> Vec<&Value> {
    object["tasks"].as_array().unwrap().iter().map(|task| &task["result"]).collect()
}
