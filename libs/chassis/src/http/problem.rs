//! The one error type: what went wrong, as RFC 9457 has it.

use std::{collections::BTreeMap, fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
};
use problem_details::{JsonProblemDetails, ProblemDetails};
use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

/// The longest detail, in bytes. What is refused may be quoted in it, and may be megabytes.
const MAX_DETAIL_BYTES: usize = 2000;

/// An error as the client sees it: `application/problem+json` with `status`, `title`, `detail` and whatever [`with`](Self::with)
/// adds.
///
/// Any error that is not a problem becomes a 500 by `?`: it is logged here, once, and the client sees nothing of it.
pub struct Problem(Box<Inner>);

struct Inner {
    details: ProblemDetails<BTreeMap<&'static str, serde_json::Value>>,
    headers: HeaderMap,
}

impl Problem {
    /// With any status; `detail` is for the person who reads it, and cut where nobody would.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL_BYTES {
            detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
            detail.push('…');
        }
        let details = ProblemDetails::from_status_code(status).with_detail(detail).with_extensions(BTreeMap::new());
        Self(Box::new(Inner { details, headers: HeaderMap::new() }))
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: the token is missing or wrong.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405: not with this method. The `Allow` header is the router's to add.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// 408: the request did not arrive in time.
    pub fn request_timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 409: not in the state that the thing is in.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 413: too many bytes.
    pub fn payload_too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: not this media type; lists those that are (member `accepted`).
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("expected Content-Type: {}", accepted.join(" or ")))
            .with("accepted", accepted)
    }

    /// 422: understood, but not allowed.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 429: too much from this client; try again after `retry_after`.
    pub fn too_many_requests(retry_after: Duration, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(retry_after)
    }

    /// 500 that shows nothing of `error`; logs it.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        tracing::error!(error = format!("{error:#}"), "a request failed");
        Self::logged_already()
    }

    pub(super) fn logged_already() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here; the log of this service says what.")
    }

    /// 431: the headers of the request are longer than so many bytes together.
    pub fn headers_too_large(max: usize) -> Self {
        let detail = format!("The headers of the request are too long: {max} bytes are allowed together.");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    }

    /// 502: who would have to answer did not, or not in a way that makes sense.
    pub fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, detail)
    }

    /// 503: not now; try again after `retry_after`.
    pub fn unavailable(retry_after: Duration, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after)
    }

    /// 504: who would have to answer did not in time.
    pub fn gateway_timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
    }

    /// Adds an extension member, for programs to read.
    ///
    /// # Panics
    /// In tests and development, if `value` cannot be JSON; otherwise such a member is left out.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value);
        debug_assert!(value.is_ok(), "{member}: {value:?}");
        if let Ok(value) = value {
            self.0.details.extensions.insert(member, value);
        }
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.details.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What the person who reads it is told.
    pub fn detail(&self) -> &str {
        self.0.details.detail.as_deref().unwrap_or_default()
    }

    /// The header counts whole seconds; zero would mean at once.
    fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }
}

/// What a document calls it.
pub(super) const SCHEMA: &str = "Problem";

/// What went wrong, as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) has it. Whatever else there is, such as `known` or
/// `accepted`, is for programs to read.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
struct Described {
    /// What kind of problem it is; absent, the status says it all.
    #[schema(rename = "type", format = "uri-reference", default = "about:blank", value_type = String, required = false)]
    kind: Option<String>,
    /// The HTTP status, again.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What the status means.
    #[schema(examples("Bad Request"))]
    title: String,
    /// What went wrong, and what would be allowed, for the person who reads it.
    #[schema(examples("limit: 1 to 500 are allowed"))]
    detail: String,
}

/// How a document describes it.
pub(super) fn schema() -> RefOr<Schema> {
    Described::schema()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner { details, headers } = *self.0;
        let mut response = JsonProblemDetails::from(details).into_response();
        response.headers_mut().extend(headers);
        response
    }
}

impl<E: Into<anyhow::Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::internal(error)
    }
}

/// As it stands in the body of an answer: for answers that say several things, of which some went wrong.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.details.serialize(serializer)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Problem").field(&self.0.details).finish()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status(), self.detail())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn rendered(problem: Problem) -> (HeaderMap, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        (parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_looks_as_rfc_9457_says() {
        let problem =
            Problem::unprocessable("no such operation: nonsense").with("allowed", ["primes", "word-frequency"]);
        let (headers, body) = rendered(problem).await;
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(
            body,
            serde_json::json!({
                "status": 422,
                "title": "Unprocessable Entity",
                "detail": "no such operation: nonsense",
                "allowed": ["primes", "word-frequency"],
            })
        );
    }

    #[tokio::test]
    async fn an_error_is_a_500_that_shows_nothing_of_it() {
        fn fails() -> Result<(), Problem> {
            std::fs::read("/nonexistent/swordfish")?;
            Ok(())
        }
        let (_, body) = rendered(fails().unwrap_err()).await;
        assert_eq!(body["status"], 500);
        assert!(!body.to_string().contains("swordfish") && !body.to_string().contains("os error"), "{body}");
    }

    #[tokio::test]
    async fn a_problem_does_not_repeat_megabytes() {
        let (_, body) = rendered(Problem::bad_request("é".repeat(1_000_000))).await;
        assert_eq!(body["detail"].as_str().map(str::len), Some(MAX_DETAIL_BYTES + "…".len()));
    }

    #[tokio::test]
    async fn a_problem_may_say_when_to_try_again() {
        for (after_ms, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
            let (headers, _) = rendered(Problem::unavailable(Duration::from_millis(after_ms), "busy")).await;
            assert_eq!(headers["retry-after"], header);
        }
    }
}
