//! Submitting, several at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{pace::Pace, plan::Plan, submit::Submitter};

/// How long what is being submitted may take to be answered after Ctrl-C.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What came of it, beside what was counted meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How long it took.
    pub took: Duration,
    /// How many should have been submitted, if that was known beforehand.
    pub due: Option<u64>,
    /// It was told to stop.
    pub interrupted: bool,
    /// It gave up by itself, because everything was refused.
    pub hopeless: bool,
}

/// Submits all that is planned, or what there is time for until it is told to stop.
pub async fn run(plan: &Plan, submitter: &Arc<Submitter>, stop: &CancellationToken) -> Load {
    let hopeless = stop.child_token();
    let pace = Arc::new(Pace::new(plan.count, plan.duration, plan.rate));
    let mut workers = JoinSet::new();
    for _ in 0..plan.concurrency {
        workers.spawn(work(pace.clone(), submitter.clone(), stop.clone(), hopeless.clone()));
    }
    while workers.join_next().await.is_some() {}
    Load {
        took: pace.began().elapsed(),
        due: pace.due(),
        interrupted: stop.is_cancelled(),
        hopeless: hopeless.is_cancelled() && !stop.is_cancelled(),
    }
}

/// One after another.
async fn work(pace: Arc<Pace>, submitter: Arc<Submitter>, stop: CancellationToken, hopeless: CancellationToken) {
    while let Some(turn) = pace.next(&hopeless).await {
        let too_late = async {
            stop.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = submitter.submit(turn, &hopeless) => {}
            () = too_late => submitter.interrupted(),
        }
        if submitter.is_hopeless() {
            hopeless.cancel();
        }
    }
}

/// What is left until then.
pub fn until(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}
