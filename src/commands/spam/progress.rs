//! How far it is: a bar on a terminal, a line now and then elsewhere; on standard error, so that the report stands alone.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    follow::{Follow, Followed},
    load::Load,
    plan::Plan,
    tally::Tally,
};

/// How often the bar moves,
const BAR: Duration = Duration::from_millis(100);
/// and how often a line is printed where there is none.
const LINE: Duration = Duration::from_secs(5);

/// Shows how far it is.
pub struct Progress {
    is_terminal: bool,
}

/// How far it is.
struct Look {
    done: u64,
    of: u64,
    says: String,
}

impl Progress {
    /// On standard error, whatever that is.
    pub fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }

    /// While objects are submitted.
    pub async fn submitting(&self, plan: &Plan, tally: &Tally, work: impl Future<Output = Load>) -> Load {
        let began = Instant::now();
        let look = || {
            let counts = tally.counts();
            let passed = began.elapsed();
            let share = |done: f64, of: f64| ((done / of).min(1.0) * 1000.0) as u64;
            let by_count = plan.count.map_or(0, |count| share(counts.submitted as f64, count as f64));
            let by_time = plan.duration.map_or(0, |time| share(passed.as_secs_f64(), time.as_secs_f64()));
            let bad = counts.refused + counts.given_up;
            let rate = counts.accepted as f64 / passed.as_secs_f64().max(0.001);
            let says = format!("{} accepted, {rate:.0}/s, {} retried, {bad} bad", counts.accepted, counts.retried);
            Look { done: by_count.max(by_time), of: 1000, says }
        };
        self.during("submitting", look, work).await
    }

    /// While they are waited for.
    pub async fn following(&self, follow: &Follow<'_>, work: impl Future<Output = Followed>) -> Followed {
        let look = || {
            let (done, of) = follow.progress();
            Look { done, of, says: format!("{done} of {of} finished") }
        };
        self.during("waiting", look, work).await
    }

    async fn during<T>(&self, what: &'static str, look: impl Fn() -> Look, work: impl Future<Output = T>) -> T {
        let bar = self.is_terminal.then(|| bar(what));
        let began = Instant::now();
        let mut ticks = interval(if self.is_terminal { BAR } else { LINE });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let show = async {
            // The first one comes at once, and has nothing to say.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let Look { done, of, says } = look();
                match &bar {
                    Some(bar) => {
                        bar.set_length(of);
                        bar.set_position(done);
                        bar.set_message(says);
                    }
                    None => eprintln!("{what}, {:.0} s: {says}", began.elapsed().as_secs_f64()),
                }
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = show => unreachable!("it shows for ever"),
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        done
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {elapsed} {bar:20} {msg}");
    let bar = ProgressBar::new(1).with_prefix(what);
    // It is a literal; were it wrong, the bar would only look otherwise.
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}
