//! Any order of start, and a broker that goes and comes back.

use serde_json::json;
use testkit::{Broker, Options, System, eventually};

use crate::kit::{accepted, all_finished, stopped_with_empty_queues};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_everything_is_furnished_again() {
    let mut broker = Broker::prepare().unwrap();
    broker.resume().await.unwrap();
    let mut system = System::start(Options::on(broker.url())).await.unwrap();
    let body = json!({"operation": "plusone", "data": [1, 2, 3]});
    let id = accepted(&system, "before", &body).await;
    system.finished(&id).await.unwrap();
    broker.lose_everything().await.unwrap();
    broker.resume().await.unwrap();
    let id = accepted(&system, "after", &body).await;
    assert_eq!(system.finished(&id).await.unwrap()["result"], json!([2, 3, 4]));
    system.all_ready().await;
    assert_eq!(system.get("/api/statistics").await.unwrap()["objects"]["succeeded"], 2);
    stopped_with_empty_queues(&mut system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_wait_for_the_broker_and_resume_by_themselves_when_it_was_killed_under_load() {
    const OBJECTS: usize = 120;
    let mut broker = Broker::prepare().unwrap();
    let mut system = System::prepare(Options::on(broker.url()).processors(2)).unwrap();
    system.start_all().unwrap();
    // They live, are not ready, and say so; the front door says what is wrong, and when to come back.
    for name in system.names() {
        eventually(async || {
            let live = system.client().get(system.url_of(&name, "/livez")).send().await;
            live.map_err(|error| format!("{name}: {error}")).map(|answer| assert_eq!(answer.status(), 200))
        })
        .await;
        let ready = system.client().get(system.url_of(&name, "/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 503, "{name}");
        assert!(ready.text().await.unwrap().contains("bus"), "{name}");
    }
    let refused = system.client().post(system.url_of("datagen", "/api/objects")).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));

    broker.resume().await.unwrap();
    system.all_ready().await;
    let mut accepted = 0;
    while accepted < OBJECTS {
        if accepted == OBJECTS / 3 {
            broker.kill().await.unwrap();
            broker.resume().await.unwrap();
        }
        let key = format!("k-{accepted}");
        let request = system.client().post(system.url_of("datagen", "/api/objects")).header("idempotency-key", key);
        let answer = request.json(&json!({"operation": "plusone", "data": [1, 2, 3]})).send().await.unwrap();
        match answer.status().as_u16() {
            201 => accepted += 1,
            503 => {}
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
    }
    all_finished(&system, OBJECTS).await;
    let statistics = system.get("/api/statistics").await.unwrap();
    assert_eq!(statistics["objects"]["created"], OBJECTS, "{statistics}");
    assert_eq!(statistics["objects"]["succeeded"], OBJECTS, "{statistics}");
    assert_eq!(statistics["tasks"]["processed"], 3 * OBJECTS, "{statistics}");
    system.all_ready().await;
    stopped_with_empty_queues(&mut system).await;
}
