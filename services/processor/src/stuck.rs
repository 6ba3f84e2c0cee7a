//! Threads that execute what was given up. No thread can be stopped from outside, so they are waited for, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Error, anyhow};
use tokio::{sync::Notify, task::JoinHandle};

/// How many may be at it at a time, beside as many as are executed: all of those may be given up at once. Each is a thread
/// with its memory that may use a core; a process that has so many is better begun anew, and its tasks go to others meanwhile.
const MAX_STUCK: usize = 64;

/// The threads that are at it.
#[derive(Debug)]
pub(crate) struct Stuck {
    count: AtomicUsize,
    max: usize,
    too_many: Notify,
}

impl Stuck {
    /// In a process that executes so many tasks at a time.
    pub(crate) fn new(concurrency: u16) -> Self {
        Self { count: AtomicUsize::new(0), max: MAX_STUCK + usize::from(concurrency), too_many: Notify::new() }
    }

    /// Leaves the work to itself.
    pub(crate) fn leave<T: Send + 'static>(self: &Arc<Self>, work: JoinHandle<T>) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("ebs_processor_stuck_threads").set(count as f64);
        if count >= self.max {
            self.too_many.notify_one();
        }
        let stuck = Arc::clone(self);
        tokio::spawn(async move {
            // However it ends: nobody waits for what comes of it.
            let _ = work.await;
            let count = stuck.count.fetch_sub(1, Ordering::Relaxed) - 1;
            metrics::gauge!("ebs_processor_stuck_threads").set(count as f64);
        });
    }

    /// Completes when there are too many, with what to say then.
    pub(crate) async fn too_many(&self) -> Error {
        self.too_many.notified().await;
        anyhow!("{} tasks that took too long are still being executed: a new process has to take over", self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_threads_may_be_stuck_at_a_time() {
        let stuck = Arc::new(Stuck::new(8));
        for _ in 0..MAX_STUCK + 8 {
            let done = tokio::spawn(async {});
            stuck.leave(done);
            while stuck.count.load(Ordering::Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..MAX_STUCK + 8 {
            stuck.leave(tokio::spawn(std::future::pending::<()>()));
        }
        assert!(stuck.too_many().await.to_string().starts_with("72 tasks"));
    }
}
