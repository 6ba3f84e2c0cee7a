//! A lean HTTP client: one connection that stays, one request at a time. It shares the machine with what it measures.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::sleep};

/// How long to wait when too much waits already (`MAX_BACKLOG`), so that there is always enough to do.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// A connection to the front door.
pub struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    /// Connects.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(Self { sender, host: format!("127.0.0.1:{port}") })
    }

    /// Submits a text, as soon as not too much waits; the answer, unread.
    pub async fn post(&mut self, text: &str) -> anyhow::Result<Bytes> {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
        loop {
            let (status, answer) = self.send(Method::POST, "/api/objects", body.clone()).await?;
            match status {
                StatusCode::CREATED => return Ok(answer),
                StatusCode::SERVICE_UNAVAILABLE if is_backlog(&answer)? => {
                    sleep(REFUSED_PAUSE).await;
                }
                _ => bail!("POST /api/objects: {status} {}", String::from_utf8_lossy(&answer)),
            }
        }
    }

    /// Reads JSON.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let (status, answer) = self.send(Method::GET, path, Full::default()).await?;
        ensure!(status == StatusCode::OK, "GET {path}: {status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).with_context(|| format!("GET {path}"))
    }

    /// Whether what listens there says that it is ready.
    pub async fn is_ready(&mut self) -> anyhow::Result<bool> {
        Ok(self.send(Method::GET, "/readyz", Full::default()).await?.0.is_success())
    }

    async fn send(&mut self, method: Method, path: &str, body: Full<Bytes>) -> anyhow::Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host.as_str())
            .header(header::CONTENT_TYPE, "text/plain")
            .body(body)?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Whether a refusal says that too much waits.
fn is_backlog(problem: &[u8]) -> anyhow::Result<bool> {
    Ok(serde_json::from_slice::<Value>(problem)?.get("max_backlog").is_some())
}
