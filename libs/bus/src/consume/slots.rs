//! How many events are worked on at a time, and how long that takes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// A new time counts for so much of the average.
const NEWEST: f64 = 1.0 / 16.0;

/// The right to work on so many events at a time, shared by all queues that are given a clone of it.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    count: u16,
    average: Arc<Mutex<Option<Duration>>>,
}

/// The right to work on one event. Drop it as soon as nothing is left to do but to wait, for example until what came of
/// the event is published: then the next one may begin.
#[derive(Debug)]
pub struct Slot {
    began: Instant,
    average: Arc<Mutex<Option<Duration>>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// So many; at least 1.
    pub fn new(count: u16) -> Self {
        let count = count.max(1);
        Self { free: Arc::new(Semaphore::new(usize::from(count))), count, average: Arc::default() }
    }

    /// Waits for a free one. Safe to drop.
    pub async fn take(&self) -> Slot {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Slot {
            began: Instant::now(),
            average: Arc::clone(&self.average),
            // The semaphore is never closed.
            _permit: permit.ok(),
        }
    }

    /// How long so many events take, all slots together, as things have been lately; none before the first one.
    pub(super) fn time_for(&self, events: u16) -> Option<Duration> {
        let average = *self.average.lock().unwrap_or_else(PoisonError::into_inner);
        Some(average?.mul_f64(f64::from(events) / f64::from(self.count)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let mut average = self.average.lock().unwrap_or_else(PoisonError::into_inner);
        *average = Some(match *average {
            Some(average) => average.mul_f64(1.0 - NEWEST) + took.mul_f64(NEWEST),
            None => took,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_for_many_follows_what_the_last_ones_took() {
        let slots = Slots::new(2);
        assert_eq!(slots.time_for(100), None);
        for _ in 0..200 {
            let _slot = slots.take().await;
            advance(Duration::from_millis(10)).await;
        }
        let quick = slots.time_for(100).unwrap();
        assert!((Duration::from_millis(490)..Duration::from_millis(510)).contains(&quick), "{quick:?}");
        for _ in 0..20 {
            let _slot = slots.take().await;
            advance(Duration::from_secs(3)).await;
        }
        assert!(slots.time_for(100).unwrap() > Duration::from_secs(60));
    }
}
