//! What a handler may answer.

/// What became of an event that a handler was given. It says so, and knows no queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it caused is durable: published and confirmed, or committed. It will not come again.
    Done,
    /// This attempt failed in a way that another may mend. It comes again after a delay that grows with the attempts,
    /// until they are used up; then it is set aside.
    Retry(String),
    /// What is needed, such as the bus, is away, through no fault of the event. It is kept in hand and given again
    /// until it is there, at no attempt's cost.
    Unavailable(String),
    /// Never: it cannot be understood or is not allowed. It is set aside with this reason.
    Reject(String),
}
