//! Which cases are simulated.

use std::env;

/// One seed, and no other.
pub const VARIABLE: &str = "EBS_TEST_SEED";
/// How many, beside those that are kept.
const CASES_VARIABLE: &str = "EBS_TEST_CASES";
/// So many take less than a minute on a slow machine.
const CASES: u64 = 50;

/// Seeds that have failed once, each with what was wrong. They come first, always.
const KEPT: [u64; 2] = [
    // The simulation itself, twice: its clock leapt while SQLite worked, "a program does not stop";
    754_650_930,
    // and while a thread of SQLite was about to begin, "pool timed out while waiting for an open connection".
    1_685_319_455,
];

/// The seeds to try.
pub fn seeds() -> impl Iterator<Item = u64> {
    let one = number(VARIABLE);
    let cases = number(CASES_VARIABLE).unwrap_or(CASES);
    // Others each time; 32 bits are enough, and can be typed.
    let first = u64::from(rand::random::<u32>());
    let others = first..first + cases;
    let (kept, others) = if one.is_some() { (&[][..], 0..0) } else { (&KEPT[..], others) };
    one.into_iter().chain(kept.iter().copied()).chain(others)
}

/// Whether only one is asked for.
pub fn only_one() -> bool {
    number(VARIABLE).is_some()
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, and not a number")))
}
