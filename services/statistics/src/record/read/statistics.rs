//! The figures: what `select * from statistics` says, and the same by operation and by processor.

use std::collections::BTreeMap;

use sqlx::FromRow;

use crate::record::{Figures, ProcessorFigures, Record, durations::percentile};

/// More processors than this are not told apart in an answer; the busiest are.
const MAX_PROCESSORS: i64 = 1000;

/// All figures at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Of everything.
    pub all: Summary,
    /// By operation.
    pub operations: BTreeMap<String, Summary>,
    /// By processor, the busiest first.
    pub processors: Vec<Processor>,
    /// Deliveries of events of unknown types.
    pub unknown_events: BTreeMap<String, i64>,
    /// How many dead letters wait, by cause; the most frequent hundred causes.
    pub dead_letters: BTreeMap<String, i64>,
}

/// The figures of one operation, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Counts and sums.
    pub figures: Figures,
    /// How long the finished objects took.
    pub objects: Spread,
    /// How long the finished tasks took.
    pub tasks: Spread,
    /// How many dead letters wait; of all operations only.
    pub dead_letters: i64,
}

/// How long things took, in milliseconds; none if there are none. Percentiles are within 1.6 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct Spread {
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// The figures of one processor.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Processor {
    pub name: String,
    pub figures: ProcessorFigures,
    pub mean_ms: Option<f64>,
}

/// How many dead letters wait, by cause. The causes are few, but anybody may write one.
pub(in crate::record) const WAITING_BY_CAUSE: &str = "
    SELECT cause, count(*) FROM dead_letters WHERE state = 'waiting' GROUP BY cause ORDER BY count(*) DESC LIMIT 100";

/// By kind and operation, counts by ascending middle.
type Durations = BTreeMap<(String, String), Vec<(i64, i64)>>;

impl Record {
    /// The figures of everything.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn summary(&self) -> sqlx::Result<Summary> {
        let mut read = self.readers.begin().await?;
        let figures = figures(&mut read).await?;
        let durations = durations(&mut read).await?;
        let dead_letters = dead_letters(&mut read).await?;
        Ok(whole(&figures, &durations, &dead_letters))
    }

    /// All figures.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn snapshot(&self) -> sqlx::Result<Snapshot> {
        let mut read = self.readers.begin().await?;
        let figures = figures(&mut read).await?;
        let durations = durations(&mut read).await?;
        let unknown_events: Vec<(String, i64)> =
            sqlx::query_as("SELECT type, count FROM unknown_events").fetch_all(&mut *read).await?;
        let dead_letters = dead_letters(&mut read).await?;
        let spread = |kind: &str, operation: &str, mean| {
            let counts = durations.get(&(kind.to_owned(), operation.to_owned()));
            Spread::of(mean, counts.map_or(&[], Vec::as_slice))
        };
        let operations = figures.iter().map(|(name, figures)| {
            let summary = Summary {
                figures: *figures,
                objects: spread("object", name, figures.objects_mean_ms()),
                tasks: spread("task", name, figures.tasks_mean_ms()),
                dead_letters: 0,
            };
            (name.clone(), summary)
        });
        Ok(Snapshot {
            all: whole(&figures, &durations, &dead_letters),
            operations: operations.collect(),
            processors: processors(&mut read).await?,
            unknown_events: unknown_events.into_iter().collect(),
            dead_letters,
        })
    }
}

async fn figures(read: &mut sqlx::SqliteConnection) -> sqlx::Result<BTreeMap<String, Figures>> {
    #[derive(FromRow)]
    struct Row {
        operation: String,
        #[sqlx(flatten)]
        figures: Figures,
    }
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM figures").fetch_all(read).await?;
    Ok(rows.into_iter().map(|row| (row.operation, row.figures)).collect())
}

async fn processors(read: &mut sqlx::SqliteConnection) -> sqlx::Result<Vec<Processor>> {
    #[derive(FromRow)]
    struct Row {
        processor: String,
        #[sqlx(flatten)]
        figures: ProcessorFigures,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM processor_figures
         ORDER BY tasks_succeeded + tasks_failed + tasks_in_progress DESC, processor LIMIT ?1",
    )
    .bind(MAX_PROCESSORS)
    .fetch_all(read)
    .await?;
    let processor = |Row { processor, figures }| Processor {
        name: processor,
        mean_ms: mean_ms(figures.tasks_s, figures.tasks_us, figures.tasks_succeeded + figures.tasks_failed),
        figures,
    };
    Ok(rows.into_iter().map(processor).collect())
}

async fn durations(read: &mut sqlx::SqliteConnection) -> sqlx::Result<Durations> {
    let rows: Vec<(String, String, i64, i64)> =
        sqlx::query_as("SELECT kind, operation, middle_us, count FROM durations ORDER BY kind, operation, bucket")
            .fetch_all(read)
            .await?;
    let mut durations = Durations::new();
    for (kind, operation, middle_us, count) in rows {
        durations.entry((kind, operation)).or_default().push((middle_us, count));
    }
    Ok(durations)
}

async fn dead_letters(read: &mut sqlx::SqliteConnection) -> sqlx::Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(WAITING_BY_CAUSE).fetch_all(read).await?;
    Ok(rows.into_iter().collect())
}

fn whole(
    operations: &BTreeMap<String, Figures>,
    durations: &Durations,
    dead_letters: &BTreeMap<String, i64>,
) -> Summary {
    let mut all = Figures::default();
    operations.values().for_each(|figures| all.add(figures));
    let spread = |wanted: &str, mean| {
        let mut counts = BTreeMap::new();
        let of_kind = durations.iter().filter(|((kind, _), _)| kind == wanted);
        for (middle_us, count) in of_kind.flat_map(|(_, counts)| counts) {
            *counts.entry(*middle_us).or_default() += count;
        }
        Spread::of(mean, &counts.into_iter().collect::<Vec<_>>())
    };
    Summary {
        figures: all,
        objects: spread("object", all.objects_mean_ms()),
        tasks: spread("task", all.tasks_mean_ms()),
        dead_letters: dead_letters.values().sum(),
    }
}

impl Spread {
    fn of(mean: Option<f64>, counts: &[(i64, i64)]) -> Self {
        let percentile = |percent| percentile(counts, percent).map(|span_us| span_us as f64 / 1000.0);
        Self { mean, p50: percentile(50), p95: percentile(95), p99: percentile(99) }
    }
}

impl Figures {
    /// Created and neither finished nor given up.
    pub fn objects_in_progress(&self) -> i64 {
        self.objects_created - self.objects_finished()
    }

    /// Closed, whatever the outcome.
    pub fn objects_finished(&self) -> i64 {
        self.objects_succeeded + self.objects_failed + self.objects_timed_out
    }

    /// Ended, whatever the outcome.
    pub fn tasks_finished(&self) -> i64 {
        self.tasks_succeeded + self.tasks_failed
    }

    fn objects_mean_ms(&self) -> Option<f64> {
        mean_ms(self.objects_s, self.objects_us, self.objects_finished())
    }

    fn tasks_mean_ms(&self) -> Option<f64> {
        mean_ms(self.tasks_s, self.tasks_us, self.tasks_finished())
    }
}

/// To the microsecond.
fn mean_ms(seconds: i64, microseconds: i64, count: i64) -> Option<f64> {
    let sum_ms = seconds as f64 * 1000.0 + microseconds as f64 / 1000.0;
    (count > 0).then(|| (sum_ms / count as f64 * 1000.0).round() / 1000.0)
}
