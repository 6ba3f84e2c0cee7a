//! The system that runs, asked over HTTP.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::{Method, Response, StatusCode, header::DATE};
use serde_json::Value;

use super::check::Check;
use crate::client::{Address, Client, innermost};

/// How long each answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// More of an answer is not read; the document of the interface has some 60 KiB.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The header that is compared with has whole seconds.
const CLOCKS: SignedDuration = SignedDuration::from_secs(3);

/// Whether it is reached, is what it should be, is ready, and lets us in.
pub async fn look(address: &Address) -> Vec<Check> {
    let client = match Client::of(address) {
        Ok(client) => client,
        Err(error) => return vec![Check::problem("system", error.to_string(), "mend --url or EBS_URL")],
    };
    let url = client.url();
    let alive = match get(&client, "livez").await {
        Ok(alive) => alive,
        Err(reason) => {
            let to_do = "`ebs up` starts it; --url or EBS_URL say where else it may be";
            return vec![Check::problem("system", format!("nobody answers at {url}: {reason}"), to_do)];
        }
    };
    if alive.json["status"] != "alive" {
        let to_do = "give the system another address (LISTEN), or tell its own (--url, EBS_URL)";
        return vec![Check::problem("system", format!("what answers at {url} is not this system"), to_do)];
    }
    let (document, ready, operations) =
        tokio::join!(get(&client, "openapi.json"), get(&client, "readyz"), get(&client, "api/operations"));
    let mut checks = vec![version(url.as_str(), document), readiness(ready), token(&client, operations)];
    checks.extend(alive.date.and_then(clock));
    checks
}

struct Answer {
    status: StatusCode,
    /// Null, if it is none.
    json: Value,
    date: Option<Timestamp>,
}

async fn get(client: &Client, path: &str) -> Result<Answer, String> {
    let request = client.request(Method::GET, path, &[]).map_err(|error| error.to_string())?;
    let answer = request.timeout(ANSWER_TIMEOUT).send().await.map_err(|error| innermost(&error))?;
    let status = answer.status();
    let date = answer.headers().get(DATE).and_then(|date| rfc2822::parse(date.to_str().ok()?).ok());
    let json = serde_json::from_slice(&body(answer).await?).unwrap_or_default();
    Ok(Answer { status, json, date: date.map(|date| date.timestamp()) })
}

/// Whoever answers there may be anybody.
async fn body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(format!("its answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
    }
    Ok(body)
}

fn version(url: &str, document: Result<Answer, String>) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = document.ok().and_then(|answer| answer.json["info"]["version"].as_str().map(str::to_owned));
    match theirs {
        Some(theirs) if theirs == ours => Check::ok("system", format!("{url} answers, version {theirs}")),
        Some(theirs) => {
            let says = format!("{url} answers, version {theirs}; this program is {ours}");
            Check::warning("system", says, "use the same version of both")
        }
        None => {
            Check::warning("system", format!("{url} answers, of an unknown version"), "use the same version of both")
        }
    }
}

fn readiness(ready: Result<Answer, String>) -> Check {
    let answer = match ready {
        Ok(answer) => answer,
        Err(reason) => return Check::problem("ready", reason, "its log may say more"),
    };
    let checks = answer.json["checks"].as_object().cloned().unwrap_or_default();
    if answer.status.is_success() {
        let names: Vec<&str> = checks.keys().map(String::as_str).collect();
        return Check::ok("ready", format!("it is: {}", names.join(", ")));
    }
    let fails = checks.iter().filter(|(_, says)| *says != "ok");
    let fails: Vec<String> = fails.map(|(name, says)| format!("{name}: {}", says.as_str().unwrap_or("?"))).collect();
    let says = if fails.is_empty() { format!("it is not: {}", answer.status) } else { fails.join("; ") };
    Check::problem("ready", says, "see what is said below of the bus and the record, and its log")
}

fn token(client: &Client, operations: Result<Answer, String>) -> Check {
    let status = match operations {
        Ok(answer) => answer.status,
        Err(reason) => return Check::problem("token", reason, "its log may say more"),
    };
    match (status, client.token()) {
        (StatusCode::OK, None) => Check::ok("token", "none is needed"),
        (StatusCode::OK, Some(_)) => Check::ok("token", "what is asked with API_TOKEN is answered"),
        (StatusCode::UNAUTHORIZED, None) => {
            Check::problem("token", "the system wants one", "set API_TOKEN to one of those that it was given")
        }
        (StatusCode::UNAUTHORIZED, Some(_)) => Check::problem(
            "token",
            "the one in API_TOKEN, of several the first, is not one of the system's",
            "set API_TOKEN to one of those that it was given",
        ),
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            Check::problem("token", "somebody shows wrong ones, too many a second", "find out who, and ask again")
        }
        (status, _) => Check::problem("token", format!("asked for its operations, it says {status}"), "see its log"),
    }
}

fn clock(theirs: Timestamp) -> Option<Check> {
    let ahead = theirs.duration_since(Timestamp::now());
    (ahead.abs() > CLOCKS).then(|| {
        let says = format!("that of the system differs from this one by {} s", ahead.as_secs());
        Check::warning("clock", says, "keep both right by NTP: times would not fit together")
    })
}
