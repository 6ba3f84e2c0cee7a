//! A network between a service and the broker that fails: by resets, by silence, by carrying one direction only.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use testkit::{Direction, Flow, Options, Proxy, System, eventually_within, shared_broker_url};

use crate::kit::{accepted, all_finished, figure, is_ready, stopped_with_empty_queues};

const SERVICES: [&str; 4] = ["datagen", "distributor", "processor-0", "statistics"];
/// Three heartbeats of 10 s, and as much again for a slow machine.
const MISSED_WITHIN: Duration = Duration::from_secs(60);

/// A system in which each service has a link of its own to the broker.
async fn linked() -> (System, BTreeMap<&'static str, Proxy>) {
    let url = shared_broker_url();
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
    let mut options = Options::on(&url);
    let mut links = BTreeMap::new();
    for name in SERVICES {
        let link = Proxy::start(port).await.unwrap();
        options = options.set_for(name, "QUEUE_URL", url.replace(&format!(":{port}/"), &format!(":{}/", link.port())));
        links.insert(name, link);
    }
    (System::start(options).await.unwrap(), links)
}

/// Each object is of three tasks, and all of them are done and counted once.
async fn all_counted_once(system: &mut System, objects: usize) {
    system.all_ready().await;
    all_finished(system, objects).await;
    for (name, expected) in
        [("objects created", objects), ("objects succeeded", objects), ("tasks processed", 3 * objects)]
    {
        assert_eq!(figure(system, name).await, expected as f64, "{name}");
    }
    stopped_with_empty_queues(system).await;
}

async fn is_missed(system: &System, name: &str) {
    let missed = async || if is_ready(system, name).await { Err(format!("{name} is ready")) } else { Ok(()) };
    eventually_within(MISSED_WITHIN, missed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_cut_off_says_so_and_goes_on_when_it_is_back() {
    const EACH: usize = 5;
    let (mut system, links) = linked().await;
    let body = json!({"operation": "nop", "data": [1, 2, 3]});
    for (name, link) in &links {
        link.partition();
        is_missed(&system, name).await;
        let objects = async {
            for number in 0..EACH {
                accepted(&system, &format!("{name}-{number}"), &body).await;
            }
        };
        let heal = async {
            if *name == "datagen" {
                let url = system.url_of("datagen", "/api/objects");
                let request = system.client().post(url).header("idempotency-key", "datagen-0").json(&body);
                let refused = request.send().await.unwrap();
                assert_eq!(refused.status(), 503, "it has no bus");
            }
            link.refuse(false);
        };
        tokio::join!(objects, heal);
        system.ready(name).await;
    }
    all_counted_once(&mut system, EACH * links.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_nobody_hears_any_more_is_missed_and_nothing_is_lost_when_it_is_back() {
    const BEFORE: usize = 30;
    let (mut system, links) = linked().await;
    let body = json!({"operation": "nop", "data": [1, 2, 3]});
    for number in 0..BEFORE {
        accepted(&system, &format!("before-{number}"), &body).await;
    }
    links.values().for_each(|link| link.set_both(Flow::Silent));
    for name in SERVICES {
        is_missed(&system, name).await;
    }
    links.values().for_each(|link| link.set_both(Flow::Open));
    accepted(&system, "after", &body).await;
    all_counted_once(&mut system, BEFORE + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_carries_one_direction_only_is_given_up_for_a_new_one() {
    const EACH: usize = 10;
    let (mut system, links) = linked().await;
    let body = json!({"operation": "nop", "data": [1, 2, 3]});
    for direction in [Direction::ToServer, Direction::ToClient] {
        links.values().for_each(|link| link.set(direction, Flow::Closed));
        for name in SERVICES {
            is_missed(&system, name).await;
        }
        links.values().for_each(|link| link.set(direction, Flow::Open));
        for number in 0..EACH {
            accepted(&system, &format!("{direction:?}-{number}"), &body).await;
        }
    }
    all_counted_once(&mut system, 2 * EACH).await;
}
