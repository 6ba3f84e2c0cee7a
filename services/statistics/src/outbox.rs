//! Publishes what the record has put into its outbox: how objects ended, in order, and dead letters that are replayed. A row
//! is deleted only when the bus has confirmed. What a crash leaves is published at the next start, the same again.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use bus::{
    Bus, PATIENCE, PublishError,
    events::{Event, ObjectFinished, ObjectOutcome, ObjectResult, TaskError},
};
use jiff::Timestamp;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    finish::location,
    record::{
        Record, ToReplay,
        outbox::{Kind, Row},
    },
};

/// How many events are published together: enough to share a confirm, few enough to be held in memory. Dead letters, which
/// may be long, go one by one.
const WINDOW: u32 = 256;
/// The waits after errors, the last one again and again.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(10)];
/// How long it may take until what nobody told of is seen: who was to tell may have gone while it was being written.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Characters of an error that travels although all of them were too long.
const MAX_SHORT_ERROR: usize = 50;
/// At the end, what the last batch has closed is announced still, if it takes no longer than this.
const LAST_ROUND: Duration = Duration::from_secs(2);

/// Publishes what is in the outbox.
pub trait Announce: Send + Sync + 'static {
    /// Publishes events as of their times; a result each.
    fn announce(
        &self,
        events: &[(ObjectFinished, Timestamp)],
    ) -> impl Future<Output = Vec<Result<(), PublishError>>> + Send;

    /// Publishes a dead letter in its next round, as of a time.
    fn replay(&self, dead: &ToReplay, time: Timestamp) -> impl Future<Output = Result<(), PublishError>> + Send;
}

impl Announce for Bus {
    async fn announce(&self, events: &[(ObjectFinished, Timestamp)]) -> Vec<Result<(), PublishError>> {
        let (mut messages, mut results) = (Vec::new(), Vec::new());
        for (event, time) in events {
            self.ensure::<ObjectFinished>(event.operation()).await;
            results.push(self.encode(event, *time, None).map(|message| messages.push(message)));
        }
        let mut published = self.publish_messages(messages, PATIENCE).await.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = published.next().unwrap_or(Err(PublishError::Unknown(PATIENCE)));
        }
        results
    }

    async fn replay(&self, ToReplay { message, queue }: &ToReplay, time: Timestamp) -> Result<(), PublishError> {
        Bus::replay(self, message, queue, time).await
    }
}

/// The task that empties the outbox.
#[derive(Debug)]
pub struct Outbox<A> {
    /// Where it is.
    pub record: Arc<Record>,
    /// Where it goes.
    pub announce: A,
    /// Says that there is more.
    pub news: Arc<Notify>,
}

