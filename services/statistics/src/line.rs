//! The line for people: the headline figures, when they have changed, at most once a second.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::record::{Record, read::Summary};

/// No more often than this.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints the line until `shutdown`, and then once more.
pub(crate) async fn print(record: Arc<Record>, mut changed: watch::Receiver<()>, shutdown: CancellationToken) {
    let mut last = String::new();
    while let Some(Ok(())) = shutdown.run_until_cancelled(changed.changed()).await {
        print_if_new(&record, &mut last).await;
        shutdown.run_until_cancelled(sleep(PAUSE)).await;
    }
    print_if_new(&record, &mut last).await;
}

async fn print_if_new(record: &Record, last: &mut String) {
    match record.summary().await {
        Ok(summary) => {
            let line = Line(&summary).to_string();
            if line != *last {
                info!("{line}");
                *last = line;
            }
        }
        Err(error) => warn!("cannot read the figures: {error}"),
    }
}

struct Line<'a>(&'a Summary);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { figures, tasks, dead_letters, .. } = self.0;
        write!(
            f,
            "objects: {} created, {} finished, {} failed",
            figures.objects_created,
            figures.objects_succeeded,
            figures.objects_failed + figures.objects_timed_out,
        )?;
        write!(
            f,
            " | tasks: {} distributed, {} in progress, {} processed, {} failed",
            figures.tasks_distributed, figures.tasks_in_progress, figures.tasks_succeeded, figures.tasks_failed,
        )?;
        if *dead_letters > 0 {
            write!(f, " | dead letters: {dead_letters}")?;
        }
        if let (Some(mean), Some(p95)) = (tasks.mean, tasks.p95) {
            write!(f, " | task mean {mean:.1} ms, p95 {p95:.1} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Figures, read::Spread};

    #[test]
    fn the_line_reads_like_a_sentence() {
        let figures = Figures {
            objects_created: 10,
            objects_succeeded: 8,
            tasks_distributed: 30,
            tasks_in_progress: 2,
            tasks_succeeded: 28,
            ..Figures::default()
        };
        let mut summary = Summary { figures, ..Summary::default() };
        let line = "objects: 10 created, 8 finished, 0 failed | tasks: 30 distributed, 2 in progress, 28 processed, \
                    0 failed";
        assert_eq!(Line(&summary).to_string(), line);
        summary.tasks = Spread { mean: Some(12.34), p95: Some(40.06), ..Spread::default() };
        assert_eq!(Line(&summary).to_string(), format!("{line} | task mean 12.3 ms, p95 40.1 ms"));
        summary.dead_letters = 2;
        assert_eq!(Line(&summary).to_string(), format!("{line} | dead letters: 2 | task mean 12.3 ms, p95 40.1 ms"));
    }
}
