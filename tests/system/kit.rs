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

/// Stops every service and sees that no message was left anywhere, set aside ones included.
pub async fn stopped_with_empty_queues(system: &mut System, broker: &str) {
    for name in system.names() {
        system.stop(&name).await.unwrap();
    }
    let operations = ["nop", "plusone", "pow", "word-frequencies"].map(|name| format!("processor.{name}"));
    let queues = ["distributor".to_owned(), "statistics".to_owned(), "dead".to_owned()];
    for queue in queues.into_iter().chain(operations) {
        let queue = format!("{}.{queue}", system.exchange());
        let waiting = waiting_messages(broker, &queue).await.unwrap().unwrap_or_default();
        assert_eq!(waiting, 0, "messages are left in {queue}");
    }
}

/// The results of an object's tasks, in order.
pub fn partials(object: &Value) -> Vec<&Value> {
    object["tasks"].as_array().unwrap().iter().map(|task| &task["result"]).collect()
}
