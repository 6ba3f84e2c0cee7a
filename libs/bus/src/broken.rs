//! Rules that can be broken on purpose, to see that whoever looks for the damage finds it. Not in any build but one with the
//! feature `break-rules`, and even there nothing is broken unless `EBS_BREAK` names it.

use std::time::Duration;

/// So long is the moment in which the damage can be done: a kill that comes at random finds it.
pub const MOMENT: Duration = Duration::from_millis(100);

/// Whether `EBS_BREAK` names this rule: `acknowledge-before-commit`, `confirm-not-awaited` or `merge-not-a-join`.
pub fn is_broken(rule: &str) -> bool {
    std::env::var("EBS_BREAK").is_ok_and(|broken| broken == rule)
}
