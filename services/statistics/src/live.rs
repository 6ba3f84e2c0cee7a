//! The last events that were merged and committed, for those who look on: what they are shown is in the record.
//!
//! Events are kept as they came, and written for whoever looks on when they are sent. So looking on costs something only
//! while somebody does, and merging does not wait for it.

mod heard;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bus::AnyEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use uuid::Uuid;

pub use self::heard::Heard;
pub(crate) use self::heard::Told;
use crate::record::Fact;

/// How many events are kept for those who come back, and for those who read slowly: some seconds of all there is under full
/// load, hours of it otherwise.
const MAX_EVENTS: usize = 10_000;
/// And how many bytes of them: long events are fewer. Ten thousand of the usual size are less than half of it.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How many look on at a time: each holds a connection, and what is on its way to it. [`crate::waiters`] says what is left.
pub(crate) const MAX_SUBSCRIBERS: usize = 64;
/// What is taken at a time for one of them: so many bytes, or one event, and no more events than this.
const TAKEN_BYTES: usize = 16 * 1024;
const TAKEN_EVENTS: usize = 256;

/// What happens, as it happens.
pub struct Live {
    /// Stands in every id. Numbers begin anew at each start, and those of before mean nothing then.
    epoch: Uuid,
    ring: Mutex<Ring>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Ring {
    /// The newest last.
    events: VecDeque<Arc<Told>>,
    /// Its number; the first event is number 1.
    newest: u64,
    bytes: usize,
}

/// One who looks on.
#[derive(Debug)]
pub(crate) struct Subscription {
    live: Arc<Live>,
    /// The number of the next event for it.
    next: u64,
    gap: Option<Gap>,
    news: watch::Receiver<u64>,
    place: Option<OwnedSemaphorePermit>,
}

/// Why events are missing that one who looks on has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The id is of before a restart.
    Restarted,
    /// The events after the id are not kept any more.
    TooOld,
    /// It has read so slowly that what was for it is not kept any more.
    TooSlow,
    /// The id was never given.
    UnknownId,
}

/// What there is for one who looks on.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Why something is missing before these.
    pub(crate) gap: Option<Gap>,
    /// With their numbers, which rise by one.
    pub(crate) events: Vec<(u64, Arc<Told>)>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            epoch: Uuid::now_v7(),
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
        }
    }
}

impl Live {
    /// Shows events that have been committed.
    pub(crate) fn show(&self, events: &[Heard]) {
        let told = events.iter().filter(|heard| *heard.event() != AnyEvent::Fence).map(Heard::told);
        let mut ring = self.ring();
        let forgotten = ring.extend(told);
        let newest = ring.newest;
        drop(ring);
        // What it takes to free them need not hold up anybody.
        drop(forgotten);
        self.newest.send_replace(newest);
    }

    /// Begins to look on: behind the event of the id `after`, or from now on. None if too many do.
    pub(crate) fn subscribe(self: &Arc<Self>, after: Option<&str>) -> Option<Subscription> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (next, gap) = self.begin(after);
        let news = self.newest.subscribe();
        let subscription = Subscription { live: Arc::clone(self), next, gap, news, place: Some(place) };
        self.measure();
        Some(subscription)
    }

    /// The number of the first event after this id, and what is missing.
    fn begin(&self, after: Option<&str>) -> (u64, Option<Gap>) {
        let ring = self.ring();
        let Some(after) = after else {
            return (ring.newest + 1, None);
        };
        match self.number(after) {
            Ok(number) if number > ring.newest => (ring.oldest(), Some(Gap::UnknownId)),
            Ok(number) if number + 1 < ring.oldest() => (ring.oldest(), Some(Gap::TooOld)),
            Ok(number) => (number + 1, None),
            Err(gap) => (ring.oldest(), Some(gap)),
        }
    }

    fn number(&self, id: &str) -> Result<u64, Gap> {
        let (epoch, number) = id.split_once('.').ok_or(Gap::UnknownId)?;
        let epoch: Uuid = epoch.parse().map_err(|_| Gap::UnknownId)?;
        let number = number.parse().map_err(|_| Gap::UnknownId)?;
        if epoch == self.epoch { Ok(number) } else { Err(Gap::Restarted) }
    }

    fn measure(&self) {
        let count = MAX_SUBSCRIBERS - self.places.available_permits();
        metrics::gauge!("ebs_event_subscribers").set(count as f64);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Adds events; those that are not kept any more.
    fn extend(&mut self, events: impl Iterator<Item = Arc<Told>>) -> Vec<Arc<Told>> {
        for event in events {
            self.bytes += event.bytes();
            self.newest += 1;
            self.events.push_back(event);
        }
        let mut forgotten = Vec::new();
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= event.bytes();
            forgotten.push(event);
        }
        forgotten
    }

    /// The number of the oldest event, or of the one that will be.
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.events.len() as u64
    }
}

impl Subscription {
    /// The next events, as far as there are any.
    pub(crate) fn take(&mut self) -> Taken {
        let ring = self.live.ring();
        let mut gap = self.gap.take();
        if self.next < ring.oldest() {
            gap = gap.or(Some(Gap::TooSlow));
            self.next = ring.oldest();
        }
        let begin = usize::try_from(self.next - ring.oldest()).unwrap_or(usize::MAX);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for event in ring.events.iter().skip(begin).take(TAKEN_EVENTS) {
            if !events.is_empty() && bytes + event.bytes() > TAKEN_BYTES {
                break;
            }
            bytes += event.bytes();
            events.push((self.next, Arc::clone(event)));
            self.next += 1;
        }
        drop(ring);
        if let Some(gap) = gap {
            metrics::counter!("ebs_event_gaps_total", "reason" => gap.word()).increment(1);
        }
        Taken { gap, events }
    }

