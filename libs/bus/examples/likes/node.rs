//! A node: what it knows, says and hears, and what it serves.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::routing::{get, put};
use axum::{Json, Router, http::StatusCode};
use bus::{Binding, Bus, CloudEvent, Hear, PublishError, Received};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::common;

/// How often a node says what it knows, and a client that it is there.
pub const BEAT: Duration = Duration::from_millis(500);
/// Who was not heard for so long counts as dead: six beats, as a busy machine may miss some.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the bus may take until the others have a like.
const PATIENCE: Duration = Duration::from_secs(2);

/// What travels: all that a node knows. Said again and again, so that nobody has to ask.
#[derive(Serialize, Deserialize)]
struct NodeSpoke {
    node: Listed,
    likes: BTreeMap<Uuid, u64>,
}

impl CloudEvent for NodeSpoke {
    const TYPE: &'static str = "NODE_SPOKE";

    fn routing_key(&self) -> String {
        "node.spoke".to_owned()
    }
}

/// A node as others see it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Listed {
    pub id: Uuid,
    pub address: String,
    pub clients: usize,
}

/// What is answered to every request.
#[derive(Serialize, Deserialize)]
pub struct View {
    pub likes: u64,
    pub leader: String,
    pub nodes: Vec<Listed>,
}

struct Node {
    id: Uuid,
    address: String,
    bus: Bus,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The counter of each node that ever took a like.
    likes: BTreeMap<Uuid, u64>,
    /// The other nodes that live, and when they were heard.
    others: BTreeMap<Uuid, (Listed, Instant)>,
    /// This node's clients, and when they were heard.
    clients: HashMap<Uuid, Instant>,
}

impl Known {
    /// Takes in what another node said.
    fn merge(&mut self, NodeSpoke { node, likes }: NodeSpoke) {
        for (id, count) in likes {
            let known = self.likes.entry(id).or_default();
            *known = count.max(*known);
        }
        // One that came back has its old address and a new id.
        self.others.retain(|_, (other, _)| other.address != node.address);
        self.others.insert(node.id, (node, Instant::now()));
    }
}

impl Hear<NodeSpoke> for Node {
    async fn hear(&self, Received { event, .. }: Received<NodeSpoke>) {
        if event.node.id != self.id {
            self.known().merge(event);
        }
    }
}

impl Node {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_say(&self) -> NodeSpoke {
        let known = self.known();
        let node = Listed { id: self.id, address: self.address.clone(), clients: known.clients.len() };
        NodeSpoke { node, likes: known.likes.clone() }
    }

    /// Says all that it knows. Confirmed means that it is in the queue of every node that listens.
    async fn speak(&self) -> Result<(), PublishError> {
        self.bus.publish_to(&[], &self.to_say(), PATIENCE).await
    }

    fn view(&self) -> View {
        let NodeSpoke { node, likes } = self.to_say();
        let mut nodes: Vec<_> = self.known().others.values().map(|(other, _)| other.clone()).chain([node]).collect();
        nodes.sort_by_key(|node| node.id);
        View { likes: likes.into_values().fold(0, u64::saturating_add), leader: nodes[0].address.clone(), nodes }
    }

    /// Speaks with every beat. The leader also prints what has changed.
    async fn live(&self) {
        let mut printed = String::new();
        loop {
            sleep(BEAT).await;
            self.known().others.retain(|_, (_, heard)| heard.elapsed() < SILENCE);
            self.known().clients.retain(|_, heard| heard.elapsed() < SILENCE);
            // What is not heard now is said again with the next beat.
            let _ = self.speak().await;
            let View { likes, leader, nodes } = self.view();
            let text = format!("leader {leader} of {} nodes: {likes} likes", nodes.len());
            if leader == self.address && text != printed {
                println!("{text}");
                printed = text;
            }
        }
    }
}

/// Runs a node until the shutdown. It need not take leave: who is silent is missed soon.
pub async fn run(bus: Bus, port: u16, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("port {port} cannot be used"))?;
    // Ids of this version are in the order of time: a newcomer never takes the lead from whoever has it.
    let (id, address, known) = (Uuid::now_v7(), format!("127.0.0.1:{port}"), Mutex::default());
    let node = Arc::new(Node { id, address, bus, known });
    let others = Binding { exchange: node.bus.topology().events(), pattern: "node.#".to_owned() };
    tokio::spawn(node.bus.listen(vec![others], node.clone(), shutdown));
    common::running(&node.bus).await;
    // By then all who live have said what they know, and nobody is told a number before.
    sleep(2 * BEAT).await;
    println!("node {} serves http://{}/api/likes", node.id, node.address);
    let router = Router::new()
        .route("/api/likes", get(view).post(like))
        .route("/api/nodes", get(view))
        .route("/api/clients/{id}", put(client))
        .fallback(async || (StatusCode::NOT_FOUND, "GET or POST /api/likes, GET /api/nodes\n"))
        .with_state(node.clone());
    tokio::select! {
        served = async { axum::serve(listener, router).await } => Ok(served?),
        () = node.live() => Ok(()),
    }
}

async fn view(State(node): State<Arc<Node>>) -> Json<View> {
    Json(node.view())
}

async fn like(State(node): State<Arc<Node>>) -> (StatusCode, Json<View>) {
    *node.known().likes.entry(node.id).or_default() += 1;
    let told = node.speak().await;
    let status = if told.is_ok() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(node.view()))
}

/// A client says that it is there. It is forgotten soon if it does not again, and so there are never many.
async fn client(State(node): State<Arc<Node>>, Path(id): Path<Uuid>) -> Json<View> {
    node.known().clients.insert(id, Instant::now());
    Json(node.view())
}
