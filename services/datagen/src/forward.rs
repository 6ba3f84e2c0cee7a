//! Passes a user's request on to statistics, and its answer back: streamed, nothing kept.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use chassis::http::Problem;
use http::{HeaderMap, HeaderName, Method, Uri, header};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tracing::debug;

/// How long statistics may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long statistics may take to begin its answer: longer than the longest `?wait=`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// How long an idle connection is kept: less than the 10 s after which a service closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
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
}

impl Statistics {
    pub(crate) fn at(address: Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { address, client }
    }

    /// Passes a request on, and the answer back.
    ///
    /// # Errors
    /// 503 if statistics cannot be reached, 504 if it does not answer in time.
    pub(crate) async fn pass_on(&self, mut request: Request) -> Result<Response, Problem> {
        let is_head = request.method() == Method::HEAD;
        *request.uri_mut() = self.target(request.uri()).map_err(Problem::internal)?;
        strip(request.headers_mut());
        let answer = timeout(ANSWER_TIMEOUT, self.ask(request))
            .await
            .map_err(|_elapsed| Problem::gateway_timeout("statistics did not answer in time."))?;
        let mut answer = answer.map_err(|error| {
            debug!("statistics cannot be reached: {error}");
            Problem::unavailable(RETRY_AFTER, "statistics cannot be reached.")
        })?;
        strip(answer.headers_mut());
        if is_head {
            // What is said of its length is said of a body that is not here: none must be concluded from this one.
            return Ok(answer.map(|body| Body::from_stream(body.into_data_stream())));
        }
        Ok(answer)
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Response, Error> {
        Ok(self.client.request(request).await?.map(Body::new))
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
