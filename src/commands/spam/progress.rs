//! How far it is.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    follow::{Follow, Followed},
    load::Load,
    plan::Plan,
    tally::Tally,
};
use crate::progress::Progress;

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// Where time and number decide, it is so many parts of a whole.
const WHOLE: u64 = 1000;

/// How far it is.
struct Look {
    done: u64,
    of: u64,
    says: String,
}

/// Shows it while objects are submitted.
pub async fn submitting(plan: &Plan, tally: &Tally, work: impl Future<Output = Load>) -> Load {
    let look = |passed: Duration| {
        let counts = tally.counts();
        let share = |done: f64, of: f64| ((done / of).min(1.0) * WHOLE as f64) as u64;
        let by_count = plan.count.map_or(0, |count| share(counts.submitted as f64, count as f64));
        let by_time = plan.duration.map_or(0, |time| share(passed.as_secs_f64(), time.as_secs_f64()));
        let bad = counts.refused + counts.given_up;
        let rate = counts.accepted as f64 / passed.as_secs_f64().max(0.001);
        let says = format!("{} accepted, {rate:.0}/s, {} retried, {bad} bad", counts.accepted, counts.retried);
        Look { done: by_count.max(by_time), of: WHOLE, says }
    };
    during("submitting", look, work).await
}

/// Shows it while they are waited for.
pub async fn following(follow: &Follow<'_>, work: impl Future<Output = Followed>) -> Followed {
    let look = |_| {
        let (done, of) = follow.progress();
        Look { done, of, says: format!("{done} of {of} finished") }
    };
    during("waiting", look, work).await
}

async fn during<T>(what: &str, look: impl Fn(Duration) -> Look, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let progress = Progress::of_parts();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let show = async {
        loop {
            looks.tick().await;
            let passed = began.elapsed();
            let Look { done, of, says } = look(passed);
            progress.show_part(done, of, &format!("{what}, {} s: {says}", passed.as_secs()));
        }
    };
    tokio::select! {
        done = work => done,
        () = show => unreachable!("it shows for ever"),
    }
}
