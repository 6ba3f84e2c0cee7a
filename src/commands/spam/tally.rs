//! What has come of what was submitted so far.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::latency::{Latencies, Spread};

/// So many objects are followed until they have finished, some 40 MiB of memory; of more, every second one, then every
/// fourth, and so on.
const MAX_FOLLOWED: usize = 1_000_000;
/// Kinds of trouble that are told apart.
const MAX_KINDS: usize = 20;
/// What is kept of somebody else's words, in characters.
const MAX_DETAIL_CHARS: usize = 300;

/// An object that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Its id.
    pub id: Uuid,
    /// When, by the system's clock.
    pub created_at: Timestamp,
    /// When it was to be submitted,
    pub due: Instant,
    /// when it was, the last time,
    pub sent: Instant,
    /// and when it was answered.
    pub answered: Instant,
    /// By the first try, so that the clocks can be compared.
    pub clean: bool,
}

/// Counts. Everybody adds to the same ones.
#[derive(Debug, Default)]
pub struct Tally(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    is_hopeless: bool,
    latencies: Latencies,
    open: Open,
    earliest: Option<Timestamp>,
}

/// What became of what was submitted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Objects, each once, however often they were sent.
    pub submitted: u64,
    /// Answered by a 201.
    pub accepted: u64,
    /// Answered by a no that is for ever.
    pub refused: u64,
    /// Not accepted, as far as is known, when there was no more time for it.
    pub given_up: u64,
    /// Of those, how many may have been accepted all the same.
    pub given_up_unknown: u64,
    /// How often one was sent again.
    pub retried: u64,
    /// What went wrong, try by try.
    pub trouble: BTreeMap<String, Trouble>,
    /// From when they were due to when they were accepted.
    pub accepting: Spread,
}

/// What went wrong in one way.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trouble {
    /// How often.
    pub count: u64,
    /// In the system's words, the first time.
    pub example: String,
}

/// What is left when all is submitted.
#[derive(Debug)]
pub struct Taken {
    /// What is to be followed.
    pub open: Open,
    /// None of them is older, by the system's clock.
    pub earliest: Option<Timestamp>,
}

impl Tally {
    /// One is being submitted.
    pub fn submitted(&self) {
        self.lock().counts.submitted += 1;
    }

    /// It is accepted.
    pub fn accepted(&self, accepted: Accepted) {
        let mut state = self.lock();
        state.counts.accepted += 1;
        state.latencies.record(accepted.answered - accepted.due);
        let earliest = state.earliest.map_or(accepted.created_at, |earliest| earliest.min(accepted.created_at));
        state.earliest = Some(earliest);
        state.open.insert(&accepted);
    }

    /// It is refused; if `for_all`, so will be every other.
    pub fn refused(&self, kind: String, detail: String, for_all: bool) {
        let mut state = self.lock();
        state.counts.refused += 1;
        state.is_hopeless |= for_all;
        state.counts.note(kind, &detail);
    }

    /// It is given up.
    pub fn gave_up(&self, may_be_accepted: bool) {
        let mut state = self.lock();
        state.counts.given_up += 1;
        state.counts.given_up_unknown += u64::from(may_be_accepted);
    }

    /// It is sent again.
    pub fn retried(&self) {
        self.lock().counts.retried += 1;
    }

    /// A try came to nothing.
    pub fn trouble(&self, kind: String, detail: String) {
        self.lock().counts.note(kind, &detail);
    }

    /// Whether all is refused: that was said, or has shown so many times.
    pub fn is_hopeless(&self, refusals: u64) -> bool {
        let state = self.lock();
        state.counts.accepted == 0 && (state.is_hopeless || state.counts.refused >= refusals)
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let state = self.lock();
        Counts { accepting: state.latencies.spread(), ..state.counts.clone() }
    }

    /// Those that are to be followed, once.
    pub fn take_accepted(&self) -> Taken {
        let mut state = self.lock();
        // Who was sent twice may be older than its last answer says, by no more than it was tried for.
        let slack = jiff::SignedDuration::from_secs(if state.counts.retried > 0 { 60 } else { 0 });
        let earliest = state.earliest.map(|earliest| earliest.checked_sub(slack).unwrap_or(Timestamp::MIN));
        Taken { open: std::mem::take(&mut state.open), earliest }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn note(&mut self, kind: String, detail: &str) {
        let kind =
            if self.trouble.len() < MAX_KINDS || self.trouble.contains_key(&kind) { kind } else { "other".into() };
        let trouble = self.trouble.entry(kind).or_default();
        trouble.count += 1;
        if trouble.example.is_empty() {
            trouble.example = detail.chars().take(MAX_DETAIL_CHARS).collect();
        }
    }
}

/// Objects that are to be followed: when each was due, by this clock in microseconds since 1970.
#[derive(Debug)]
pub struct Open {
    pub(super) objects: HashMap<Uuid, i64>,
    /// Of ids that end with so many zeros alone: a fair choice, since they are hashes.
    zeros: u32,
    /// The same moment on both of this machine's clocks.
    at: (Instant, i64),
    /// What the system's clock can be ahead of this one, in microseconds, at least and at most.
    ahead_us: (i64, i64),
}

impl Default for Open {
    fn default() -> Self {
        let at = (Instant::now(), Timestamp::now().as_microsecond());
        Self { objects: HashMap::new(), zeros: 0, at, ahead_us: (i64::MIN, i64::MAX) }
    }
}

impl Open {
    fn insert(&mut self, accepted: &Accepted) {
        if accepted.clean {
            let created_us = accepted.created_at.as_microsecond();
            let (least, most) = self.ahead_us;
            let (sent_us, answered_us) = (self.microseconds(accepted.sent), self.microseconds(accepted.answered));
            self.ahead_us = (least.max(created_us - answered_us), most.min(created_us - sent_us));
        }
        if !self.is_chosen(accepted.id) {
            return;
        }
        self.objects.insert(accepted.id, self.microseconds(accepted.due));
        if self.objects.len() > MAX_FOLLOWED {
            self.zeros += 1;
            let zeros = self.zeros;
            self.objects.retain(|id, _| ends_with_zeros(*id, zeros));
        }
    }

