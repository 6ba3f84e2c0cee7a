//! Servers of nothing much, and clients that see every byte.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use chassis::{
    http::{Form, Interface, Json, Limits, Path, Pieces, Problem, Query, Raw, Readiness, operational, serve},
    metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

/// For what takes no time, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// A limit that a test lets pass.
pub const SHORT: Duration = Duration::from_millis(200);

#[derive(serde::Deserialize)]
struct Named {
    name: String,
}

#[derive(serde::Deserialize)]
struct Limit {
    #[serde(rename = "limit")]
    _limit: Option<u32>,
}

/// One route an extractor.
pub fn echo() -> Router {
    Router::new()
        .route("/echo", post(async |Raw(body): Raw| body))
        .route("/json", post(async |Json(named): Json<Named>| Json(named.name)))
        .route("/form", post(async |Form(named): Form<Named>| named.name))
        .route("/items/{id}", get(item))
        .route("/pieces", post(async |pieces: Pieces| count(pieces, true).await))
        .route("/pieces/without-progress", post(async |pieces: Pieces| count(pieces, false).await))
}

/// How many bytes come.
async fn count(mut pieces: Pieces, is_progress: bool) -> Result<String, Problem> {
    let mut count = 0;
    while let Some(piece) = pieces.next().await? {
        count += piece.len();
        if is_progress {
            pieces.progress();
        }
    }
    Ok(count.to_string())
}

async fn item(Path(id): Path<u32>, Query(_): Query<Limit>) -> Result<String, Problem> {
    Ok(id.to_string())
}

/// A route whose handler the test holds up.
pub fn gated() -> (Router, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let inside = gate.clone();
    let handler = async move || {
        inside.entered.notify_one();
        inside.leave.notified().await;
        "done"
    };
    (Router::new().route("/gated", get(handler)), gate)
}

#[derive(Default)]
pub struct Gate {
    pub entered: Notify,
    pub leave: Notify,
}

pub struct Server {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
}

impl Server {
    pub async fn start(router: Router, limits: Limits) -> Self {
        Self::start_with(OpenApiRouter::from(router), Readiness::new(), limits).await
    }

    pub async fn start_with(interface: impl Into<Interface>, readiness: Readiness, limits: Limits) -> Self {
        let metrics = metrics::install("test", "1.2.3").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = operational(interface, readiness, metrics);
        let serving = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    pub async fn get(&self, path: &str) -> String {
        self.request(&format!("GET {path}"), "x: y", "").await
    }

    pub async fn request(&self, method_and_path: &str, header: &str, body: &str) -> String {
        let mut client = self.connect().await;
        let length = body.len();
        let head = format!("{method_and_path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        client.send(&format!("{head}content-length: {length}\r\n{header}\r\n\r\n{body}")).await;
        client.read_all().await
    }

    pub async fn ask(&self, method: &str, path: &str, accepted: &str) -> Answer {
        let mut client = self.connect().await;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        client.send(&format!("{head}accept-encoding: {accepted}\r\n\r\n")).await;
        Answer::parse(&client.read_bytes().await)
    }

    pub async fn eventually_refuses(&self) {
        in_time(async { while TcpStream::connect(self.address).await.is_ok() {} }).await;
    }

    pub async fn ends(&mut self) {
        in_time(&mut self.serving).await.unwrap();
    }
}

/// An answer of HTTP 1.1, as it came.
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let mut answer =
            Self { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body);
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 2 + length + 2..];
    }
}

pub struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, text: &str) {
        // A server that refuses a body closes before it has read all of it.
        let _ = in_time(self.0.write_all(text.as_bytes())).await;
    }

    /// Until the server closes.
    pub async fn read_all(&mut self) -> String {
        String::from_utf8(self.read_bytes().await).unwrap()
    }

    pub async fn read_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = in_time(self.0.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Sends `more` again and again; whether the server has had enough of it within a hundred times [`SHORT`].
    pub async fn dribble(&mut self, start: &str, more: &str) -> bool {
        self.send(start).await;
        for _ in 0..1000 {
            let mut byte = [0];
            let read = tokio::time::timeout(SHORT / 10, self.0.read(&mut byte)).await;
            if read.is_ok() || self.0.write_all(more.as_bytes()).await.is_err() {
                return true;
            }
        }
        false
    }
}

pub async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("takes too long")
}
