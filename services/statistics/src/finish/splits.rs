//! Which splits are complete, and which of an object's decides.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
};

use bus::events::ObjectId;
use sqlx::SqliteConnection;

use crate::record::{Status, fetch_rows};

/// A complete split of an object, or that splitting it was given up, and what the record says of the object now.
pub(super) struct Split {
    pub(super) object: ObjectId,
    /// None if it was not split.
    pub(super) parts: Option<u32>,
    succeeded: u32,
    /// Whether some of it came of a replay.
    replayed: bool,
    /// The end of its last task, or when splitting was given up,
    pub(super) finished_at: i64,
    /// and why.
    pub(super) failure: Option<String>,
    pub(super) operation: String,
    pub(super) parameters: String,
    pub(super) created_at: i64,
    pub(super) status: Status,
    pub(super) known_parts: Option<u32>,
    pub(super) known_finished_at: Option<i64>,
    pub(super) duration_us: Option<i64>,
    pub(super) revision: u32,
    pub(super) error: Option<String>,
}

impl Split {
    pub(super) fn succeeds(&self) -> bool {
        self.parts == Some(self.succeeded)
    }

    /// Whether the object, if it has timed out, succeeds even so: not by what comes too late by itself.
    pub(super) fn turns(&self) -> bool {
        self.succeeds() && self.replayed
    }

    /// The lesser one decides: succeeded, then complete, then complete earlier, then fewer parts.
    fn rank(&self) -> impl Ord + use<> {
        (Reverse(self.succeeds()), self.parts.is_none(), self.finished_at, self.parts)
    }
}

/// Counting the rows costs more than a running count would, for an object of thousands of parts that end one by
/// one; but it cannot be wrong. The object comes last: grouping may copy each of its tasks' rows.
const COMPLETE: &str = "
    SELECT c.key, c.parts, c.succeeded,
           c.round > 0 OR EXISTS (SELECT 1 FROM split_failures WHERE object_id = o.id AND replayed) AS replayed,
           c.finished_at, NULL AS failure, o.operation, o.parameters, o.created_at, o.status,
           o.parts AS known_parts, o.finished_at AS known_finished_at, o.duration, o.revision, o.error
    FROM (SELECT k.key, k.value AS object_id, t.parts, count(CASE t.outcome WHEN 'succeeded' THEN 1 END) AS succeeded,
                 max(t.finish_round) AS round, max(t.finished_at) AS finished_at
          FROM jsonb_each(?1) AS k
          CROSS JOIN tasks AS t ON t.object_id = k.value
          GROUP BY k.key, t.parts
          HAVING count(t.finished_at) = t.parts) AS c
    CROSS JOIN objects AS o ON o.id = c.object_id";

const FAILED: &str = "
    SELECT k.key, NULL AS parts, 0 AS succeeded, f.replayed, f.failed_at AS finished_at, f.error AS failure, o.operation,
           o.parameters, o.created_at, o.status, o.parts AS known_parts, o.finished_at AS known_finished_at, o.duration,
           o.revision, o.error
    FROM jsonb_each(?1) AS k
    CROSS JOIN split_failures AS f ON f.object_id = k.value
    CROSS JOIN objects AS o ON o.id = k.value";

/// What decides, of each of the objects of which something does and whose creation is known: a complete split, or else that
/// splitting was given up.
pub(super) async fn deciding(
    connection: &mut SqliteConnection,
    objects: BTreeSet<ObjectId>,
) -> sqlx::Result<Vec<Split>> {
    let mut rows: Vec<Row> = fetch_rows(connection, COMPLETE, objects.iter()).await?;
    rows.extend(fetch_rows::<_, Row>(connection, FAILED, objects.iter()).await?);
    let objects: Vec<ObjectId> = objects.into_iter().collect();
    let mut deciding: BTreeMap<ObjectId, Split> = BTreeMap::new();
    for row in rows {
        let Some(&object) = usize::try_from(row.key).ok().and_then(|key| objects.get(key)) else {
            continue;
        };
        let split = row.of(object);
        match deciding.entry(object) {
            Entry::Vacant(entry) => {
                entry.insert(split);
            }
            Entry::Occupied(mut entry) if split.rank() < entry.get().rank() => {
                entry.insert(split);
            }
            Entry::Occupied(_) => {}
        }
    }
    Ok(deciding.into_values().collect())
}

#[derive(sqlx::FromRow)]
struct Row {
    key: i64,
    parts: Option<u32>,
    succeeded: u32,
    replayed: bool,
    finished_at: i64,
    failure: Option<String>,
    operation: String,
    parameters: String,
    created_at: i64,
    status: Status,
    known_parts: Option<u32>,
    known_finished_at: Option<i64>,
    duration: Option<i64>,
    revision: u32,
    error: Option<String>,
}

impl Row {
    fn of(self, object: ObjectId) -> Split {
        Split {
            object,
            parts: self.parts,
            succeeded: self.succeeded,
            replayed: self.replayed,
            finished_at: self.finished_at,
            failure: self.failure,
            operation: self.operation,
            parameters: self.parameters,
            created_at: self.created_at,
            status: self.status,
            known_parts: self.known_parts,
            known_finished_at: self.known_finished_at,
            duration_us: self.duration,
            revision: self.revision,
            error: self.error,
        }
    }
}