    /// Waits until there may be more.
    pub(crate) async fn news(&mut self) {
        // The sender lives as long as this does.
        let _ = self.news.changed().await;
    }

    /// The id of an event.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}.{number}", self.live.epoch.simple())
    }

    /// Behind which id it goes on.
    pub(crate) fn position(&self) -> String {
        self.id(self.next - 1)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.place = None;
        self.live.measure();
    }
}

impl Gap {
    /// For programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::TooOld => "too_old",
            Self::TooSlow => "too_slow",
            Self::UnknownId => "unknown_id",
        }
    }

    /// For people.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Restarted => "The id is of before a restart: this begins with the first event since then.",
            Self::TooOld => "More happened since the id than is kept: this begins with the oldest event that is.",
            Self::TooSlow => {
                "You read too slowly, and missed what is not kept any more: this is the oldest event that is."
            }
            Self::UnknownId => "The id is none that was given: this begins with the oldest event that is kept.",
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.ring();
        f.debug_struct("Live").field("newest", &ring.newest).field("bytes", &ring.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn events(count: usize, data_bytes: usize) -> Vec<Heard> {
        (0..count).map(|_| heard::of_bytes(data_bytes)).collect()
    }

    fn all(subscription: &mut Subscription) -> (Vec<u64>, Option<Gap>) {
        let (mut numbers, mut gap) = (Vec::new(), None);
        loop {
            let taken = subscription.take();
            gap = gap.or(taken.gap);
            if taken.events.is_empty() {
                return (numbers, gap);
            }
            numbers.extend(taken.events.iter().map(|(number, _)| *number));
        }
    }

    #[test]
    fn one_who_looks_on_sees_what_happens_from_now_on_and_in_order() {
        let live = Arc::new(Live::default());
        live.show(&events(3, 10));
        let mut subscription = live.subscribe(None).unwrap();
        live.show(&events(1000, 10));
        assert_eq!(all(&mut subscription), ((4..=1003).collect(), None));
        assert_eq!(all(&mut subscription), (vec![], None));
    }

    #[test]
    fn one_who_comes_back_misses_nothing_that_is_kept_and_is_told_otherwise() {
        let live = Arc::new(Live::default());
        let before = live.subscribe(None).unwrap().position();
        live.show(&events(MAX_EVENTS, 10));
        let mut all_of_them = live.subscribe(Some(&before)).unwrap();
        assert_eq!(all(&mut all_of_them), ((1..=MAX_EVENTS as u64).collect(), None));
        let now = all_of_them.position();
        assert_eq!(all(&mut live.subscribe(Some(&now)).unwrap()), (vec![], None));

        live.show(&events(1, 10));
        let (numbers, gap) = all(&mut live.subscribe(Some(&before)).unwrap());
        assert_eq!((numbers[0], numbers.len(), gap), (2, MAX_EVENTS, Some(Gap::TooOld)));
    }

    #[test]
    fn ids_of_before_a_restart_and_ids_that_are_none_are_a_gap_and_all_that_is_kept_follows() {
        let (live, other) = (Arc::new(Live::default()), Arc::new(Live::default()));
        live.show(&events(2, 10));
        let restarted = other.subscribe(None).unwrap().position();
        let future = live.subscribe(None).unwrap().id(3);
        for (id, gap) in [
            (restarted.as_str(), Gap::Restarted),
            (&future, Gap::UnknownId),
            ("7", Gap::UnknownId),
            ("a.b", Gap::UnknownId),
            ("", Gap::UnknownId),
        ] {
            assert_eq!(all(&mut live.subscribe(Some(id)).unwrap()), (vec![1, 2], Some(gap)), "{id}");
        }
    }

    #[test]
    fn one_who_reads_slowly_misses_something_is_told_so_and_goes_on() {
        let live = Arc::new(Live::default());
        let mut subscription = live.subscribe(None).unwrap();
        for _ in 0..3 {
            live.show(&events(MAX_EVENTS / 2, 10));
        }
        let (numbers, gap) = all(&mut subscription);
        assert_eq!((numbers[0], numbers.len(), gap), (MAX_EVENTS as u64 / 2 + 1, MAX_EVENTS, Some(Gap::TooSlow)));
        live.show(&events(1, 10));
        assert_eq!(all(&mut subscription).1, None);
    }

    #[test]
    fn long_events_are_fewer_and_are_taken_one_by_one() {
        let live = Arc::new(Live::default());
        let mut subscription = live.subscribe(None).unwrap();
        for _ in 0..10 {
            live.show(&events(4, 4 << 20));
        }
        let ring = live.ring();
        assert!(ring.bytes <= MAX_BYTES && ring.events.len() == 15, "{} bytes in {}", ring.bytes, ring.events.len());
        assert_eq!(ring.bytes, ring.events.iter().map(|event| event.bytes()).sum::<usize>());
        drop(ring);
        assert_eq!(subscription.take().events.len(), 1);
    }

    #[test]
    fn only_so_many_look_on_and_a_place_is_free_again() {
        let live = Arc::new(Live::default());
        let mut all: Vec<_> = (0..MAX_SUBSCRIBERS).map(|_| live.subscribe(None).unwrap()).collect();
        assert!(live.subscribe(None).is_none());
        all.pop();
        assert!(live.subscribe(None).is_some());
    }
}
