//! The end of a simulation, as far as it must not depend on what went wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bus::{Bus, Queue, RETRY_DELAYS, Settings, Source, Transport};
use operations::Catalogue;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tokio::time::timeout;

use crate::{
    follower::{Follower, Heard},
    programs::EXCHANGE,
};

/// Whatever is there comes sooner.
const SILENCE: Duration = Duration::from_secs(1);
const PREFETCH: u16 = 1000;

/// What is left when everything is quiet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Rows as JSON.
    pub record: BTreeSet<String>,
    /// What was announced of each object.
    pub heard: Heard,
    /// The ids of the messages in each queue that is not empty.
    pub waiting: BTreeMap<String, BTreeSet<String>>,
}

/// Left out is what may differ, for a reason: times and spans of them, of course; processors and attempts, because several
/// may have executed a task, and which of these counts is decided by when it ended. Revisions stand here: an operation gives
/// the same outcome each time, so no object ever ends twice in different ways. What counts by processor must still add up.
const ROWS: &str = "
    SELECT json_array('object', id, name, operation, tasks, deadline, status, parts, revision, error, parameters, data,
                      result, finished_at IS NOT NULL, duration IS NOT NULL) FROM objects
    UNION ALL
    SELECT json_array('task', object_id, parts, part, operation, created_at IS NOT NULL, started_at IS NOT NULL,
                      outcome, finish_round, finished_at IS NOT NULL, duration IS NOT NULL, error) FROM tasks
    UNION ALL SELECT json_array('partial', object_id, parts, part, result) FROM partials
    UNION ALL SELECT json_array('total', operation, name, count) FROM totals
    UNION ALL
    SELECT json_array('figures', operation, objects_created, objects_succeeded, objects_failed, objects_timed_out,
                      tasks_distributed, tasks_in_progress, tasks_succeeded, tasks_failed) FROM figures
    UNION ALL
    SELECT json_array('by processor', sum(tasks_in_progress), sum(tasks_succeeded), sum(tasks_failed))
    FROM processor_figures
    UNION ALL SELECT json_array('durations', kind, operation, sum(count)) FROM durations GROUP BY kind, operation
    UNION ALL SELECT json_array('unknown', type) FROM unknown_events
    UNION ALL
    SELECT json_array('dead letter', id, queue, message_id, round, state, cause, reason, operation, object_id, parts, part,
                      hex(body)) FROM dead_letters
    UNION ALL SELECT json_array('split failure', object_id, round, error, replayed) FROM split_failures
    UNION ALL SELECT json_array('to be announced', id, event) FROM outbox";

/// Operations whose figures are not what counting the objects gives.
const WRONG_FIGURES: &str = "
    SELECT operation FROM figures
    WHERE (objects_created, objects_succeeded, objects_failed, objects_timed_out) IS NOT (
        SELECT count(*), total(status = 'succeeded'), total(status = 'failed'), total(status = 'timed_out')
        FROM objects WHERE objects.operation = figures.operation)";

impl State {
    /// Reads it, after all programs have stopped.
    pub async fn read(database: &Path, transport: Arc<dyn Transport>, heard: Heard) -> Self {
        let mut connection = SqliteConnectOptions::new().filename(database).read_only(true).connect().await.unwrap();
        let wrong: Vec<String> = sqlx::query_scalar(WRONG_FIGURES).fetch_all(&mut connection).await.unwrap();
        assert!(wrong.is_empty(), "the figures are not exact: {wrong:?}");
        let record: Vec<String> = sqlx::query_scalar(ROWS).fetch_all(&mut connection).await.unwrap();
        Self { record: record.into_iter().collect(), heard, waiting: waiting(transport).await }
    }

    /// Where another one differs, for people.
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| -> String {
            these.difference(those).map(|row| format!("\n      {row}")).collect()
        };
        let heard = |heard: &Heard| heard.values().flatten().cloned().collect::<BTreeSet<_>>();
        Some(format!(
            "\n  record, only here:{}\n  only there:{}\n  announced, only here:{}\n  only there:{}\n  in queues here: {:?}\n  there: {:?}",
            only(&self.record, &other.record),
            only(&other.record, &self.record),
            only(&heard(&self.heard), &heard(&other.heard)),
            only(&heard(&other.heard), &heard(&self.heard)),
            self.waiting,
            other.waiting,
        ))
    }
}

/// What lies in any of the queues, the retry queues and the dead letters included.
async fn waiting(transport: Arc<dyn Transport>) -> BTreeMap<String, BTreeSet<String>> {
    let settings = Settings { exchange: EXCHANGE.to_owned(), app: "state".to_owned(), max_event_bytes: 1 << 20 };
    let bus = Bus::over(transport.clone(), settings);
    let topology = bus.topology();
    let mut queues: Vec<Queue> = vec![topology.distributor(), topology.statistics(), topology.dead_letters()];
    queues.extend(Catalogue::built_in().names().map(|name| topology.processor(&name.parse().unwrap())));
    queues.extend(RETRY_DELAYS.map(|delay| topology.retry(delay)));
    queues.push(Follower::queue(&bus));
    let mut waiting: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for queue in queues {
        let mut subscription = transport.subscribe(Source::Shared(queue.clone()), PREFETCH);
        while let Ok(Some(delivery)) = timeout(SILENCE, subscription.next()).await {
            waiting.entry(queue.name.clone()).or_default().insert(delivery.message.id);
        }
    }
    waiting
}
