//! Passes a user's request on to statistics, and its answer back: streamed, nothing kept.

use std::{sync::Arc, time::Duration};

use axum::{
    BoxError,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use chassis::http::{Limits, Problem, is_event_stream};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::debug;

/// How long statistics may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long statistics may take to begin its answer: longer than the longest `?wait=`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// How long an idle connection is kept: less than the 10 s after which a service closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long statistics may say nothing in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(30);
/// And among events: it says every 15 s that it is there.
const SILENCE_OF_EVENTS: Duration = Duration::from_secs(50);
/// When it is asked whether the machine at the other end of a silent connection is there, how long it is waited for an
/// answer, and how often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);
/// Requests that may be with statistics at a time, those that wait there and those that follow events included: a half of the
/// connections, so that objects come in also while it does not answer. Each takes a second file.
const MAX_FORWARDED: usize = Limits::CONNECTIONS / 2;
/// When to ask again while statistics is away.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What belongs to one connection and is not passed on
/// ([RFC 9110, section 7.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1)).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Where statistics is, and the connections to it.
#[derive(Clone)]
pub(crate) struct Statistics {
    address: Uri,
    client: Client<HttpConnector, Body>,
    places: Arc<Semaphore>,
}

impl Statistics {
    pub(crate) fn at(address: Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let (time, interval, retries) = KEEPALIVE;
        connector.set_keepalive(Some(time));
        connector.set_keepalive_interval(Some(interval));
        connector.set_keepalive_retries(Some(retries));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { address, client, places: Arc::new(Semaphore::new(MAX_FORWARDED)) }
    }

    /// Passes a request on, and the answer back.
    ///
    /// # Errors
    /// As [`Statistics::ask`].
    pub(crate) async fn pass_on(&self, mut request: Request) -> Result<Response, Problem> {
        *request.uri_mut() = self.target(request.uri()).map_err(Problem::internal)?;
        strip(request.headers_mut());
        let mut answer = self.ask(request).await?;
        strip(answer.headers_mut());
        Ok(answer)
    }

    /// Its answer, which ends with an error when nothing comes of it for too long.
    ///
    /// # Errors
    /// 503 if statistics cannot be reached or too many ask it, 504 if it does not answer in time.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_FORWARDED} requests are with statistics; no more are at a time.");
            Problem::unavailable(RETRY_AFTER, detail)
        })?;
        let answer = timeout(ANSWER_TIMEOUT, self.client.request(request))
            .await
            .map_err(|_elapsed| Problem::gateway_timeout("statistics did not answer in time."))?
            .map_err(|error| {
                debug!("statistics cannot be reached: {error}");
                Problem::unavailable(RETRY_AFTER, "statistics cannot be reached.")
            })?;
        let silence = if is_event_stream(answer.headers()) { SILENCE_OF_EVENTS } else { SILENCE };
        Ok(answer.map(|body| passed_on(Body::new(body), silence, place)))
    }

    /// The same path and query at statistics.
    pub(crate) fn target(&self, uri: &Uri) -> Result<Uri, http::Error> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder()
            .scheme("http")
            .authority(self.address.authority().map_or("", |authority| authority.as_str()))
            .path_and_query(path)
            .build()
    }
}

pub(crate) async fn forward(State(statistics): State<Statistics>, request: Request) -> Result<Response, Problem> {
    statistics.pass_on(request).await
}

/// A body as it comes, chunk by chunk, until it is silent for too long. `place` is free again when it has ended.
///
/// It says nothing of its length, which stands in the headers: of an answer to `HEAD` that is not the length of this.
fn passed_on(body: Body, silence: Duration, place: OwnedSemaphorePermit) -> Body {
    let chunks = body.into_data_stream();
    Body::from_stream(stream::try_unfold((chunks, place), move |(mut chunks, place)| async move {
        let Ok(chunk) = timeout(silence, chunks.next()).await else {
            debug!("statistics fell silent in the middle of an answer");
            return Err(BoxError::from("statistics fell silent"));
        };
        Ok(chunk.transpose()?.map(|chunk| (chunk, (chunks, place))))
    }))
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::body::Bytes;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A chunk before each of these pauses; then nothing more comes, and no end.
    fn spoken(pauses: &'static [Duration]) -> Body {
        let chunks = stream::iter(pauses).then(async |pause| {
            sleep(*pause).await;
            Ok::<_, BoxError>(Bytes::from_static(b"chunk"))
        });
        Body::from_stream(chunks.chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_falls_silent_ends_with_an_error_and_its_place_is_free() {
        const PAUSES: [Duration; 4] = [SILENCE.saturating_sub(Duration::from_millis(1)); 4];
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let mut chunks = passed_on(spoken(&PAUSES), SILENCE, place).into_data_stream();
        for _ in PAUSES {
            assert_eq!(chunks.next().await.unwrap().unwrap(), "chunk");
        }
        assert_eq!(places.available_permits(), 0);
        let began = Instant::now();
        assert!(chunks.next().await.unwrap().is_err());
        assert_eq!((began.elapsed(), places.available_permits()), (SILENCE, 1));
    }

    #[tokio::test]
    async fn beyond_so_many_requests_the_next_one_is_told_to_come_back() {
        let statistics = Statistics::at("http://127.0.0.1:1".parse().unwrap());
        let _taken = statistics.places.try_acquire_many(MAX_FORWARDED as u32).unwrap();
        let problem = statistics.ask(Request::new(Body::empty())).await.unwrap_err();
        assert_eq!(problem.status(), 503);
        assert!(problem.detail().contains("320 requests"), "{problem}");
    }
}
