//! Serves HTTP with a bound on everything that a client can make it wait for or hold.
//!
//! `axum::serve` installs no timer, so that a client that sends nothing holds its connection for ever; hence this loop.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::OriginalUri,
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, StreamExt};
use http::{
    HeaderMap, HeaderValue, Request,
    header::{CONNECTION, CONTENT_TYPE},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tower_http::normalize_path::NormalizePath;

use super::{
    Problem,
    bounded_body::{Arrival, BoundedBody},
    bounded_stream::BoundedStream,
    turn::Turn,
};

/// What a client is told to wait before it asks again whether a service is ready.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long to wait after `accept` failed, mostly because there are no more file descriptors: long enough not to spin,
/// short enough to be unnoticed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a spare connection may take for its headers, for taking its answer, and for hearing it: there are few.
const SPARE_TIME: Duration = Duration::from_secs(1);

/// What a client can make a server wait for or hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. [640](Self::CONNECTIONS).
    pub connections: usize,
    /// Connections beyond these, so that a probe is answered and anybody else is told to come back, whatever the others do. Each
    /// is for one request, has a second to send it, and is closed then. What [`operational()`](super::operational()) adds is
    /// served, but for the documentation; the rest is answered by 503 at once. When these are taken, too, the next connection
    /// waits in the kernel. 16: most are free again in milliseconds.
    pub spare_connections: usize,
    /// For a request's headers, counted from the connection's start or the end of the request before: also how long an idle
    /// connection is kept. 10 s.
    pub header_timeout: Duration,
    /// Bytes of a request's first line and headers; over it, 431. It is also about what a connection buffers of what it reads
    /// and writes, so that all connections together have 80 MiB, or twice that at most. 64 KiB.
    pub header_bytes: usize,
    /// Without a byte of a request's body, while a handler waits for it. 15 s, then 408.
    pub body_stall: Duration,
    /// For a request's whole body, or if it is read [piece by piece](super::Pieces), for what makes progress. 2 min: 4 MiB at
    /// 35 kB/s.
    pub body_timeout: Duration,
    /// Without a byte of an answer being taken, by a client that sends nothing either, although it could. 30 s, then the
    /// connection is closed.
    pub write_stall: Duration,
    /// For a client to hear an answer that was given before its request's body was read: what it goes on sending is read and
    /// thrown away, or the answer could be lost. 2 s.
    pub linger: Duration,
    /// For requests in flight at shutdown. 25 s: Kubernetes kills after 30.
    pub grace: Duration,
}

impl Limits {
    /// Connections at a time, if nothing else is said. A process may open 1024 files as a rule: there are as many, the spare
    /// ones, a file more for each of the requests that are forwarded, which are half as many at most, and fewer than fifty
    /// for the rest of a process.
    ///
    /// Requests that may last have bounds of their own, so that the others always find a connection: a half is for those that
    /// bring something in, which take 272 of it, and a half for those that wait for something to happen, which take 304 where
    /// that is known, and all 320 where they are passed on.
    pub const CONNECTIONS: usize = 640;

    /// What holds for a spare connection.
    fn spare(&self) -> Self {
        let short = |time: Duration| time.min(SPARE_TIME);
        Self {
            header_timeout: short(self.header_timeout),
            write_stall: short(self.write_stall),
            linger: short(self.linger),
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS,
            spare_connections: 16,
            header_timeout: Duration::from_secs(10),
            header_bytes: 64 * 1024,
            body_stall: Duration::from_secs(15),
            body_timeout: Duration::from_secs(120),
            write_stall: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(25),
        }
    }
}

/// Serves `router` until `shutdown` is cancelled: then accepts no more, answers the requests in flight, and returns when
/// that is done or the grace period is over. Every route also takes a trailing slash.
///
/// Server-sent events, which have no end of their own, end at `shutdown`; any other answer that goes on for ever should do so
/// by itself, or it takes the whole grace.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let server = Arc::new(Server {
        app: NormalizePath::trim_trailing_slash(router),
        limits,
        shutdown,
        abort: CancellationToken::new(),
    });
    // Whoever drops this future does not leave connections behind.
    let _abort_on_drop = server.abort.clone().drop_guard();
    let connections = TaskTracker::new();

    server.shutdown.run_until_cancelled(server.accept_all(listener, &connections)).await;

    connections.close();
    if tokio::time::timeout(server.limits.grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "closed connections with requests still in flight");
        server.abort.cancel();
        connections.wait().await;
    }
}

/// Marks a request that came on a spare connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnSpare;

