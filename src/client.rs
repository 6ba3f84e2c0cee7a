//! The system, asked over HTTP by the commands that do not run it.

use std::{env, fmt::Write as _, process::ExitCode, time::Duration};

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header::RETRY_AFTER};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    failure::{EXIT_NO, EXIT_UNAVAILABLE, EXIT_USAGE},
    up::NAME,
};

/// Where a system on this machine listens, unless it is told otherwise.
const DEFAULT_URL: &str = "http://localhost:8000";
/// How long it may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: what concerns thousands of dead letters takes some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest that it is waited because the system says so.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What the commands that ask a system say of their exit codes.
pub const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the system says no, 64 wrong usage, 69 the system cannot
be reached.
A token, if the system wants one, is taken from API_TOKEN.";

/// Where the system is.
#[derive(Clone, Debug, Args)]
pub struct Address {
    /// The system's address [default: EBS_URL, or else http://localhost:8000]
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
}

/// Asks one system.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
}

/// Why there is no answer that one could work with.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("the address {url:?} (--url, EBS_URL) is not one like {DEFAULT_URL}: {reason}")]
    BadAddress {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "no answer from {url}: {reason}. Does it run? `ebs up` starts it; --url or EBS_URL say where else it may be"
    )]
    Unreachable {
        /// Where.
        url: Url,
        /// Why.
        reason: String,
    },
    /// It was there, and what has become of the request is not known.
    #[error("{url} did not answer to the end: {reason}")]
    Lost {
        /// Where.
        url: Url,
        /// Why.
        reason: String,
    },
    /// It answers that it cannot now.
    #[error("not now: {0}")]
    Unavailable(String),
    /// It answers that it cannot now, and when it may.
    #[error("not now: {detail}")]
    Later {
        /// Why not.
        detail: String,
        /// When to ask again.
        after: Duration,
    },
    /// It answers no, and why.
    #[error("{0}")]
    Refused(String),
    /// It answers that there is no such thing.
    #[error("{0}")]
    Missing(String),
}

impl ClientError {
    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BadAddress { .. } => EXIT_USAGE,
            _ if self.may_pass() => EXIT_UNAVAILABLE,
            _ => EXIT_NO,
        })
    }

    /// How long the system wants to be left alone, if it says so.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Later { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// Whether the same request may have another answer in a moment.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Unavailable(_) | Self::Later { .. } => true,
            Self::BadAddress { .. } | Self::Refused(_) | Self::Missing(_) => false,
        }
    }
}

