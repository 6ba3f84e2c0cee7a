//! When each object is to be submitted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How late an object may be submitted after the whole time is over: those that were due at its end.
const LATENESS: Duration = Duration::from_secs(1);
/// The last piece of a wait is slept by a thread: the runtime's timers are as coarse as a millisecond, which would be a good
/// part of what is measured.
const FINE: Duration = Duration::from_millis(2);

/// Hands out numbers, each when it is time for it.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    next: AtomicU64,
    count: Option<u64>,
    duration: Option<Duration>,
    rate: Option<f64>,
}

/// One object's turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Its number, from 0 on.
    pub number: u64,
    /// When it was to be submitted.
    pub due: Instant,
}

impl Pace {
    /// From now on: so many, for so long, so many a second. Without a rate, each as soon as somebody asks.
    pub fn new(count: Option<u64>, duration: Option<Duration>, rate: Option<f64>) -> Self {
        Self { began: Instant::now(), next: AtomicU64::new(0), count, duration, rate }
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The next one, when it is due; none if that was all. Who asks late is given what is overdue.
    pub async fn next(&self, stop: &CancellationToken) -> Option<Turn> {
        if stop.is_cancelled() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.count.is_some_and(|count| number >= count) {
            return None;
        }
        let after = self.rate.map(|rate| due_after(number, rate));
        let (passed, allowed) = match after {
            None => (self.began.elapsed(), self.duration),
            Some(after) if self.duration.is_some_and(|duration| after >= duration) => return None,
            Some(_) => (self.began.elapsed(), self.duration.map(|duration| duration + LATENESS)),
        };
        if allowed.is_some_and(|allowed| passed >= allowed) {
            return None;
        }
        let due = after.map_or_else(Instant::now, |after| self.began + after);
        wait_until(due, stop).await.then_some(Turn { number, due })
    }

    /// How many should have been submitted when all is over; none if that is not known beforehand.
    pub fn due(&self) -> Option<u64> {
        match (self.count, self.duration, self.rate) {
            (count, Some(duration), Some(rate)) => {
                let due = due_within(duration, rate);
                Some(count.map_or(due, |count| count.min(due)))
            }
            (count, None, _) => count,
            (_, Some(_), None) => None,
        }
    }
}

fn due_after(number: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX)
}

/// How many are due before that time is over: exactly, whatever fractions do.
fn due_within(duration: Duration, rate: f64) -> u64 {
    let mut due = (duration.as_secs_f64() * rate) as u64;
    while due > 0 && due_after(due - 1, rate) >= duration {
        due -= 1;
    }
    while due_after(due, rate) < duration {
        due += 1;
    }
    due
}

/// False if it was told to stop before.
async fn wait_until(due: Instant, stop: &CancellationToken) -> bool {
    if let Some(coarse) = due.checked_sub(FINE).filter(|coarse| *coarse > Instant::now()) {
        tokio::select! {
            () = sleep_until(coarse) => {}
            () = stop.cancelled() => return false,
        }
    }
    let rest = due.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        // It can only fail by a panic, which sleeping has none of.
        let _ = spawn_blocking(move || std::thread::sleep(rest)).await;
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn how_many_are_due_is_exact() {
        let within = |seconds: f64, rate| due_within(Duration::from_secs_f64(seconds), rate);
        for (seconds, rate, due) in
            [(60.0, 50.0, 3000), (60.0, 0.1, 6), (1.0, 3.0, 3), (0.5, 1.0, 1), (1.001, 1.0, 2), (10.0, 0.3, 3)]
        {
            assert_eq!(within(seconds, rate), due, "{seconds} s at {rate}");
        }
    }

    #[tokio::test]
    async fn objects_are_due_at_fixed_times_whoever_is_late() {
        let pace = Pace::new(Some(4), None, Some(100.0));
        let stop = CancellationToken::new();
        let mut turns = Vec::new();
        while let Some(turn) = pace.next(&stop).await {
            assert!(Instant::now() >= turn.due);
            turns.push(turn.due - pace.began());
            if turns.len() == 1 {
                // What is overdue by then comes at once, with the times at which it was due.
                std::thread::sleep(Duration::from_millis(25));
            }
        }
        assert_eq!(turns, [0, 10, 20, 30].map(Duration::from_millis));
    }

    #[tokio::test]
    async fn it_ends_when_it_is_told_to_or_the_time_is_over() {
        let stop = CancellationToken::new();
        let pace = Pace::new(None, Some(Duration::from_millis(30)), None);
        let mut turns = 0;
        while pace.next(&stop).await.is_some() {
            turns += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!((1..=4).contains(&turns), "{turns}");
        let pace = Pace::new(None, None, Some(0.001));
        assert!(pace.next(&stop).await.is_some());
        let (next, ()) = tokio::join!(pace.next(&stop), async { stop.cancel() });
        assert!(next.is_none());
    }
}
