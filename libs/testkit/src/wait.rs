//! Waiting for what will be.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Generous, because machines are slow at times; a test that passes does not wait for it.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(25);

/// Asks again and again until the answer is `Ok`; panics with the last `Err` after a minute.
pub async fn eventually<T>(ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, ask).await
}

/// As [`eventually`], with a patience of its own.
pub async fn eventually_within<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() >= end => panic!("not within {patience:?}: {reason}"),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
