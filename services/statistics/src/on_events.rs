//! A batch of events: merged into the record, then told to those who follow it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bus::{
    AnyEvent, HandleBatch, Received,
    events::{Event, ObjectCreated, ObjectFinished, TaskCreated, TaskFinished, TaskStarted},
};
use tokio::sync::{Notify, watch};

use crate::{
    health::Health,
    rates::Rates,
    record::{Figures, Merged, Record},
    waiters::Waiters,
};

/// Reacts to every event.
#[derive(Debug)]
pub struct OnEvents {
    /// What they are merged into.
    pub record: Arc<Record>,
    /// Whether that works.
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

impl HandleBatch for OnEvents {
    async fn handle(&self, events: &[Received<AnyEvent>]) -> Result<(), String> {
        let began = Instant::now();
        let merged = self.record.merge(events).await.map_err(|error| {
            let reason = format!("cannot write the record: {error:#}");
            self.health.ill(&reason);
            reason
        })?;
        self.health.well();
        metrics::histogram!("ebs_statistics_batch_duration_seconds").record(began.elapsed());
        count_events(events);
        self.tell(&merged);
        Ok(())
    }
}

impl OnEvents {
    fn tell(&self, merged: &Merged) {
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
            let known = self.record.catalogue().get(operation).is_ok();
            count_outcomes(if known { operation } else { "other" }, figures);
        }
        self.rates.add(objects, tasks);
    }
}

fn count_events(events: &[Received<AnyEvent>]) {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for event in events {
        *counts.entry(kind(&event.event)).or_default() += 1;
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
