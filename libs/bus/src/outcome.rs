//! What a handler may answer.

/// What became of an event that a handler was given. It says so, and knows no queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it caused is durable: published and confirmed, or committed. It will not come again.
    Done,
    /// Not now: what is needed is not there. It is tried again later.
    Retry(String),
    /// Never: it cannot be understood or is not allowed. It is set aside with this reason.
    Reject(String),
}