struct Server {
    app: NormalizePath<Router>,
    limits: Limits,
    /// No more requests.
    shutdown: CancellationToken,
    /// No more waiting for requests in flight either.
    abort: CancellationToken,
}

/// Where there is a place for a connection.
struct Places {
    usual: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

/// A place for a connection, until it is dropped.
struct Place {
    is_spare: bool,
    _permit: Result<OwnedSemaphorePermit, AcquireError>,
}

impl Places {
    fn new(limits: &Limits) -> Self {
        let [usual, spare] =
            [limits.connections, limits.spare_connections].map(|count| Arc::new(Semaphore::new(count)));
        Self { usual, spare }
    }

    /// Waits for a place. A spare one is given only if there is no other.
    async fn take(&self) -> Place {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).acquire_owned();
        tokio::select! {
            biased;
            permit = take(&self.usual) => Place { is_spare: false, _permit: permit },
            permit = take(&self.spare) => Place { is_spare: true, _permit: permit },
        }
    }
}

impl Server {
    /// Takes the listener, so that it is closed when this is dropped.
    async fn accept_all(self: &Arc<Self>, listener: TcpListener, connections: &TaskTracker) {
        let places = Places::new(&self.limits);
        loop {
            // Which place there is, is seen only when somebody is there to take it.
            let stream = accept(&listener).await;
            let place = places.take().await;
            let server = self.clone();
            connections.spawn(async move {
                server.abort.run_until_cancelled(server.serve_connection(stream, &place)).await;
            });
        }
    }

    async fn serve_connection(&self, stream: TcpStream, place: &Place) {
        // Without it, small answers may wait for the other end's delayed acknowledgement. Failing is no reason to refuse.
        let _ = stream.set_nodelay(true);
        let limits = if place.is_spare { self.limits.spare() } else { self.limits.clone() };
        let turn = Turn::new();
        let stream = BoundedStream::new(stream, limits.write_stall, limits.linger, turn.clone());
        let answer = async |mut request: Request<Incoming>| {
            if place.is_spare {
                request.extensions_mut().insert(OnSpare);
            }
            Ok::<_, Infallible>(self.answer(request, turn.clone()).await)
        };
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes)
            .keep_alive(!place.is_spare)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        let served = tokio::select! {
            served = &mut connection => served,
            () = self.shutdown.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        let Err(error) = served else { return };
        tracing::debug!(error = %error, "a connection ended early");
        if error.is_parse() {
            // It has had an answer.
            let _ = connection.into_parts().io.into_inner().shutdown().await;
        }
    }

    async fn answer(&self, request: Request<Incoming>, turn: Turn) -> Response {
        if head_bytes(&request) > self.limits.header_bytes {
            // hyper refuses by itself only what does not fit into its buffer, of which it may have a little more.
            return Problem::headers_too_large(self.limits.header_bytes).into_response();
        }
        let asked = OriginalUri(request.uri().clone());
        let (parts, body) = request.into_parts();
        let arrival = Arrival::new(self.limits.body_stall, self.limits.body_timeout, turn);
        let mut request = Request::from_parts(parts, Body::new(BoundedBody::new(body, arrival.clone())));
        // With the slash at its end, for whoever needs to know.
        request.extensions_mut().insert(asked);
        request.extensions_mut().insert(arrival.clone());
        let answer = AssertUnwindSafe(self.app.clone().oneshot(request)).catch_unwind().await;
        // The panic hook has logged it.
        let Ok(mut answer) = answer.unwrap_or_else(|_| Ok(Problem::logged_already().into_response()));
        if !arrival.is_whole() {
            // The connection ends with what is left of the body; a client that was not told would use it for its next request.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if is_event_stream(answer.headers()) { answer.map(|body| self.until_shutdown(body)) } else { answer }
    }

    /// Ends in good order, so that the client sees an end and no broken connection.
    fn until_shutdown(&self, body: Body) -> Body {
        Body::from_stream(body.into_data_stream().take_until(self.shutdown.clone().cancelled_owned()))
    }
}

/// Whether an answer with these headers is server-sent events: whoever asks for them wants all that will ever be.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/event-stream"))
}

/// About how long what came before the body was.
fn head_bytes<B>(request: &Request<B>) -> usize {
    /// What is around a name and its value, and around the parts of the first line: `: ` and the end of the line.
    const AROUND: usize = 4;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + AROUND);
    target + headers.sum::<usize>()
}

/// The next connection. An error is of the connection (gone again) or of the process (too many open files); neither is a
/// reason to give up.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut said = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if !said {
                    tracing::warn!(error = %error, "cannot accept a connection; trying again and again");
                    said = true;
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
