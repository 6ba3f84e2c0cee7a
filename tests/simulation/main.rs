//! The whole flow, simulated: the real services over the real embedded bus, with the real record, in one thread, under a
//! paused clock, and everything goes wrong that may go wrong. Whatever does, the end is that of a run without faults.
//!
//! `EBS_TEST_SEED=n` runs one seed, `EBS_TEST_CASES=n` that many beside those that are kept.
#![allow(clippy::unwrap_used)]

mod clock;
mod follower;
mod foreign;
mod plan;
mod programs;
mod seeds;
mod state;
mod submissions;
mod world;

use std::collections::{BTreeMap, VecDeque};

use bus::embedded::Limits;
use serde_json::{Value, json};
use testkit::{Breach, Crash, Fault, Faults};

use crate::{
    state::State,
    submissions::{End, Submission},
    world::{Case, PlannedCrash, Simulated},
};

/// What the same case comes to without faults. That is what was computed without any of the services.
fn without_faults(case: &Case) -> Simulated {
    let simulated = case.without_faults().simulate().unwrap();
    let mut ends = ends(&simulated.state);
    for submission in &case.submissions {
        let end = submission.end();
        let place = ends.iter().position(|other| *other == end);
        ends.swap_remove(place.unwrap_or_else(|| panic!("no object ends as {submission:?} must: {end:?}")));
    }
    assert!(ends.is_empty(), "{ends:?}");
    assert!(simulated.state.heard.values().all(|announcements| announcements.len() == 1));
    assert_eq!(simulated.injected, BTreeMap::new());
    simulated
}

/// How the objects in the record ended.
fn ends(state: &State) -> Vec<End> {
    let rows = state.record.iter().map(|row| serde_json::from_str::<Vec<Value>>(row).unwrap());
    rows.filter(|row| row[0] == "object")
        .map(|row| match row[6].as_str() {
            Some("succeeded") => End::Succeeded(serde_json::from_str(row[12].as_str().unwrap()).unwrap()),
            status => {
                assert_eq!(status, Some("failed"));
                End::Failed
            }
        })
        .collect()
}

/// Why the case does not come to the same end as without faults, if so.
fn difference(case: &Case, expected: &State) -> Result<Simulated, String> {
    let simulated = case.clone().simulate()?;
    match simulated.state.differs_from(expected) {
        None => Ok(simulated),
        Some(difference) => Err(difference),
    }
}

fn add(all: &mut BTreeMap<Fault, u64>, injected: &BTreeMap<Fault, u64>) {
    injected.iter().for_each(|(fault, count)| *all.entry(*fault).or_default() += count);
}

#[test]
fn whatever_goes_wrong_the_end_is_the_same() {
    let mut injected = BTreeMap::new();
    let mut cases = 0;
    for seed in seeds::seeds() {
        // The last one that is printed is the one that fails.
        eprintln!("{}={seed}", seeds::VARIABLE);
        let mut case = plan::case(seed);
        let expected = without_faults(&case);
        case.crashes = plan::crashes(seed, expected.moments);
        match difference(&case, &expected.state) {
            Ok(simulated) => add(&mut injected, &simulated.injected),
            Err(difference) => panic!("{}={seed}: {difference}\n{case:#?}", seeds::VARIABLE),
        }
        cases += 1;
    }
    eprintln!("{cases} cases; injected: {injected:?}");
    let missing: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !injected.contains_key(fault)).collect();
    assert!(missing.is_empty() || seeds::only_one(), "never injected: {missing:?}");
}

/// A small case, of which every moment can be tried.
fn small_case() -> Case {
    let words = json!({"operation": "word-frequencies", "data": "one two one", "tasks": 2});
    let too_much = json!({"operation": "pow", "parameters": {"exponent": 40}, "data": [9], "tasks": 1});
    Case {
        seed: 1,
        submissions: vec![Submission::new("words".to_owned(), words), Submission::new("too much".to_owned(), too_much)],
        faults: Faults::default(),
        crashes: VecDeque::new(),
        limits: Limits::default(),
        breach: None,
    }
}

/// Crashes at each moment of the small case in turn.
fn crash_at_every_moment(of_everything: bool) {
    let mut case = small_case();
    let expected = without_faults(&case);
    let mut injected = BTreeMap::new();
    for moment in 1..=expected.moments {
        case.crashes = VecDeque::from([PlannedCrash { crash: Crash { moment }, of_everything }]);
        match difference(&case, &expected.state) {
            Ok(simulated) => add(&mut injected, &simulated.injected),
            Err(difference) => panic!("crash at moment {moment}: {difference}"),
        }
    }
    eprintln!("{} moments; injected: {injected:?}", expected.moments);
    let crashes: u64 = injected.values().sum();
    // How many acknowledgements there are depends on what comes together.
    assert!(crashes >= expected.moments * 3 / 4, "{crashes} crashes at {} moments", expected.moments);
}

#[test]
fn a_crash_of_everything_at_any_moment_changes_nothing() {
    crash_at_every_moment(true);
}

#[test]
fn a_crash_of_one_program_at_any_moment_changes_nothing() {
    crash_at_every_moment(false);
}

/// How many of the seeds notice that a promise is broken; with the same faults and the promise kept, none complains.
fn noticed(breach: Breach, faults: Faults) -> usize {
    const TRIES: u64 = 5;
    let notices = |seed: &u64| {
        let mut case = Case { faults, ..plan::case(*seed) };
        let expected = without_faults(&case);
        case.crashes = plan::crashes(*seed, expected.moments);
        difference(&case, &expected.state).unwrap();
        case.breach = Some(breach);
        difference(&case, &expected.state).is_err()
    };
    (0..TRIES).filter(notices).count()
}

#[test]
fn it_is_noticed_when_what_was_dropped_is_confirmed() {
    assert_eq!(noticed(Breach::ConfirmsWhatIsDropped, Faults { drop_before_confirm: 0.3, ..Faults::default() }), 5);
}

#[test]
fn it_is_noticed_when_what_is_delivered_is_acknowledged_at_once() {
    let faults = Faults { end_session: 0.1, ..Faults::default() };
    assert!(noticed(Breach::AcknowledgesWhatIsDelivered, faults) > 0);
}
