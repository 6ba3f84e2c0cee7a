//! `likes`.

use futures_util::future::join_all;
use serde_json::Value;
use testkit::{Broker, Process, eventually, free_port};

use crate::kit::{Ended, PATIENCE, Place, count, interrupt, line};

/// A node in a process of its own.
struct Node {
    port: u16,
    process: Process,
}

async fn start(place: &Place, port: u16) -> Node {
    let process = place.start("likes", &format!("node --port {port}"));
    line(&process, "serves").await;
    Node { port, process }
}

async fn three(place: &Place) -> [Node; 3] {
    let nodes = [(); 3].map(|()| start(place, free_port().unwrap()));
    let nodes = join_all(nodes).await;
    let Ok(nodes) = nodes.try_into() else { panic!("three were started") };
    nodes
}

async fn view(port: u16) -> Result<Value, String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/api/nodes")).await;
    answer.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())
}

async fn like(port: u16) {
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{port}/api/likes")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Waits until each of these nodes sees so many likes, and the nodes, no others; what they see.
async fn all_see(ports: &[u16], likes: u64) -> Value {
    let mut addresses: Vec<_> = ports.iter().map(|port| Value::from(format!("127.0.0.1:{port}"))).collect();
    addresses.sort_by_key(Value::to_string);
    eventually(async || {
        let mut views = Vec::new();
        for port in ports {
            let view = view(*port).await?;
            let mut listed: Vec<_> =
                view["nodes"].as_array().unwrap().iter().map(|node| node["address"].clone()).collect();
            listed.sort_by_key(Value::to_string);
            if listed != addresses || view["likes"] != likes || views.first().is_some_and(|first| *first != view) {
                return Err(format!("{port} sees {view}, the first one {:?}", views.first()));
            }
            views.push(view);
        }
        Ok(views.remove(0))
    })
    .await
}

fn leader(view: &Value) -> u16 {
    view["leader"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_like_on_one_node_is_seen_on_all_and_many_at_once_are_all_counted() {
    let nodes = three(&Place::on_broker()).await;
    let ports = nodes.each_ref().map(|node| node.port);
    let view = all_see(&ports, 0).await;
    let mut ids: Vec<_> = view["nodes"].as_array().unwrap().iter().map(|node| node["id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{view}");
    assert!(view["nodes"].as_array().unwrap().iter().all(|node| node["clients"] == 0), "{view}");
    like(ports[0]).await;
    all_see(&ports, 1).await;
    join_all((0..150).map(|number| like(ports[number % 3]))).await;
    all_see(&ports, 151).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_disappear_a_new_leader_is_elected_and_who_comes_late_or_back_catches_up() {
    let place = Place::on_broker();
    let mut nodes = Vec::from(three(&place).await);
    let ports: Vec<_> = nodes.iter().map(|node| node.port).collect();
    for port in &ports {
        like(*port).await;
    }
    let dead = leader(&all_see(&ports, 3).await);

    // The leader dies.
    let place_of_dead = nodes.iter().position(|node| node.port == dead).unwrap();
    nodes.remove(place_of_dead).process.kill().await.unwrap();
    let left: Vec<_> = nodes.iter().map(|node| node.port).collect();
    let view = all_see(&left, 3).await;
    let next = leader(&view);
    assert!(left.contains(&next), "{view}");
    let leading = nodes.iter().find(|node| node.port == next).unwrap();
    line(&leading.process, &format!("leader 127.0.0.1:{next} of 2 nodes: 3 likes")).await;

    // It comes back, and another one for the first time: they knew all before they answered, and lead nobody.
    nodes.push(start(&place, dead).await);
    let late = start(&place, free_port().unwrap()).await;
    assert_eq!(self::view(dead).await.unwrap()["likes"], 3);
    assert_eq!(self::view(late.port).await.unwrap()["likes"], 3);
    nodes.push(late);
    let ports: Vec<_> = nodes.iter().map(|node| node.port).collect();
    for port in &ports {
        like(*port).await;
    }
    let view = all_see(&ports, 7).await;
    assert_eq!(leader(&view), next, "{view}");

    // Who leaves in good order is gone, too.
    let mut leaving = nodes.pop().unwrap();
    interrupt(&mut leaving.process).await;
    all_see(&ports[..ports.len() - 1], 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_the_least_busy_node_and_another_one_when_it_dies() {
    let place = Place::on_broker();
    let mut nodes = Vec::from(three(&place).await);
    let ports: Vec<_> = nodes.iter().map(|node| node.port).collect();
    all_see(&ports, 0).await;
    let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(" ");
    let (mut clients, mut used) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let client = place.start("likes", &format!("client {addresses}"));
        let at = line(&client, "which had 0 clients").await;
        used.push(at.split_once(':').unwrap().1.split(',').next().unwrap().parse::<u16>().unwrap());
        clients.push(client);
        // Whomever the next one asks says so.
        for port in &ports {
            eventually(async || {
                let view = view(*port).await?;
                let busy = view["nodes"].as_array().unwrap().iter().filter(|node| node["clients"] == 1).count();
                if busy == used.len() { Ok(()) } else { Err(view.to_string()) }
            })
            .await;
        }
    }
    assert!(ports.iter().all(|port| used.contains(port)), "each has one: {used:?}");

    let client = &mut clients[0];
    client.type_line("like").await.unwrap();
    line(client, "liked at").await;
    client.type_line("like many").await.unwrap();
    eventually(async || if count(client, "liked at") >= 4 { Ok(()) } else { Err(format!("{:?}", client.lines())) })
        .await;
    let dead = nodes.iter().position(|node| node.port == used[0]).unwrap();
    nodes.remove(dead).process.kill().await.unwrap();
    line(client, "which had 1 clients").await;
    eventually(async || if count(client, "liked at") == 11 { Ok(()) } else { Err(format!("{:?}", client.lines())) })
        .await;
    let left: Vec<_> = nodes.iter().map(|node| node.port).collect();
    all_see(&left, 11).await;
    // The other clients see it, too.
    line(&clients[1], "11 likes").await;
    clients[0].end_input();
    assert!(clients[0].ended(PATIENCE).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_liked_while_the_broker_is_away_is_seen_by_all_when_it_is_back() {
    let mut broker = Broker::start().await.unwrap();
    let place = Place::at(&broker.url());
    let nodes = [start(&place, free_port().unwrap()).await, start(&place, free_port().unwrap()).await];
    let ports = nodes.each_ref().map(|node| node.port);
    like(ports[0]).await;
    all_see(&ports, 1).await;
    broker.kill().await.unwrap();
    for port in ports {
        let url = format!("http://127.0.0.1:{port}/api/likes");
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 202, "it counts here");
        assert_eq!(answer.json::<Value>().await.unwrap()["likes"], 2);
    }
    broker.resume().await.unwrap();
    all_see(&ports, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_embedded_bus_several_nodes_are_one_process() {
    let ports = [(); 3].map(|()| free_port().unwrap());
    let arguments = ports.map(|port| format!(" --port {port}")).concat();
    let mut nodes = Place::embedded().start("likes", &format!("node{arguments}"));
    all_see(&ports, 0).await;
    join_all((0..60).map(|number| like(ports[number % 3]))).await;
    all_see(&ports, 60).await;
    let mut client = Place::embedded().start("likes", &format!("client 127.0.0.1:{}", ports[2]));
    line(&client, "60 likes").await;
    client.type_line("like").await.unwrap();
    line(&client, "liked at").await;
    all_see_likes(&ports, 61).await;
    interrupt(&mut nodes).await;
    line(&client, "no node answers").await;
    assert_eq!(client.ended(PATIENCE).await.unwrap().code(), Some(1), "nobody is left");
}

/// As [`all_see`], while there are clients: how many, the nodes may be told one after the other.
async fn all_see_likes(ports: &[u16], likes: u64) {
    for port in ports {
        eventually(async || {
            let view = view(*port).await?;
            if view["likes"] == likes { Ok(()) } else { Err(view.to_string()) }
        })
        .await;
    }
}

#[tokio::test]
async fn bad_commands_and_ports_in_use_are_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let place = Place::embedded();
    let told = |ended: Ended, code, text: &str| {
        assert!(ended.code == Some(code) && ended.errors.contains(text), "{text}: {ended:?}");
    };
    told(
        place.run("likes", &format!("node --port {port}")).await,
        1,
        &format!("port {port} cannot be used: Address already in use"),
    );
    for (arguments, text) in [
        ("", "likes node --port PORT"),
        ("dislike", "likes client"),
        ("node", "likes node --port PORT"),
        ("node --port", "1 to 65535"),
        ("node --port 0", "1 to 65535"),
        ("node --port many", "1 to 65535"),
        ("client here", "HOST:PORT"),
    ] {
        told(place.run("likes", arguments).await, 64, text);
    }
    // Nobody listens at a port that is reserved.
    told(place.run("likes", "client 127.0.0.1:1").await, 1, "no node answers");

    let port = free_port().unwrap();
    let node = place.start("likes", &format!("node --port {port}"));
    line(&node, "serves").await;
    let mut client = place.start("likes", &format!("client 127.0.0.1:{port}"));
    client.type_line("dislike").await.unwrap();
    line(&client, "unknown: dislike").await;
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/likes")).await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("/api/likes"));
}
