//! The accumulated counters of an operation.

use crate::record::Record;

/// The highest counters of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopTotals {
    /// How many names have a counter.
    pub distinct: i64,
    /// The sum of all counters.
    pub total: i64,
    /// Highest first, equal ones by name.
    pub highest: Vec<(String, i64)>,
}

impl Record {
    /// The `limit` highest counters of `operation`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn totals(&self, operation: &str, limit: u32) -> sqlx::Result<TopTotals> {
        let mut read = self.readers.begin().await?;
        // `sum` refuses to overflow, `total` does not; both are exact far beyond what anybody counts.
        let (distinct, total): (i64, f64) =
            sqlx::query_as("SELECT count(*), total(count) FROM totals WHERE operation = ?1")
                .bind(operation)
                .fetch_one(&mut *read)
                .await?;
        let highest =
            sqlx::query_as("SELECT name, count FROM totals WHERE operation = ?1 ORDER BY count DESC, name LIMIT ?2")
                .bind(operation)
                .bind(limit)
                .fetch_all(&mut *read)
                .await?;
        Ok(TopTotals { distinct, total: total as i64, highest })
    }
}
