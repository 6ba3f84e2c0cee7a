//! Asks a running service whether it is ready: `datagen healthcheck`, for containers that have no shell and no curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::telemetry::complain;

/// A service that takes longer to say that it is ready is not.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Enough for what `/readyz` says.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// `GET /readyz` of the service that listens on `listen` on this machine. Success if it is ready; else says on standard
/// error why not.
pub async fn healthcheck(listen: SocketAddr) -> ExitCode {
    let address = reachable(listen);
    let asked = tokio::time::timeout(TIMEOUT, ask(address)).await;
    match asked.unwrap_or_else(|_| bail_after_timeout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("http://{address}/readyz: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn bail_after_timeout() -> anyhow::Result<()> {
    bail!("no answer within {} s", TIMEOUT.as_secs())
}

/// What listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get("/readyz")
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())?;
    let answer = async {
        let response = client.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        anyhow::Ok((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
    };
    // The connection makes progress only while it is polled.
    let (_, answer) = tokio::join!(connection, answer);
    let (status, body) = answer?;
    if status.is_success() { Ok(()) } else { bail!("{status}: {}", String::from_utf8_lossy(&body).trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let addresses = (listen.parse::<SocketAddr>(), asked.parse::<SocketAddr>());
            assert!(matches!(addresses, (Ok(listen), Ok(asked)) if reachable(listen) == asked));
        }
    }
}
