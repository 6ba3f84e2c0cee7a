//! The system, asked over HTTP by the commands that do not run it.

use std::{env, process::ExitCode, time::Duration};

use chassis::config::EXIT_CONFIG;
use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

/// Where a system on this machine listens, unless it is told otherwise.
const DEFAULT_URL: &str = "http://localhost:8000";
/// How long it may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: what concerns thousands of dead letters takes some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The system cannot be reached, or cannot answer now (`EX_UNAVAILABLE` of
/// [sysexits](https://man.freebsd.org/cgi/man.cgi?sysexits)).
const EXIT_UNAVAILABLE: u8 = 69;

/// What the commands that ask a system say of their exit codes.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 the system says no, 64 wrong usage, 69 the system cannot be reached.\n\
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
    /// It answers that it cannot now.
    #[error("not now: {0}")]
    Unavailable(String),
    /// It answers no, and why.
    #[error("{0}")]
    Refused(String),
}

impl ClientError {
    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BadAddress { .. } => EXIT_CONFIG,
            Self::Unreachable { .. } | Self::Unavailable(_) => EXIT_UNAVAILABLE,
            Self::Refused(_) => 1,
        })
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
            return Err(bad("http:// is spoken here".to_owned()));
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build();
        let http = http.map_err(|error| bad(innermost(&error)))?;
        Ok(Self { http, url: parsed, token: variable("API_TOKEN") })
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
        let mut url = self.url.join(path).map_err(|error| self.unreachable(error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(innermost(&error)))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.unreachable(innermost(&error)))?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        if status.is_success() {
            return answer.ok_or_else(|| ClientError::Refused(format!("{} answers what is no JSON", self.url)));
        }
        let detail = answer.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = detail.map_or_else(|| status.to_string(), str::to_owned);
        Err(match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                ClientError::Unavailable(detail)
            }
            StatusCode::UNAUTHORIZED => ClientError::Refused(format!("{detail} (API_TOKEN)")),
            _ => ClientError::Refused(detail),
        })
    }

    fn unreachable(&self, reason: String) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), reason }
    }
}

/// The cause without what the client says around it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
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
