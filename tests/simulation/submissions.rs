//! What is submitted, and the client that does it.

use std::{num::NonZeroUsize, time::Duration};

use axum::{Router, body::Body};
use http::{Request, StatusCode, header::RETRY_AFTER};
use http_body_util::BodyExt;
use operations::{Catalogue, Parameters};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::ServiceExt;

/// The most parts of an object.
const MAX_PARTS: u64 = 8;
/// The last submission comes at the latest after this.
const LAST: Duration = Duration::from_secs(5);

/// An object to be submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Makes all requests for it the same request.
    key: String,
    body: Value,
    after: Duration,
}

/// How an object must end, computed without any of the services.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Succeeded(Value),
    Failed,
}

impl Submission {
    pub fn new(key: String, body: Value) -> Self {
        Self { key, body, after: Duration::ZERO }
    }

    /// Any object: of any operation, of no elements up to more than there are parts, and now and then one that fails or that needs several attempts.
    pub fn any(key: String, random: &mut ChaCha8Rng) -> Self {
        const WORDS: [&str; 5] = ["one", "two", "three", "TWO", "été"];
        let size = random.random_range(0..=2 * MAX_PARTS);
        let tasks = random.random_range(1..=MAX_PARTS);
        let numbers: Vec<i64> = (0..size).map(|_| random.random_range(-9..=9)).collect();
        let body = match random.random_range(0..6) {
            0 => {
                let words: Vec<&str> = (0..size).filter_map(|_| WORDS.choose(random).copied()).collect();
                json!({"operation": "word-frequencies", "data": words.join(" "), "tasks": tasks})
            }
            1 => json!({"operation": "pow", "parameters": {"exponent": 3}, "data": numbers, "tasks": tasks}),
            // One of them is too much for 64 bits: its part fails, and so does the object.
            2 => {
                let too_much = [vec![1, 2, 9], numbers].concat();
                json!({"operation": "pow", "parameters": {"exponent": 40}, "data": too_much, "tasks": tasks})
            }
            3 => json!({"operation": "plusone", "data": numbers, "tasks": tasks}),
            // Succeeds in the end, after as many attempts as it takes.
            4 => json!({"operation": "flaky", "parameters": {"transient": 0.3}, "data": numbers, "tasks": tasks}),
            _ => json!({"operation": "nop", "data": numbers, "tasks": tasks}),
        };
        Self { key, body, after: LAST.mul_f64(random.random()) }
    }

    /// How it must end.
    pub fn end(&self) -> End {
        let operation = self.body["operation"].as_str().unwrap();
        let operation = Catalogue::built_in().get(operation).unwrap();
        let mut parameters: Parameters = self.body["parameters"].as_object().cloned().unwrap_or_default();
        // How it ends is not a matter of chance, only when.
        parameters.remove("transient");
        let parts = NonZeroUsize::new(self.body["tasks"].as_u64().unwrap() as usize).unwrap();
        match operations::run(&*operation, &self.body["data"], &parameters, parts) {
            Ok(result) => End::Succeeded(result),
            Err(_) => End::Failed,
        }
    }

    /// Submits it as a client does that wants to know: again and again, until it is accepted. The object's id.
    pub async fn submit(self, door: Router) -> String {
        sleep(self.after).await;
        loop {
            let request = Request::post("/api/objects")
                .header("content-type", "application/json")
                .header("idempotency-key", &self.key)
                .body(Body::from(self.body.to_string()))
                .unwrap();
            let answer = door.clone().oneshot(request).await.unwrap();
            let (status, retry_after) = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            match status {
                StatusCode::CREATED => {
                    let object: Value = serde_json::from_slice(&body).unwrap();
                    return object["id"].as_str().unwrap().to_owned();
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    let seconds = retry_after.unwrap().to_str().unwrap().parse().unwrap();
                    sleep(Duration::from_secs(seconds)).await;
                }
                _ => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            }
        }
    }
}
