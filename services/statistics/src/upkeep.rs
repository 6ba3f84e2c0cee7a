//! What the record needs from time to time: what is too old is pruned, and a write-ahead log that has become long is
//! emptied, also when nothing is merged that would do it.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    on_dead_letters::measure,
    record::{Pruned, Record},
};

/// How often it is looked for what is due: a hundred times in the time that things are kept, within these bounds.
const LOOKS: u32 = 100;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is looked how long the write-ahead log is.
const WAL_PAUSE: Duration = Duration::from_secs(5);

/// What can be looked after.
pub trait Keep: Send + Sync + 'static {
    /// Prunes a portion of what was closed `retention` ago or earlier.
    fn prune(&self, retention: Duration) -> impl Future<Output = anyhow::Result<Pruned>> + Send;

    /// Empties the write-ahead log if it is long.
    fn keep_wal_short(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl Keep for Record {
    async fn prune(&self, retention: Duration) -> anyhow::Result<Pruned> {
        let retention_us = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let pruned = self.prune(bus::now().as_microsecond(), retention_us).await?;
        if !pruned.more {
            // Some that waited may be among what went.
            measure(self).await;
        }
        Ok(pruned)
    }

    async fn keep_wal_short(&self) -> anyhow::Result<()> {
        self.keep_wal_short().await?;
        Ok(())
    }
}

/// The task that does it.
#[derive(Debug)]
pub struct Upkeep<K> {
    /// What is looked after.
    pub record: Arc<K>,
    /// How long what has finished is kept.
    pub retention: Duration,
}

impl<K: Keep> Upkeep<K> {
    /// Looks after the record until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(async { tokio::join!(self.prune(), self.keep_wal_short()) }).await;
    }

    async fn prune(&self) {
        let pause = (self.retention / LOOKS).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        loop {
            let began = Instant::now();
            match self.record.prune(self.retention).await {
                Ok(pruned) => {
                    count(pruned);
                    if pruned.more {
                        // Merging has the file for as long as this had it.
                        sleep(began.elapsed()).await;
                        continue;
                    }
                }
                Err(error) => warn!(retry_in = ?pause, "nothing can be pruned: {error:#}"),
            }
            sleep(pause).await;
        }
    }

    async fn keep_wal_short(&self) {
        loop {
            if let Err(error) = self.record.keep_wal_short().await {
                // Whoever wants to write says so, and is heard: readiness says why nothing is merged.
                debug!("{error:#}");
            }
            sleep(WAL_PAUSE).await;
        }
    }
}

fn count(pruned: Pruned) {
    metrics::counter!("ebs_pruned_objects_total").increment(pruned.objects);
    metrics::counter!("ebs_pruned_orphans_total").increment(pruned.orphans);
    metrics::counter!("ebs_forgotten_objects_total").increment(pruned.tombstones);
    if pruned.unclaimed > 0 {
        warn!(dead_letters = pruned.unclaimed, "deleted, as RETENTION says: nobody replayed or discarded them");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use anyhow::bail;
    use tokio::time::advance;

    use super::*;

    /// Notes when it is asked to do what, and answers as it is told to.
    #[derive(Default)]
    struct Notes {
        portions: Mutex<Vec<anyhow::Result<Pruned>>>,
        pruned_at: Mutex<Vec<Instant>>,
        wal_at: Mutex<Vec<Instant>>,
    }

    impl Keep for Notes {
        async fn prune(&self, _retention: Duration) -> anyhow::Result<Pruned> {
            self.pruned_at.lock().unwrap().push(Instant::now());
            let portion = self.portions.lock().unwrap().pop();
            // A portion takes its time.
            sleep(Duration::from_millis(40)).await;
            portion.unwrap_or(Ok(Pruned::default()))
        }

        async fn keep_wal_short(&self) -> anyhow::Result<()> {
            self.wal_at.lock().unwrap().push(Instant::now());
            bail!("somebody reads from it");
        }
    }

    /// How it goes in the first `minutes`: after how many milliseconds it pruned, and how often it looked at the log.
    async fn first_minutes(
        minutes: u32,
        retention: Duration,
        portions: Vec<anyhow::Result<Pruned>>,
    ) -> (Vec<u128>, usize) {
        let record = Arc::new(Notes { portions: Mutex::new(portions), ..Notes::default() });
        let (shutdown, began) = (CancellationToken::new(), Instant::now());
        let running = tokio::spawn(Upkeep { record: Arc::clone(&record), retention }.run(shutdown.clone()));
        sleep(Duration::from_secs(60) * minutes - Duration::from_millis(1)).await;
        shutdown.cancel();
        running.await.unwrap();
        let pruned = record.pruned_at.lock().unwrap().iter().map(|at| (*at - began).as_millis()).collect();
        let looks = record.wal_at.lock().unwrap().len();
        (pruned, looks)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_looked_for_at_the_start_and_then_in_pauses_that_suit_the_retention() {
        let days = Duration::from_secs(7 * 24 * 60 * 60);
        assert_eq!(first_minutes(3, days, Vec::new()).await, (vec![0, 60_040, 120_080], 36));
        let (pruned, _) = first_minutes(1, Duration::from_secs(2000), Vec::new()).await;
        assert_eq!(pruned, [0, 20_040, 40_080]);
        let (pruned, _) = first_minutes(1, Duration::from_secs(1), Vec::new()).await;
        assert_eq!(pruned.len(), 58, "not more than once a second");
    }

    #[tokio::test(start_paused = true)]
    async fn as_long_as_more_is_due_it_goes_on_and_leaves_half_of_the_time_to_others() {
        let more = || Ok(Pruned { more: true, ..Pruned::default() });
        let (pruned, _) = first_minutes(1, Duration::from_secs(6000), vec![more(), more()]).await;
        assert_eq!(pruned, [0, 80, 160]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_after_the_pause() {
        let failed = Err(anyhow::anyhow!("the disk is full"));
        let (pruned, _) = first_minutes(1, Duration::from_secs(2000), vec![failed]).await;
        assert_eq!(pruned, [0, 20_040, 40_080]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_once_when_it_is_told_to() {
        let (shutdown, record) = (CancellationToken::new(), Arc::new(Notes::default()));
        let running = tokio::spawn(Upkeep { record, retention: LONGEST_PAUSE }.run(shutdown.clone()));
        advance(Duration::from_millis(10)).await;
        let told = Instant::now();
        shutdown.cancel();
        running.await.unwrap();
        assert_eq!(told.elapsed(), Duration::ZERO);
    }
}
