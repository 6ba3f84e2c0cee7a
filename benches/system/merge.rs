//! Statistics' merge rate: the real event stream of many objects at once, in batches as statistics takes them, into a
//! file. Opening the record fails unless its connection says that it runs with a WAL and `synchronous=FULL`.

use std::time::Instant;

use anyhow::{Context, ensure};
use bus::{AnyEvent, Received};
use operations::Catalogue;
use statistics::record::Record;

use crate::workload::{self, Counts, OPERATION};

/// Events of a transaction: `MAX_BATCH_EVENTS` of statistics.
const BATCH: usize = 500;
/// Objects that are on their way at the same time, so that the events of one come in several batches.
const INTERLEAVED: usize = 200;

/// Merges the events of these texts' objects; how many events a second.
pub async fn round(texts: &[String]) -> anyhow::Result<f64> {
    let events = events(texts)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("stats.db");
    let record = Record::try_open(&path, Catalogue::built_in()).await?.context("the file is new")?;
    let began = Instant::now();
    for batch in events.chunks(BATCH) {
        record.merge(batch).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let snapshot = record.snapshot().await?;
    let succeeded = usize::try_from(snapshot.all.figures.objects_succeeded)?;
    ensure!(succeeded == texts.len(), "{succeeded} of {} objects succeeded", texts.len());
    let counted = record.totals(OPERATION, 1000).await?.highest;
    let counted = counted.into_iter().map(|(word, count)| Ok((word, u64::try_from(count)?)));
    let counted = counted.collect::<anyhow::Result<Counts>>()?;
    workload::ensure_same(&workload::count(texts.iter().map(String::as_str)), &counted)?;
    record.close().await;
    Ok(events.len() as f64 / seconds)
}

/// As they come: groups of objects, and in a group everybody's first event before anybody's second.
fn events(texts: &[String]) -> anyhow::Result<Vec<Received<AnyEvent>>> {
    let mut events = Vec::new();
    for group in texts.chunks(INTERLEAVED) {
        let objects = group.iter().map(|text| workload::messages("bench", text)).collect::<anyhow::Result<Vec<_>>>()?;
        for step in 0..workload::EVENTS {
            for messages in &objects {
                events.push(bus::decode_any(&messages[step], usize::MAX)?);
            }
        }
    }
    Ok(events)
}
