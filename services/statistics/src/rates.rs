//! How much finished in the last seconds, as seen from here: forgotten at a restart.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Seconds that are remembered: a minute, and the one that is not over.
const SECONDS: usize = 61;

/// Counts of the last minute, by second.
#[derive(Debug)]
pub struct Rates {
    since: Instant,
    slots: Mutex<[Slot; SECONDS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    second: u64,
    objects: i64,
    tasks: i64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { since: Instant::now(), slots: Mutex::new([Slot::default(); SECONDS]) }
    }
}

impl Rates {
    /// So many objects and tasks have finished now.
    pub fn add(&self, objects: i64, tasks: i64) {
        let second = self.since.elapsed().as_secs();
        let slot = &mut self.slots()[second as usize % SECONDS];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot.objects += objects;
        slot.tasks += tasks;
    }

    /// Objects and tasks a second over the last `seconds` whole ones, at most a minute.
    pub fn over(&self, seconds: u64) -> (f64, f64) {
        let now = self.since.elapsed().as_secs();
        let recent = |slot: &&Slot| slot.second < now && slot.second + seconds >= now;
        let slots = self.slots();
        let objects: i64 = slots.iter().filter(recent).map(|slot| slot.objects).sum();
        let tasks: i64 = slots.iter().filter(recent).map(|slot| slot.tasks).sum();
        (objects as f64 / seconds as f64, tasks as f64 / seconds as f64)
    }

    fn slots(&self) -> MutexGuard<'_, [Slot; SECONDS]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_span_does_not_count() {
        let rates = Rates::default();
        rates.add(10, 30);
        assert_eq!(rates.over(10), (0.0, 0.0), "this second is not over");
        advance(Duration::from_secs(1)).await;
        assert_eq!(rates.over(10), (1.0, 3.0));
        advance(Duration::from_secs(10)).await;
        rates.add(60, 60);
        advance(Duration::from_secs(1)).await;
        assert_eq!(rates.over(10), (6.0, 6.0));
        assert_eq!(rates.over(60), (70.0 / 60.0, 90.0 / 60.0));
        advance(Duration::from_secs(3600)).await;
        assert_eq!(rates.over(60), (0.0, 0.0));
    }
}