impl<A: Announce> Outbox<A> {
    /// Publishes until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let (mut tries, mut done) = (0, Vec::new());
        while !shutdown.is_cancelled() {
            let round = shutdown.run_until_cancelled(self.round(&mut done)).await;
            match round {
                Some(Ok(0)) => {
                    tries = 0;
                    shutdown.run_until_cancelled(timeout(LOOK_AGAIN, self.news.notified())).await;
                }
                Some(Ok(_)) => tries = 0,
                Some(Err(error)) => {
                    let delay = RETRY_DELAYS[tries.min(RETRY_DELAYS.len() - 1)];
                    warn!(retry_in = ?delay, "the outbox is not empty yet: {error:#}");
                    tries += 1;
                    shutdown.run_until_cancelled(sleep(delay)).await;
                }
                None => {}
            }
        }
        // What is left is announced at the next start.
        let _ = timeout(LAST_ROUND, self.round(&mut done)).await;
    }

    /// Publishes the first rows; how many there were. As long as what is done cannot be deleted, nothing more is
    /// published: it would be again and again.
    async fn round(&self, done: &mut Vec<i64>) -> anyhow::Result<usize> {
        self.delete(done).await?;
        let rows = self.record.outbox(WINDOW).await.context("cannot read the outbox")?;
        metrics::gauge!("ebs_outbox_rows").set(self.record.outbox_rows().await? as f64);
        let (events, replays): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.kind == Kind::Event);
        let announced = self.announce_all(&events, done).await;
        self.delete(done).await?;
        let replayed = self.replay_all(&replays, done).await;
        self.delete(done).await?;
        announced.and(replayed).map(|()| rows.len())
    }

    async fn delete(&self, done: &mut Vec<i64>) -> anyhow::Result<()> {
        self.record.delete_from_outbox(done).await.context("cannot clear the outbox")?;
        done.clear();
        Ok(())
    }

    async fn announce_all(&self, rows: &[&Row], done: &mut Vec<i64>) -> anyhow::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let (mut ids, mut events) = (Vec::new(), Vec::new());
        for row in rows {
            match parsed(row) {
                Ok(event) => {
                    ids.push(row.id);
                    events.push(event);
                }
                Err(error) => done.push(given_up(row.id, &error)),
            }
        }
        let mut results = self.announce.announce(&events).await;
        for ((event, time), result) in events.into_iter().zip(&mut results) {
            if matches!(result, Err(PublishError::TooLarge { .. })) {
                let short = self.announce.announce(&[(shortened(event), time)]).await;
                *result = short.into_iter().next().unwrap_or(Ok(()));
            }
        }
        let mut failed = None;
        for (id, result) in ids.into_iter().zip(results) {
            match result {
                Ok(()) => done.push(id),
                Err(error @ PublishError::TooLarge { .. }) => done.push(given_up(id, &error.into())),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Until the first that does not go now: the next one would not either.
    async fn replay_all(&self, rows: &[&Row], done: &mut Vec<i64>) -> anyhow::Result<()> {
        for row in rows {
            self.replay(row).await?;
            done.push(row.id);
        }
        Ok(())
    }

    async fn replay(&self, row: &Row) -> anyhow::Result<()> {
        let id: String = serde_json::from_str(&row.event).unwrap_or_default();
        let Some(dead) = self.record.to_replay(&id).await? else {
            given_up(row.id, &anyhow!("there is no dead letter {id:?}"));
            return Ok(());
        };
        // What can never go would hold up all others.
        let obstacle = match dead {
            Err(error) => format!("it cannot be written as a message: {error:#}"),
            Ok(dead) => match self.announce.replay(&dead, Timestamp::from_microsecond(row.time)?).await {
                Ok(()) => return Ok(()),
                // Its queue is none of this system's any more.
                Err(error @ PublishError::Unroutable { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            },
        };
        error!(dead_letter = id, "not replayed: {obstacle}");
        Ok(self.record.refuse_replay(&id, &obstacle).await?)
    }
}

/// An event that can never go would hold up all others; the record has what it says, and tells who asks.
fn given_up(id: i64, error: &anyhow::Error) -> i64 {
    error!("row {id} of the outbox is not announced: {error:#}");
    id
}

/// What fits into the shortest events that there can be: where the result is, or the first error's beginning.
fn shortened(mut event: ObjectFinished) -> ObjectFinished {
    let location = location(event.object_id);
    match &mut event.outcome {
        ObjectOutcome::Succeeded(result) => {
            if let ObjectResult::Inline(inline) = result {
                *result = ObjectResult::Stored { bytes: inline.as_str().len() as u64, location };
            }
        }
        ObjectOutcome::Failed(errors) | ObjectOutcome::TimedOut(errors) => {
            errors.truncate(1);
            for TaskError { error, .. } in errors {
                let end = error.char_indices().nth(MAX_SHORT_ERROR).map_or(error.len(), |(end, _)| end);
                error.truncate(end);
            }
        }
    }
    event
}

fn parsed(row: &Row) -> anyhow::Result<(ObjectFinished, Timestamp)> {
    Ok((serde_json::from_str(&row.event)?, Timestamp::from_microsecond(row.time)?))
}