impl Client {
    /// One that asks the system at this address, or else where the environment says.
    ///
    /// # Errors
    /// If that is no address.
    pub fn of(address: &Address) -> Result<Self, ClientError> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let url = address.url.clone().or_else(|| variable("EBS_URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let bad = |reason: String| ClientError::BadAddress { url: url.clone(), reason };
        let mut parsed = Url::parse(&url).map_err(|error| bad(error.to_string()))?;
        if parsed.scheme() != "http" || parsed.cannot_be_a_base() {
            return Err(bad(match parsed.scheme() {
                "https" => {
                    "https:// is not spoken here; reach it behind its proxy, as by `kubectl port-forward` or `ssh -L`"
                }
                _ => "http:// is spoken here",
            }
            .to_owned()));
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        // Nobody in between: HTTP_PROXY is for the world outside, and would be told the token.
        let http = reqwest::Client::builder().no_proxy();
        let http = http.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build();
        let http = http.map_err(|error| bad(innermost(&error)))?;
        // The variable that the services read has several, between commas; each of them opens.
        let token = variable("API_TOKEN").and_then(|tokens| Some(tokens.split(',').next()?.trim().to_owned()));
        Ok(Self { http, url: parsed, token })
    }

    /// Asks for `path`, which begins without a slash, and its query; with a JSON body, if there is one.
    ///
    /// # Errors
    /// If there is no answer, or if it is no.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let mut request = self.request(method, path, query)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// A request with the token; what it carries is added, and then it is for [`answer`](Self::answer) or [`send`](Self::send).
    ///
    /// # Errors
    /// If the path is none.
    pub fn request(&self, method: Method, path: &str, query: &[(&str, String)]) -> Result<RequestBuilder, ClientError> {
        let mut url = self.url.join(path).map_err(|error| ClientError::Refused(format!("{path}: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// The whole answer, which is JSON.
    ///
    /// # Errors
    /// If there is none, or if it is no.
    pub async fn answer(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let answer = self.send(request).await?;
        let text = answer.text().await.map_err(|error| self.lost(&error))?;
        serde_json::from_str(&text).map_err(|_| self.not_ebs())
    }

    /// The answer, of which the body is still to be read.
    ///
    /// # Errors
    /// If there is none, or if it is no.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request.send().await.map_err(|error| {
            // Whoever cannot connect has sent nothing.
            if error.is_connect() { self.unreachable(innermost(&error)) } else { self.lost(&error) }
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let text = answer.text().await.map_err(|error| self.lost(&error))?;
        let problem: Option<Value> = serde_json::from_str(&text).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = detail.map_or_else(|| format!("{} answers {status}", self.url), str::to_owned);
        Err(match status {
            // 408: it took too long until the request was there, which may be otherwise the next time.
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => match after {
                Some(after) => ClientError::Later { detail, after },
                None => ClientError::Unavailable(detail),
            },
            StatusCode::UNAUTHORIZED => ClientError::Refused(format!("{detail} (API_TOKEN)")),
            StatusCode::NOT_FOUND => ClientError::Missing(detail),
            _ => ClientError::Refused(detail),
        })
    }

    /// The connection broke.
    pub fn lost(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Lost { url: self.url.clone(), reason: innermost(error) }
    }

    /// Something else listens there.
    pub fn not_ebs(&self) -> ClientError {
        ClientError::Refused(format!("{} answers what EBS never does: is it another program?", self.url))
    }

    /// Where it asks.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The token that it shows.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn unreachable(&self, reason: String) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), reason }
    }
}

/// What was said of what can be said, as a query.
pub fn said<const N: usize>(pairs: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Reads the id of an object or of what was set aside.
///
/// # Errors
/// If it is no UUID: what is expected, and who knows it.
pub fn id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| {
        format!("expected a UUID, as `{NAME} objects` lists them, and `{NAME} dead-letters list` of what was set aside")
    })
}

/// What people give for a part of a path, such that it is one part, whatever it is. No name or id has a `~`, which stands for
/// nothing and for dots: those lead elsewhere even in escapes.
pub fn segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte {
            b'.' => segment.push('~'),
            b'-' | b'_' => segment.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => segment.push(char::from(byte)),
            _ => {
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    if segment.is_empty() { "~".to_owned() } else { segment }
}

/// The cause without what the client says around it.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_name_leads_nowhere_else() {
        let client = Client::of(&Address { url: Some("http://host/ebs".to_owned()) }).unwrap();
        for (text, leads_to) in [
            ("word-frequencies", "word-frequencies"),
            ("..", "~~"),
            ("", "~"),
            ("../objects?a=b#c", "~~%2Fobjects%3Fa%3Db%23c"),
            ("a b", "a%20b"),
            ("%2e%2e", "%252e%252e"),
        ] {
            let url = client.url.join(&format!("api/totals/{}", segment(text))).unwrap();
            assert_eq!(url.as_str(), format!("http://host/ebs/api/totals/{leads_to}"));
        }
    }

    #[test]
    fn an_address_may_have_a_path_and_must_be_http() {
        let of = |url: &str| Client::of(&Address { url: Some(url.to_owned()) });
        assert_eq!(of("http://host:1").unwrap().url.as_str(), "http://host:1/");
        assert_eq!(of("http://host/ebs").unwrap().url.join("api/x").unwrap().as_str(), "http://host/ebs/api/x");
        for url in ["", "host", "https://host", "http://", "mailto:a@b"] {
            let told = of(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(told.contains("EBS_URL") && told.contains("http://localhost:8000"), "{told}");
        }
    }
}
