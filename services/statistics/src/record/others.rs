//! Figures of whom the record has nothing any more are added up: each start of a processor may bring another name, and
//! events can name any operation, so there would be ever more of them.
//!
//! As long as a row counts for a name, its figures may still change, also downwards. When all of them are pruned they cannot,
//! and if more comes under that name, it begins anew.

use operations::Catalogue;
use sqlx::{FromRow, SqliteConnection};

use super::{
    array,
    figures::{Deltas, Figures, ProcessorFigures},
};

/// What all others are counted as. No operation can have such a name.
pub(super) const OTHERS: &str = "(others)";

const PROCESSORS: &str = "
    DELETE FROM processor_figures
    WHERE tasks_in_progress = 0 AND tasks_pruned = tasks_succeeded + tasks_failed AND processor <> ?1 RETURNING *";

/// But for those in the JSON array `?1`.
const OPERATIONS: &str = "
    DELETE FROM figures
    WHERE objects_pruned = objects_created AND tasks_pruned = tasks_distributed
        AND operation NOT IN (SELECT value FROM jsonb_each(?1)) RETURNING *";

const DURATIONS: &str = "
    DELETE FROM durations WHERE kind = ?1 AND operation IN (SELECT value FROM jsonb_each(?2)) RETURNING bucket, count";

#[derive(FromRow)]
struct OfOperation {
    operation: String,
    #[sqlx(flatten)]
    figures: Figures,
}

/// Adds figures to those of the others: of processors, and of operations that are not in the catalogue.
pub(super) async fn add_up(connection: &mut SqliteConnection, catalogue: &Catalogue) -> sqlx::Result<()> {
    let mut deltas = Deltas::default();
    let processors: Vec<ProcessorFigures> = sqlx::query_as(PROCESSORS).bind(OTHERS).fetch_all(&mut *connection).await?;
    processors.iter().for_each(|figures| deltas.add_processor(OTHERS, figures));
    let kept = array(catalogue.names().chain([OTHERS]))?;
    let operations: Vec<OfOperation> = sqlx::query_as(OPERATIONS).bind(kept).fetch_all(&mut *connection).await?;
    operations.iter().for_each(|gone| deltas.add_operation(OTHERS, &gone.figures));
    if let Some(gone) = array(operations.iter().map(|gone| &gone.operation))? {
        for kind in ["task", "object"] {
            let query = sqlx::query_as(DURATIONS).bind(kind).bind(&gone);
            let buckets: Vec<(i64, i64)> = query.fetch_all(&mut *connection).await?;
            buckets.into_iter().for_each(|(bucket, count)| deltas.add_durations(kind, OTHERS, bucket, count));
        }
    }
    deltas.write(connection).await
}
