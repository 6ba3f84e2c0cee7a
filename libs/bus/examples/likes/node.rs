//! A node: what it knows, says and hears, and what it serves.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io::ErrorKind, time::Duration};

use anyhow::{Context, bail};
use axum::extract::{Path, State};
use axum::routing::{get, put};
use axum::{Json, Router, http::StatusCode};
use bus::{Binding, Bus, CloudEvent, Hear, PublishError, Received};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::common;

/// How often a node says what it knows, if nothing happens; and a client that it is there.
pub const BEAT: Duration = Duration::from_millis(500);
/// Who was not heard for so long counts as dead: six beats, as a busy machine may miss some.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the bus may take until the others have a like.
const PATIENCE: Duration = Duration::from_secs(2);
/// More are turned away: anybody can say that they are a client.
const MAX_CLIENTS: usize = 10_000;

/// What travels: all that a node knows. Said again and again, so that nobody has to ask.
#[derive(Serialize, Deserialize)]
struct NodeSpoke {
    node: Listed,
    likes: BTreeMap<Uuid, u64>,
    is_leaving: bool,
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
#[derive(Default, Serialize, Deserialize)]
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
    /// There is something that the others should hear of at once.
    news: Notify,
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
    /// Takes in what another node said; whether that is a newcomer.
    fn merge(&mut self, NodeSpoke { node, likes, is_leaving }: NodeSpoke) -> bool {
        for (id, count) in likes {
            let known = self.likes.entry(id).or_default();
            *known = count.max(*known);
        }
        // One that came back has its old address and a new id.
        let before = self.others.remove(&node.id);
        self.others.retain(|_, (other, _)| other.address != node.address);
        if !is_leaving {
            self.others.insert(node.id, (node, Instant::now()));
        }
        before.is_none() && !is_leaving
    }
}

impl Hear<NodeSpoke> for Node {
    async fn hear(&self, Received { event, .. }: Received<NodeSpoke>) {
        // A newcomer is told at once what there is to know.
        if event.node.id != self.id && self.known().merge(event) {
            self.news.notify_one();
        }
    }
}

impl Node {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listed(&self, known: &Known) -> Listed {
        Listed { id: self.id, address: self.address.clone(), clients: known.clients.len() }
    }

    /// Says all that it knows. Confirmed means that it is in the queue of every node that listens.
    async fn speak(&self, is_leaving: bool) -> Result<(), PublishError> {
        let said = {
            let known = self.known();
            NodeSpoke { node: self.listed(&known), likes: known.likes.clone(), is_leaving }
        };
        self.bus.publish_to(&[], &said, PATIENCE).await
    }

    fn view(&self) -> View {
        let known = self.known();
        let others = known.others.values().map(|(other, _)| other.clone());
        let mut nodes: Vec<_> = others.chain([self.listed(&known)]).collect();
        nodes.sort_by_key(|node| node.id);
        let likes = known.likes.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        View { likes, leader: nodes[0].address.clone(), nodes }
    }

    /// Speaks with every beat, and prints what has changed: every node whom it sees, the leader also the likes.
    async fn live(&self) {
        let mut printed = String::new();
        loop {
            let _ = timeout(BEAT, self.news.notified()).await;
            self.known().others.retain(|_, (_, heard)| heard.elapsed() < SILENCE);
            self.known().clients.retain(|_, heard| heard.elapsed() < SILENCE);
            // What is not heard now is said again with the next beat.
            let _ = self.speak(false).await;
            let View { likes, leader, nodes } = self.view();
            let nodes = nodes.into_iter().map(|node| node.address).collect::<Vec<_>>().join(" ");
            let likes = if leader == self.address { format!(", {likes} likes") } else { String::new() };
            let text = format!("{} sees {nodes}; leader {leader}{likes}", self.address);
            if text != printed {
                println!("{text}");
                printed = text;
            }
        }
    }
}

/// Runs a node until the shutdown.
pub async fn run(bus: Bus, port: u16, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!("port {port} is in use: choose another --port"),
        bound => bound.with_context(|| format!("port {port} cannot be used"))?,
    };
    let (address, known, news) = (format!("127.0.0.1:{port}"), Mutex::default(), Notify::new());
    // Ids of this version are in the order of time: a newcomer never takes the lead from whoever has it.
    let node = Arc::new(Node { id: Uuid::now_v7(), address, bus, known, news });
    let others = Binding { exchange: node.bus.topology().events(), pattern: "node.#".to_owned() };
    tokio::spawn(node.bus.listen(vec![others], node.clone(), shutdown.clone()));
    let catch_up = async {
        common::running(&node.bus).await;
        let _ = node.speak(false).await;
        // So long the others have to answer, before anybody is told a number.
        sleep(BEAT).await;
    };
    if shutdown.run_until_cancelled(catch_up).await.is_none() {
        return Ok(());
    }
    println!("node {} serves http://{}/api/likes", node.id, node.address);
    let router = Router::new()
        .route("/api/likes", get(view).post(like))
        .route("/api/nodes", get(view))
        .route("/api/clients/{id}", put(client))
        .fallback(async || (StatusCode::NOT_FOUND, "GET or POST /api/likes, GET /api/nodes\n"))
        .with_state(node.clone());
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served?,
        () = node.live() => {}
        () = shutdown.cancelled() => {}
    }
    // Not needed: one that just dies is missed soon.
    let _ = node.speak(true).await;
    Ok(())
}

async fn view(State(node): State<Arc<Node>>) -> Json<View> {
    Json(node.view())
}

async fn like(State(node): State<Arc<Node>>) -> (StatusCode, Json<View>) {
    *node.known().likes.entry(node.id).or_default() += 1;
    let told = node.speak(false).await;
    let status = if told.is_ok() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(node.view()))
}

/// A client says that it is there.
async fn client(State(node): State<Arc<Node>>, Path(id): Path<Uuid>) -> Result<Json<View>, StatusCode> {
    let mut known = node.known();
    if known.clients.len() >= MAX_CLIENTS && !known.clients.contains_key(&id) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    if known.clients.insert(id, Instant::now()).is_none() {
        node.news.notify_one();
    }
    drop(known);
    Ok(Json(node.view()))
}
