//! Those who submit: each object until it is accepted, whatever happens to the doors.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::{Ledger, Origin},
    work::Work,
};

/// How many there are.
const CLIENTS: u64 = 6;
/// Longer than a front door that works takes to say that it cannot.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// The pause before an object is tried again.
const AGAIN: Duration = Duration::from_millis(300);
/// How often something is submitted again that was accepted, as by someone who did not hear so.
const DEAF: f64 = 0.05;

/// All clients.
pub struct Clients<'a> {
    pub seed: u64,
    /// Objects a second, all together, at most.
    pub rate: u64,
    /// Where objects are submitted; a client that gets no answer tries another door.
    pub doors: Vec<String>,
    pub ledger: &'a Ledger,
}

/// How one request was answered.
enum Answer {
    Accepted(String),
    PutOff,
    Unknown,
    Wrong(String),
}

impl Clients<'_> {
    /// Submits new objects until `end`, and what was begun until it is accepted or everybody gives up.
    pub async fn run(&self, end: &CancellationToken, give_up: &CancellationToken) {
        join_all((0..CLIENTS).map(|client| give_up.run_until_cancelled(self.client(client, end)))).await;
    }

    async fn client(&self, client: u64, end: &CancellationToken) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream((client + 1) << 32 | u64::from(u32::MAX));
        let most = 2 * CLIENTS * 1000 / self.rate;
        let http = match reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build() {
            Ok(http) => http,
            Err(error) => return self.ledger.wrong(format!("client {client}: {error}")),
        };
        for number in 0.. {
            let pause = Duration::from_millis(random.random_range(0..=most));
            if end.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            let origin = Origin { client, number };
            self.submit(&http, origin).await;
            if random.random_bool(DEAF) {
                self.submit(&http, origin).await;
            }
        }
    }

    /// Submits an object until it is accepted.
    async fn submit(&self, http: &reqwest::Client, origin: Origin) {
        let body = Work::of(self.seed, origin.client, origin.number).body();
        for door in self.doors.iter().cycle().skip(origin.number as usize % self.doors.len()) {
            match self.request(http, door, origin, &body).await {
                Answer::Accepted(id) => return self.ledger.accepted(id, origin),
                Answer::Wrong(what) => return self.ledger.wrong(format!("{origin:?}: {what}")),
                Answer::PutOff => self.ledger.put_off(),
                Answer::Unknown => self.ledger.unknown(),
            }
            sleep(AGAIN).await;
        }
    }

    async fn request(
        &self,
        http: &reqwest::Client,
        door: &str,
        origin: Origin,
        body: &Option<(&'static str, String)>,
    ) -> Answer {
        let key = format!("{}-{}-{}", self.seed, origin.client, origin.number);
        let mut request = http.post(door).header("idempotency-key", key);
        if let Some((media_type, body)) = body {
            request = request.header(CONTENT_TYPE, *media_type).body(body.clone());
        }
        let Ok(answer) = request.send().await else { return Answer::Unknown };
        let status = answer.status();
        let Ok(text) = answer.text().await else { return Answer::Unknown };
        match status {
            StatusCode::CREATED => match id(&text) {
                Ok(id) => Answer::Accepted(id),
                Err(error) => Answer::Wrong(format!("{error:#}")),
            },
            StatusCode::TOO_MANY_REQUESTS => Answer::PutOff,
            status if status.is_server_error() => Answer::PutOff,
            status => Answer::Wrong(format!("{status}: {text}")),
        }
    }
}

fn id(text: &str) -> anyhow::Result<String> {
    let object: Value = serde_json::from_str(text).context("the answer is not JSON")?;
    Ok(object["id"].as_str().context("the answer has no id")?.to_owned())
}
