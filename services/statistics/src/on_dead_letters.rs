//! A batch of dead letters: kept, what follows from them merged into the record, and told to those who follow it.

use std::sync::Arc;

use bus::{BatchError, Cause, DeadLetter, HandleBatch, Topology};
use tracing::warn;

use crate::{
    deadlines::{Deadlines, Place},
    on_events::{Followers, judge},
    record::Record,
};

/// Reacts to every dead letter.
#[derive(Debug)]
pub struct OnDeadLetters {
    /// Where they are kept.
    pub record: Arc<Record>,
    /// Whom what has changed is told to.
    pub followers: Followers,
    /// Told what was met.
    pub deadlines: Arc<Deadlines>,
    /// Which queues there are, and so what a dead letter means.
    pub topology: Topology,
}

impl HandleBatch<DeadLetter> for OnDeadLetters {
    async fn handle(&self, letters: &[DeadLetter]) -> Result<(), BatchError> {
        let merged = self.record.merge_dead_letters(letters, &self.topology).await;
        let merged = merged.map_err(|error| self.followers.failed(&error))?;
        self.followers.tell(&self.record, &merged);
        for cause in &merged.dead {
            // What else a foreign client writes there is its choice.
            let known = Cause::ALL.map(Cause::as_str).into_iter().find(|known| known == cause);
            metrics::counter!("ebs_dead_letters_total", "cause" => known.unwrap_or("other")).increment(1);
        }
        if !merged.dead.is_empty() {
            measure(&self.record).await;
        }
        for fence in letters.iter().filter_map(DeadLetter::fence) {
            judge(&self.record, &self.followers, &self.deadlines, fence, Place::DeadLetters).await?;
        }
        Ok(())
    }
}

/// Measures how many wait.
pub(crate) async fn measure(record: &Record) {
    match record.waiting_dead_letters().await {
        Ok(waiting) => {
            let count: i64 = waiting.iter().map(|(_, count)| count).sum();
            metrics::gauge!("ebs_dead_letters").set(count as f64);
        }
        Err(error) => warn!("cannot count the dead letters: {error}"),
    }
}
