//! One seed for all that is random, so that a failure can be had again.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

const VARIABLE: &str = "EBS_TEST_SEED";

static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var(VARIABLE) {
    Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE} is {text:?}, and not a number")),
    Err(_) => rand::rng().random(),
});

/// Random numbers, others for each caller. A test that fails prints what makes them come again: with that in the variable,
/// the first caller gets them.
pub fn random() -> StdRng {
    static CALLERS: AtomicU64 = AtomicU64::new(0);
    let seed = SEED.wrapping_add(CALLERS.fetch_add(1, Ordering::Relaxed));
    eprintln!("{VARIABLE}={seed}");
    StdRng::seed_from_u64(seed)
}
