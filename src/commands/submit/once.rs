//! One object: submitted until it is known what became of it.

use std::time::{Duration, Instant};

use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    client::{Client, ClientError},
    failure::{EXIT_UNAVAILABLE, Failure},
    progress::Progress,
    time::RETRY,
};

/// How long it is tried: a broker that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Submits an object until there is an answer to the point. It is one object, however often it is submitted, because the key
/// and the body stay the same.
pub(super) async fn submit(client: &Client, body: Vec<u8>, key: &str) -> Result<Value, Failure> {
    let header = HeaderValue::from_str(key)
        .map_err(|_| Failure::usage("--key: 1 to 255 visible ASCII characters are allowed"))?;
    let body = bytes::Bytes::from(body);
    let end = Instant::now() + PATIENCE;
    let progress = Progress::of_waiting("submitting");
    let mut may_be_accepted = false;
    loop {
        let request = client.request(Method::POST, "api/objects", &[])?;
        let request = request.header("idempotency-key", &header).header(CONTENT_TYPE, "application/json");
        let error = match client.answer(request.body(body.clone())).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        let was_there = match error {
            // What never was there is not waited for: the address may be wrong.
            ClientError::Unreachable { .. } => may_be_accepted,
            _ => error.may_pass(),
        };
        let pause = error.pause().unwrap_or(RETRY);
        may_be_accepted |= was_there;
        if !was_there || Instant::now() + pause > end {
            return Err(if may_be_accepted { unknown(&error, key) } else { error.into() });
        }
        progress.show(0, &format!("{error}; trying again"));
        sleep(pause).await;
    }
}

/// Nobody knows whether it was accepted.
fn unknown(error: &ClientError, key: &str) -> Failure {
    let message =
        format!("{error}\nIt may have been accepted or not. To submit it again as the same object: --key {key}");
    Failure::told(EXIT_UNAVAILABLE, message)
}
