//! Making one result of the partial results.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use anyhow::Context;
use bus::events::Json;
use operations::{Catalogue, Totals};
use serde_json::Value;
use sqlx::SqliteConnection;
use tokio::task::spawn_blocking;

use super::splits::Split;
use crate::record::{fetch_rows, text};

/// Partial results of so many bytes are gathered together: parsed, they take several times as much.
const PORTION_BYTES: i64 = 8 * 1024 * 1024;
/// More than this is not gathered, and no longer result kept: parsing it could take all memory, and would
/// again after each restart.
const MAX_BYTES: i64 = 32 * 1024 * 1024;
/// The longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 2000;

const SIZES: &str = "
    SELECT k.key, sum(octet_length(p.result)) AS bytes
    FROM jsonb_each(?1) AS k
    CROSS JOIN partials AS p ON p.object_id = k.value ->> 0 AND p.parts = k.value ->> 1
    GROUP BY k.key";

const PARTIALS: &str = "
    SELECT k.key, p.part, p.result
    FROM jsonb_each(?1) AS k
    CROSS JOIN partials AS p ON p.object_id = k.value ->> 0 AND p.parts = k.value ->> 1";

/// What gathering gives.
pub(super) struct Gathered {
    /// JSON.
    pub(super) result: String,
    pub(super) totals: Totals,
}

/// Splits that fit into memory together.
pub(super) struct Portion {
    splits: Vec<Split>,
    bytes: i64,
}

/// The splits in portions that fit into memory; one that alone does not is a portion of its own.
pub(super) async fn portions(connection: &mut SqliteConnection, splits: Vec<Split>) -> sqlx::Result<Vec<Portion>> {
    let keys = splits.iter().map(|split| (split.object, split.parts));
    let sizes: Vec<(i64, i64)> = fetch_rows(connection, SIZES, keys).await?;
    let sizes: BTreeMap<i64, i64> = sizes.into_iter().collect();
    let mut portions: Vec<Portion> = Vec::new();
    for (number, split) in splits.into_iter().enumerate() {
        let bytes = sizes.get(&(number as i64)).copied().unwrap_or_default();
        match portions.last_mut() {
            Some(portion) if portion.bytes + bytes <= PORTION_BYTES => {
                portion.splits.push(split);
                portion.bytes += bytes;
            }
            _ => portions.push(Portion { splits: vec![split], bytes }),
        }
    }
    Ok(portions)
}

/// Gathers each of the splits, off the async threads. The error is why there is no result, for people.
pub(super) async fn gather(
    connection: &mut SqliteConnection,
    catalogue: &Arc<Catalogue>,
    portion: Portion,
) -> anyhow::Result<Vec<(Split, Result<Gathered, String>)>> {
    let Portion { splits, bytes } = portion;
    if bytes > MAX_BYTES {
        let refused = |split| (split, Err(too_long("the partial results are", bytes)));
        return Ok(splits.into_iter().map(refused).collect());
    }
    let keys = splits.iter().map(|split| (split.object, split.parts));
    let rows: Vec<(i64, u32, String)> = fetch_rows(connection, PARTIALS, keys).await?;
    let mut partials: BTreeMap<i64, BTreeMap<u32, String>> = BTreeMap::new();
    for (number, part, result) in rows {
        partials.entry(number).or_default().insert(part, result);
    }
    let catalogue = Arc::clone(catalogue);
    let work = move || {
        let numbered = splits.into_iter().enumerate();
        let gather = |(number, split): (usize, Split)| {
            let partials = partials.remove(&(number as i64)).unwrap_or_default();
            let gathered = gather_one(&catalogue, &split, partials);
            (split, gathered.map_err(|reason| text(&reason, MAX_REASON_CHARS)))
        };
        numbered.map(gather).collect()
    };
    spawn_blocking(work).await.context("gathering was given up")
}

fn gather_one(catalogue: &Catalogue, split: &Split, partials: BTreeMap<u32, String>) -> Result<Gathered, String> {
    let operation = catalogue.get(&split.operation).map_err(|error| error.to_string())?;
    let parameters =
        serde_json::from_str(&split.parameters).map_err(|error| format!("the parameters cannot be read: {error}"))?;
    let partials = partials
        .into_iter()
        .map(|(part, result)| {
            let parsed = result.parse().and_then(|json: Json| json.parse());
            parsed.map_err(|error| format!("the result of part {part} cannot be read: {error}"))
        })
        .collect::<Result<Vec<Value>, _>>()?;
    // A panic is the operation's defect with this object: no reason to stop all others.
    let work = AssertUnwindSafe(|| {
        let result = operation.gather(partials, &parameters).map_err(|error| error.to_string())?;
        let totals = operation.totals(&result).unwrap_or_default();
        Ok(Gathered { totals, result: result.to_string() })
    });
    let gathered =
        catch_unwind(work).unwrap_or_else(|_panic| Err(format!("{} panicked while gathering", split.operation)))?;
    match i64::try_from(gathered.result.len()).unwrap_or(i64::MAX) {
        bytes if bytes > MAX_BYTES => Err(too_long("the result is", bytes)),
        _ => Ok(gathered),
    }
}

fn too_long(what: &str, bytes: i64) -> String {
    format!("{what} {bytes} bytes long: at most {MAX_BYTES} can be gathered")
}
