//! One object, until it is accepted, refused, or given up.

use std::{borrow::Cow, sync::Arc, time::Duration};

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    load::until,
    pace::Turn,
    plan::Plan,
    tally::{Accepted, Tally},
};
use crate::client::{Client, innermost};

/// How long an object is submitted again and again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one answer may take: the door waits 5 s for the bus, and long texts have to be sent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before it is submitted again, if the system does not say; doubled each time,
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// up to this one.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// So many refusals without a single object accepted, and nobody goes on.
const HOPELESS: u64 = 100;

/// Submits the objects of a plan.
pub struct Submitter {
    client: Arc<Client>,
    plan: Arc<Plan>,
    tally: Arc<Tally>,
}

/// An object as it is submitted.
#[derive(Serialize)]
struct Submission<'a> {
    name: String,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<u32>,
    data: Cow<'a, str>,
}

/// Of the answer, what is of interest here.
#[derive(Deserialize)]
struct Created {
    id: Uuid,
    created_at: jiff::Timestamp,
}

/// What one try came to.
enum Answer {
    Accepted(Created),
    /// It will be refused always.
    Refused {
        kind: String,
        detail: String,
        is_for_all: bool,
    },
    /// It may be accepted later.
    NotNow {
        kind: String,
        detail: String,
        pause: Option<Duration>,
        may_be_accepted: bool,
    },
}

impl Submitter {
    /// One that counts in `tally`.
    pub fn new(client: Arc<Client>, plan: Arc<Plan>, tally: Arc<Tally>) -> Self {
        Self { client, plan, tally }
    }

    /// Submits one, again and again if need be.
    pub async fn submit(&self, turn: Turn, stop: &CancellationToken) {
        let key = format!("{}-{}", self.plan.run, turn.number);
        let body = self.body(turn.number);
        self.tally.submitted();
        let give_up = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut may_be_accepted = false;
        for tries in 1.. {
            let sent = Instant::now();
            match self.attempt(&key, body.clone()).await {
                Answer::Accepted(Created { id, created_at }) => {
                    let answered = Instant::now();
                    let clean = tries == 1;
                    return self.tally.accepted(Accepted { id, created_at, due: turn.due, sent, answered, clean });
                }
                Answer::Refused { kind, detail, is_for_all } => return self.tally.refused(kind, detail, is_for_all),
                Answer::NotNow { kind, detail, pause: told, may_be_accepted: may } => {
                    may_be_accepted |= may;
                    self.tally.trouble(kind, detail);
                    // Not all at the same time again.
                    let wait = told.unwrap_or(pause).mul_f64(1.0 + rand::random::<f64>() / 2.0);
                    pause = (pause * 2).min(MAX_PAUSE);
                    if wait >= until(give_up) {
                        break;
                    }
                    tokio::select! {
                        () = sleep(wait) => self.tally.retried(),
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        self.tally.gave_up(may_be_accepted);
    }

    /// One was not answered before the end.
    pub fn interrupted(&self) {
        self.tally.gave_up(true);
    }

    /// Whether there is no use in going on.
    pub fn is_hopeless(&self) -> bool {
        self.tally.is_hopeless(HOPELESS)
    }

    fn body(&self, number: u64) -> Vec<u8> {
        let submission = Submission {
            name: format!("spam {number}"),
            operation: &self.plan.operation,
            parameters: self.plan.parameters.as_ref(),
            tasks: self.plan.tasks,
            data: self.plan.texts.of(number),
        };
        serde_json::to_vec(&submission).expect("names and texts are JSON")
    }

    async fn attempt(&self, key: &str, body: Vec<u8>) -> Answer {
        let request = match self.client.request(Method::POST, "api/objects", &[]) {
            Ok(request) => request.timeout(ANSWER_TIMEOUT).header("idempotency-key", key),
            Err(error) => return refused("no address", error.to_string(), true),
        };
        let answer = match request.header(CONTENT_TYPE, "application/json").body(body).send().await {
            Ok(answer) => answer,
            Err(error) => return unanswered(&error),
        };
        let status = answer.status();
        let pause = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = pause.map(|seconds| Duration::from_secs(seconds).min(PATIENCE));
        let text = match answer.bytes().await {
            Ok(text) => text,
            Err(error) => return unanswered(&error),
        };
        if status.is_success() {
            return match serde_json::from_slice(&text) {
                Ok(created) => Answer::Accepted(created),
                Err(error) => refused("no object", format!("the answer has no object: {error}"), true),
            };
        }
        let problem: Option<Value> = serde_json::from_slice(&text).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default().to_owned();
        let kind = status.to_string();
        match status {
            // Whom it does not know it does not listen to.
            StatusCode::TOO_MANY_REQUESTS => Answer::NotNow { kind, detail, pause, may_be_accepted: false },
            // What was not answered in time, by whoever is in between, may have been taken all the same.
            status if status.is_server_error() => Answer::NotNow { kind, detail, pause, may_be_accepted: true },
            StatusCode::REQUEST_TIMEOUT => Answer::NotNow { kind, detail, pause, may_be_accepted: false },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => refused(&kind, detail, true),
            _ => refused(&kind, detail, false),
        }
    }
}

fn refused(kind: &str, detail: String, is_for_all: bool) -> Answer {
    Answer::Refused { kind: kind.to_owned(), detail, is_for_all }
}

fn unanswered(error: &reqwest::Error) -> Answer {
    let kind = if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "connection lost"
    };
    let may_be_accepted = !error.is_connect();
    Answer::NotNow { kind: kind.to_owned(), detail: innermost(error), pause: None, may_be_accepted }
}
