//! All cases many times, in a random order, several at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
    time::Instant,
};

use rand::seq::SliceRandom;
use tokio::{runtime::Builder, time::timeout};

use crate::{
    cases::{CASE_TIMEOUT, Case},
    kit::show_log_of_failures,
    seed::random,
};

/// How often each case is run.
pub const REPEAT: usize = 10;

/// Runs every case [`REPEAT`] times, `at_once` of them at a time, and tells all that failed.
pub fn run(cases: &[Case], at_once: usize) {
    show_log_of_failures();
    let mut runs: Vec<Case> = cases.repeat(REPEAT);
    runs.shuffle(&mut random());
    let (count, began) = (runs.len(), Instant::now());
    let waiting = Mutex::new(VecDeque::from(runs));
    let failed = Mutex::new(BTreeMap::<_, usize>::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    // Its own statement: the lock is not held while the case runs.
                    let next = waiting.lock().unwrap().pop_front();
                    let Some((name, case)) = next else { return };
                    // A case is a test: what it asserts is a panic of this thread, and it has a runtime of its own.
                    let run = || {
                        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                        runtime.block_on(async { timeout(CASE_TIMEOUT, case()).await.expect("it hangs") });
                    };
                    if catch_unwind(AssertUnwindSafe(run)).is_err() {
                        eprintln!("{name} failed");
                        *failed.lock().unwrap().entry(name).or_default() += 1;
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "of {count} runs failed: {failed:?}");
    eprintln!("{count} runs in {:?}", began.elapsed());
}