    fn is_chosen(&self, id: Uuid) -> bool {
        ends_with_zeros(id, self.zeros)
    }

    fn microseconds(&self, instant: Instant) -> i64 {
        let (then, then_us) = self.at;
        let microseconds = |span: std::time::Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(then) {
            Some(after) => then_us.saturating_add(microseconds(after)),
            None => then_us.saturating_sub(microseconds(then - instant)),
        }
    }

    /// One of so many is followed.
    pub fn one_of(&self) -> u64 {
        1 << self.zeros
    }

    /// How far the system's clock is ahead of this one, in microseconds. Each object's answer says that it was accepted
    /// between when it was sent and when it was answered; 0 if that can be.
    pub fn ahead_us(&self) -> i64 {
        match self.ahead_us {
            (least, most) if least <= 0 && most >= 0 => 0,
            // Several doors, or a clock that was set meanwhile: there is no one answer.
            (least, most) if least > most => 0,
            (least, most) => least + (most - least) / 2,
        }
    }
}

fn ends_with_zeros(id: Uuid, zeros: u32) -> bool {
    id.as_u128().trailing_zeros() >= zeros
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn accepted(open: &Open, id: u128, ahead_us: i64) -> Accepted {
        let sent = open.at.0 + Duration::from_millis(10);
        let created_us = open.at.1 + 11_000 + ahead_us;
        let created_at = Timestamp::from_microsecond(created_us).unwrap();
        let answered = sent + Duration::from_millis(3);
        Accepted { id: Uuid::from_u128(id), created_at, due: open.at.0, sent, answered, clean: true }
    }

    #[test]
    fn the_clocks_are_compared_by_what_answers_say() {
        for (ahead_us, told) in [(0, 0), (1_500, 0), (1_000_000, 999_500), (-60_000_000, -60_000_500)] {
            let mut open = Open::default();
            open.insert(&accepted(&open, 1, ahead_us));
            assert_eq!(open.ahead_us(), told, "{ahead_us}");
        }
        let mut open = Open::default();
        open.insert(&accepted(&open, 1, 1_000_000));
        open.insert(&accepted(&open, 2, -1_000_000));
        assert_eq!(open.ahead_us(), 0, "two doors with different clocks");
    }

    #[test]
    fn of_too_many_every_second_one_is_followed() {
        let mut open = Open::default();
        (0..=MAX_FOLLOWED as u128).for_each(|id| open.insert(&accepted(&open, id, 0)));
        assert_eq!((open.one_of(), open.objects.len()), (2, MAX_FOLLOWED / 2 + 1));
        open.insert(&accepted(&open, 1, 0));
        assert_eq!(open.objects.len(), MAX_FOLLOWED / 2 + 1);
    }

    #[test]
    fn kinds_of_trouble_are_few_and_each_has_an_example() {
        let tally = Tally::default();
        for number in 0..100 {
            tally.trouble(format!("kind {number}"), "x".repeat(1000));
        }
        let counts = tally.counts();
        assert_eq!((counts.trouble.len(), counts.trouble["other"].count), (MAX_KINDS + 1, 80));
        assert_eq!(counts.trouble["kind 0"].example.len(), MAX_DETAIL_CHARS);
    }

    #[test]
    fn it_is_hopeless_when_all_is_refused() {
        let tally = Tally::default();
        tally.refused("422".to_owned(), String::new(), false);
        assert!(!tally.is_hopeless(2));
        tally.refused("422".to_owned(), String::new(), false);
        assert!(tally.is_hopeless(2));
        tally.accepted(accepted(&Open::default(), 1, 0));
        assert!(!tally.is_hopeless(2), "some are accepted");
        let tally = Tally::default();
        tally.refused("401".to_owned(), String::new(), true);
        assert!(tally.is_hopeless(2));
    }
}
