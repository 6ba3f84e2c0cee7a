//! What follows from a seed.

use std::collections::VecDeque;

use bus::embedded::Limits;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use testkit::{Crash, Faults};

use crate::{
    submissions::Submission,
    world::{Case, PlannedCrash},
};

/// The most objects of a case.
const MAX_OBJECTS: usize = 6;
/// The most crashes of a case: with what else may hand a message back, less than the 20 deliveries after which a consumer
/// gives it up.
const MAX_CRASHES: usize = 4;
/// So little that almost everything goes through the backlog of the bus.
const TIGHT: Limits = Limits { max_waiting_bytes: u64::MAX, max_journal_bytes: 10_000, kept_messages: 8 };

/// A case without crashes.
pub fn case(seed: u64) -> Case {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let objects = random.random_range(1..=MAX_OBJECTS);
    let submissions = (0..objects).map(|number| Submission::any(format!("{seed}-{number}"), &mut random)).collect();
    let limits = if random.random() { TIGHT } else { Limits::default() };
    Case { seed, submissions, faults: faults(&mut random), crashes: VecDeque::new(), limits, breach: None }
}

/// About half of the faults, each as probable as may be: with all of them at once, few would ever have their full effect.
fn faults(random: &mut ChaCha8Rng) -> Faults {
    let mut up_to = |max: f64| if random.random() { max * random.random::<f64>() } else { 0.0 };
    Faults {
        duplicate: up_to(0.3),
        reorder: up_to(0.2),
        delay: up_to(0.15),
        drop_before_confirm: up_to(0.1),
        drop_after_accept: up_to(0.1),
        late: up_to(0.1),
        duplicate_delivery: up_to(0.3),
        reorder_delivery: up_to(0.5),
        lose_acknowledgement: up_to(0.2),
        forget_acknowledgement: up_to(0.2),
        end_session: up_to(0.1),
    }
}

/// Crashes of a case that has so many moments without faults.
pub fn crashes(seed: u64, moments: u64) -> VecDeque<PlannedCrash> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Other random numbers than the case itself.
    random.set_stream(u64::MAX);
    let count = random.random_range(0..=MAX_CRASHES);
    (0..count)
        .map(|_| PlannedCrash {
            crash: Crash { moment: random.random_range(1..=moments) },
            of_everything: random.random(),
        })
        .collect()
}
