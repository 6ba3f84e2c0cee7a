//! A batch of events: merged into the record, then told to those who follow it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bus::{
    AnyEvent, BatchError, HandleBatch,
    events::{Event, ObjectCreated, ObjectFinished, TaskCreated, TaskFinished, TaskStarted},
};
use tokio::sync::{Notify, watch};

use crate::{
    deadlines::{Deadlines, Place},
    failures::batch_error,
    health::Health,
    live::{Heard, Live},
    rates::Rates,
    record::{Fact, Figures, Merged, Record},
    waiters::Waiters,
};

/// Reacts to every event.
#[derive(Debug)]
pub struct OnEvents {
    /// What they are merged into.
    pub record: Arc<Record>,
    /// Whom what has changed is told to.
    pub followers: Followers,
    /// Told when objects are due, and what was met.
    pub deadlines: Arc<Deadlines>,
    /// Shows them to whoever looks on.
    pub live: Arc<Live>,
}

/// Those who follow the record.
#[derive(Clone, Debug)]
pub struct Followers {
    /// Told whether writing works.
    pub health: Arc<Health>,
    /// Told which objects have closed.
    pub waiters: Arc<Waiters>,
    /// Told that there is something to publish.
    pub outbox: Arc<Notify>,
    /// Told that figures may have changed.
    pub changed: watch::Sender<()>,
    /// Counts what finishes.
    pub rates: Arc<Rates>,
}

impl HandleBatch<Heard> for OnEvents {
    async fn handle(&self, events: &[Heard]) -> Result<(), BatchError> {
        let began = Instant::now();
        let merged = self.record.merge(events).await;
        let merged = merged.map_err(|error| self.followers.failed(&error))?;
        metrics::histogram!("ebs_statistics_batch_duration_seconds").record(began.elapsed());
        count_events(events);
        self.followers.tell(&self.record, &merged);
        self.live.show(events);
        merged.due_at.into_iter().for_each(|due_at| self.deadlines.heard_of(due_at));
        for fence in events.iter().filter(|event| *event.event() == AnyEvent::Fence) {
            judge(&self.record, &self.followers, &self.deadlines, &fence.envelope().id, Place::Events).await?;
        }
        Ok(())
    }
}

/// Once a fence was met everywhere: closes what was due when it was sent.
pub(crate) async fn judge(
    record: &Record,
    followers: &Followers,
    deadlines: &Deadlines,
    fence: &str,
    place: Place,
) -> Result<(), BatchError> {
    let Some(cutoff) = deadlines.met(fence, place) else {
        return Ok(());
    };
    loop {
        let merged = record.time_out(cutoff).await.map_err(|error| followers.failed(&error))?;
        if merged.closed.is_empty() {
            deadlines.judged(fence);
            return Ok(());
        }
        followers.tell(record, &merged);
    }
}

impl Followers {
    /// Tells that nothing could be written, and why for whoever consumes.
    pub(crate) fn failed(&self, error: &anyhow::Error) -> BatchError {
        let error = batch_error(error);
        if let BatchError::Unavailable(reason) = &error {
            self.health.ill(reason);
        }
        error
    }

    /// Tells what has changed.
    pub(crate) fn tell(&self, record: &Record, merged: &Merged) {
        self.health.well();
        metrics::counter!("ebs_late_events_total").increment(merged.late as u64);
        if merged.announced > 0 {
            self.outbox.notify_one();
        }
        self.waiters.wake(&merged.closed);
        self.changed.send_replace(());
        let (mut objects, mut tasks) = (0, 0);
        for (operation, figures) in &merged.figures {
            objects += figures.objects_finished();
            tasks += figures.tasks_finished();
            // Events can name any operation; a label of each would be the sender's choice.
            let known = record.catalogue().get(operation).is_ok();
            count_outcomes(if known { operation } else { "other" }, figures);
        }
        self.rates.add(objects, tasks);
    }
}

fn count_events(events: &[Heard]) {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for event in events.iter().map(Heard::event).filter(|event| **event != AnyEvent::Fence) {
        *counts.entry(kind(event)).or_default() += 1;
    }
    for (kind, count) in counts {
        metrics::counter!("ebs_statistics_events_total", "type" => kind).increment(count);
    }
}

fn kind(event: &AnyEvent) -> &'static str {
    match event {
        AnyEvent::ObjectCreated(_) => ObjectCreated::TYPE,
        AnyEvent::TaskCreated(_) => TaskCreated::TYPE,
        AnyEvent::TaskStarted(_) => TaskStarted::TYPE,
        AnyEvent::TaskFinished(_) => TaskFinished::TYPE,
        AnyEvent::ObjectFinished(_) => ObjectFinished::TYPE,
        AnyEvent::Fence => "FENCE",
        AnyEvent::Unknown => "unknown",
    }
}

/// Counters only rise: an object that failed and then succeeded has been counted as both.
fn count_outcomes(operation: &str, figures: &Figures) {
    let add = |name: &'static str, outcome: &'static str, count: i64| {
        if let Ok(count @ 1..) = u64::try_from(count) {
            metrics::counter!(name, "operation" => operation.to_owned(), "outcome" => outcome).increment(count);
        }
    };
    add("ebs_objects_total", "created", figures.objects_created);
    add("ebs_objects_total", "succeeded", figures.objects_succeeded);
    add("ebs_objects_total", "failed", figures.objects_failed);
    add("ebs_objects_total", "timed_out", figures.objects_timed_out);
    add("ebs_tasks_total", "succeeded", figures.tasks_succeeded);
    add("ebs_tasks_total", "failed", figures.tasks_failed);
}
