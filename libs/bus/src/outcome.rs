//! What a handler may answer, and why a message was not done.

use std::fmt;

/// What became of an event that a handler was given. It says so, and knows no queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it caused is durable: published and confirmed, or committed. It will not come again.
    Done,
    /// This attempt failed in a way that another may mend. It comes again after a delay that grows with the attempts,
    /// until they are used up; then it is set aside.
    Retry(Failure),
    /// What is needed, such as the bus, is away, through no fault of the event. It is kept in hand and given again
    /// until it is there, at no attempt's cost.
    Unavailable(String),
    /// Never: it cannot be understood, is not allowed, or another attempt would end the same way. It is set aside.
    Reject(Failure),
}

/// The longest reason kept, in characters.
const MAX_REASON_CHARS: usize = 2000;

/// Why a message was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    cause: Cause,
    reason: String,
}

impl Failure {
    /// For this cause. Of what happened, told for people, the first 2000 characters are kept.
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if let Some((end, _)) = reason.char_indices().nth(MAX_REASON_CHARS) {
            reason.truncate(end);
        }
        Self { cause, reason }
    }

    /// The kind of reason, which dead letters are grouped by.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// What happened, for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Of the last of so many attempts: why there is no other.
    #[must_use]
    pub fn of_last_attempt(&self, attempts: u32) -> Self {
        let cause = if self.cause == Cause::TimedOut { Cause::TimedOut } else { Cause::AttemptsUsedUp };
        Self::new(cause, format!("attempts used up ({attempts}): {}", self.reason))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The kinds of reasons for which a message is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Whoever handles it says that it can never be done.
    Rejected,
    /// Each of its attempts failed.
    AttemptsUsedUp,
    /// Each of its attempts failed, the last one because it took too long.
    TimedOut,
    /// Its handler panicked.
    Panicked,
    /// It was delivered again and again and never done: whoever executes it crashes.
    CrashLoop,
    /// It is no event, or not one that its queue is for.
    Undecodable,
    /// It, or what came of it, is longer than an event may be.
    TooLarge,
    /// The broker itself gave it up, because it was delivered more often than the queue allows.
    DeliveryLimit,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rejected,
        Self::AttemptsUsedUp,
        Self::TimedOut,
        Self::Panicked,
        Self::CrashLoop,
        Self::Undecodable,
        Self::TooLarge,
        Self::DeliveryLimit,
    ];

    /// The word for it, in headers and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::AttemptsUsedUp => "attempts-used-up",
            Self::TimedOut => "timed-out",
            Self::Panicked => "panicked",
            Self::CrashLoop => "crash-loop",
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too-large",
            Self::DeliveryLimit => "delivery-limit",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_any_length_is_cut_between_characters() {
        let failure = Failure::new(Cause::Rejected, "é".repeat(3000));
        assert_eq!(failure.reason().chars().count(), MAX_REASON_CHARS);
        assert_eq!(failure.of_last_attempt(5).reason().chars().count(), MAX_REASON_CHARS);
    }

    #[test]
    fn the_last_of_many_attempts_says_whether_time_was_the_reason() {
        let failed = |cause| Failure::new(cause, "no luck").of_last_attempt(3);
        assert_eq!(failed(Cause::TimedOut), Failure::new(Cause::TimedOut, "attempts used up (3): no luck"));
        assert_eq!(failed(Cause::Rejected), Failure::new(Cause::AttemptsUsedUp, "attempts used up (3): no luck"));
    }
}
