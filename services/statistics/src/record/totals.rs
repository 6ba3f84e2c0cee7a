//! Counters that accumulate over all succeeded objects of an operation, since they were last reset.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{Record, execute_rows, text};

/// No counter has a longer name, in characters.
const MAX_NAME_CHARS: usize = 1000;

/// What is to be added, by operation and name.
#[derive(Default)]
pub(crate) struct Sums(BTreeMap<(String, String), i64>);

impl Record {
    /// Deletes all counters of `operation`; how many there were. What closes afterwards is counted from nothing, and what
    /// closed before is not counted again: whatever comes of an object later, it is added when it first succeeds.
    ///
    /// # Errors
    /// If SQLite cannot write now; nothing has changed then.
    pub async fn reset_totals(&self, operation: &str) -> sqlx::Result<u64> {
        let mut write = self.begin().await?;
        let deleted = sqlx::query("DELETE FROM totals WHERE operation = ?1")
            .bind(operation)
            .execute(write.connection())
            .await?
            .rows_affected();
        write.commit().await?;
        Ok(deleted)
    }
}

impl Sums {
    /// Adds an object's counters. They stay at the largest that SQLite counts.
    pub(crate) fn add(&mut self, operation: &str, totals: operations::Totals) {
        for (name, count) in totals {
            let key = (operation.to_owned(), text(&name, MAX_NAME_CHARS));
            let sum = self.0.entry(key).or_default();
            *sum = sum.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) async fn write(self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let rows = self.0.iter().map(|((operation, name), count)| (operation, name, count));
        execute_rows(
            connection,
            "INSERT INTO totals
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each(?1) WHERE true
             ON CONFLICT DO UPDATE SET count = count + min(excluded.count, 9223372036854775807 - count)",
            rows,
        )
        .await
    }
}
