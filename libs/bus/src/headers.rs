//! The names of our own headers, those of CloudEvents aside. They begin with `ebs-`, because what begins with `x-` is
//! the broker's.

use serde_json::Value;

use crate::message::Message;

/// Which attempt this is, from 1. One that comes for the first time does not have it.
pub const ATTEMPT: &str = "ebs-attempt";

/// How often it was replayed after it had been set aside. One that never was does not have it.
pub const ROUND: &str = "ebs-round";

/// The exchange that a message on its way through a retry queue was published to at first.
pub const ORIGINAL_EXCHANGE: &str = "ebs-exchange";
/// The routing key that it was published with at first. Both are gone again when a handler is given it.
pub const ORIGINAL_ROUTING_KEY: &str = "ebs-routing-key";

/// The reason why a message was set aside, in the dead letter's headers.
pub const DEAD_REASON: &str = "ebs-dead-reason";
/// The kind of reason, a [`Cause`](crate::Cause)'s word.
pub const DEAD_CAUSE: &str = "ebs-dead-cause";
/// When it was set aside, RFC 3339.
pub const DEAD_TIME: &str = "ebs-dead-time";
/// The queue that it came from.
pub const DEAD_QUEUE: &str = "ebs-dead-queue";
/// The exchange that it was published to.
pub const DEAD_EXCHANGE: &str = "ebs-dead-exchange";
/// The routing key that it had.
pub const DEAD_ROUTING_KEY: &str = "ebs-dead-routing-key";

/// Attempts count from here.
pub(crate) const FIRST_ATTEMPT: u32 = 1;

/// How often a message was replayed. Whoever writes nonsense there says that it never was.
pub(crate) fn round(message: &Message) -> u32 {
    let said = message.headers.get(ROUND).and_then(Value::as_u64);
    said.and_then(|round| u32::try_from(round).ok()).unwrap_or_default()
}

/// Which attempt a message is. Whoever writes nonsense there gets all attempts.
pub(crate) fn attempt(message: &Message) -> u32 {
    let said = message.headers.get(ATTEMPT).and_then(Value::as_u64);
    said.and_then(|attempt| u32::try_from(attempt).ok()).map_or(FIRST_ATTEMPT, |attempt| attempt.max(FIRST_ATTEMPT))
}
