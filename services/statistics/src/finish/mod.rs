//! Closing objects: an object closes when its first complete split is, when splitting it is given up, or at its deadline.

mod announce;
mod deadline;
mod gather;
mod splits;

use std::{collections::BTreeSet, sync::Arc};

use bus::events::ObjectId;
use operations::Catalogue;
use sqlx::SqliteConnection;

use self::splits::Split;
pub(crate) use self::{announce::location, deadline::time_out};
use crate::record::{
    Status, execute_rows,
    figures::{Deltas, ObjectState},
    objects::duration,
    totals::Sums,
};

/// What closing objects has changed.
#[derive(Default)]
pub(crate) struct Finished {
    /// The objects whose state has changed.
    pub(crate) closed: Vec<ObjectId>,
    /// How many events were put into the outbox.
    pub(crate) announced: usize,
}

/// An object's state from now on.
struct Closing {
    split: Split,
    status: Status,
    duration_us: i64,
    revision: u32,
    /// Why the whole failed, if not for its parts.
    error: Option<String>,
    /// Its result, if it has one only now.
    result: Option<String>,
    /// Whether this is news to others, or only to the record.
    announced: bool,
}

const STORE: &str = "
    UPDATE objects SET
        status = c.value ->> 1, parts = c.value ->> 2, finished_at = c.value ->> 3, duration = c.value ->> 4,
        revision = c.value ->> 5, error = c.value ->> 6, result = coalesce(c.value ->> 7, result),
        closed_at = c.value ->> 8
    FROM jsonb_each(?1) AS c WHERE objects.id = c.value ->> 0";

/// Closes those of the `touched` objects that can be: gathers, adds to the totals, announces.
pub(crate) async fn finish(
    connection: &mut SqliteConnection,
    catalogue: &Arc<Catalogue>,
    touched: BTreeSet<ObjectId>,
    deltas: &mut Deltas,
) -> anyhow::Result<Finished> {
    let mut finished = Finished::default();
    let mut sums = Sums::default();
    let (mut to_gather, mut rest) = (Vec::new(), Vec::new());
    for split in splits::deciding(connection, touched).await? {
        match split.status {
            // What comes later is recorded, and changes nothing that was announced.
            Status::TimedOut if !split.turns() => {}
            Status::Succeeded => rest.push(closed_without_gathering(split)),
            _ if split.succeeds() => to_gather.push(split),
            _ => rest.push(closed_without_gathering(split)),
        }
    }
    close(connection, rest, deltas, &mut finished).await?;
    // In portions, so that results of megabytes are not all in memory at once.
    for portion in gather::portions(connection, to_gather).await? {
        let gathered = gather::gather(connection, catalogue, portion).await?;
        let mut closings = Vec::with_capacity(gathered.len());
        for (split, outcome) in gathered {
            closings.push(match outcome {
                Ok(gathered) => {
                    sums.add(&split.operation, gathered.totals);
                    closed(split, Status::Succeeded, None, Some(gathered.result))
                }
                Err(reason) => closed(split, Status::Failed, Some(reason), None),
            });
        }
        close(connection, closings, deltas, &mut finished).await?;
    }
    sums.write(connection).await?;
    Ok(finished)
}

/// Failed, or succeeded before: what it was gathered from stays, but its end may have become earlier.
fn closed_without_gathering(split: Split) -> Closing {
    let status = if split.succeeds() { Status::Succeeded } else { Status::Failed };
    let error = split.failure.clone();
    closed(split, status, error, None)
}

fn closed(split: Split, status: Status, error: Option<String>, result: Option<String>) -> Closing {
    let announced = split.status != status || split.error != error;
    let again = u32::from(announced && split.status != Status::Open);
    Closing {
        status,
        duration_us: duration(split.created_at, split.finished_at),
        revision: split.revision.saturating_add(again),
        error,
        result,
        announced,
        split,
    }
}

async fn close(
    connection: &mut SqliteConnection,
    mut closings: Vec<Closing>,
    deltas: &mut Deltas,
    finished: &mut Finished,
) -> anyhow::Result<()> {
    closings.retain(|closing| closing.announced || closing.is_new());
    for closing in &closings {
        let state = |status, duration_us| ObjectState { operation: &closing.split.operation, status, duration_us };
        deltas.object(
            Some(state(closing.split.status, closing.split.duration_us)),
            state(closing.status, Some(closing.duration_us)),
        );
    }
    // By the record's own clock: those of processors, which say when it finished, may be wrong by years.
    let closed_at = bus::now().as_microsecond();
    let rows = closings.iter().map(|closing| {
        (
            closing.split.object,
            closing.status.as_str(),
            closing.split.parts,
            closing.split.finished_at,
            closing.duration_us,
            closing.revision,
            &closing.error,
            &closing.result,
            closed_at,
        )
    });
    execute_rows(connection, STORE, rows).await?;
    closings.retain(|closing| closing.announced);
    finished.closed.extend(closings.iter().map(|closing| closing.split.object));
    finished.announced += closings.len();
    announce::closings(connection, closings).await
}

impl Closing {
    /// Whether the record does not say so yet.
    fn is_new(&self) -> bool {
        let split = &self.split;
        split.known_parts != split.parts
            || split.known_finished_at != Some(split.finished_at)
            || split.duration_us != Some(self.duration_us)
    }
}
