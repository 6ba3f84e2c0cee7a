//! `ebs up`: the whole system in one process. All wiring.

use anyhow::Context;
use chassis::{Service, process::Process};
use datagen::Datagen;
use distributor::Distributor;
use processor::Processor;
use statistics::Statistics;

use crate::{buses::Buses, settings::Settings, welcome::welcome};

/// The name of the program.
pub const NAME: &str = "ebs";

/// Runs the four services until a signal, or until one of them fails.
///
/// # Errors
/// Why it cannot start, or why it ended.
pub async fn up(settings: Settings) -> anyhow::Result<()> {
    let mut buses = Buses::open(&settings.shared).await?;
    let ended = serve(settings, &mut buses).await;
    // Last: whatever the services still had to say or to acknowledge has reached it.
    buses.close().await;
    ended
}

async fn serve(settings: Settings, buses: &mut Buses) -> anyhow::Result<()> {
    let grace = settings.shared.shutdown_grace.duration();
    let mut process = Process::start(NAME, settings.listen(), grace).await?;
    let record = settings.statistics.database_url.clone();

    let datagen = Datagen::build(settings.datagen, process.context(buses.of(Datagen::NAME))).await?;
    let distributor = Distributor::build(settings.distributor, process.context(buses.of(Distributor::NAME))).await?;
    let processor = Processor::build(settings.processor, process.context(buses.of(Processor::NAME))).await?;
    let statistics = Statistics::build(settings.statistics, process.context(buses.of(Statistics::NAME))).await?;
    // Alone it would wait for whoever has the file; whoever starts a whole system by hand wants to know at once.
    statistics.open_now().await.context("cannot keep the record (DATABASE_URL)")?;
    welcome(&settings.shared, record.path(), process.address()?);

    // One door: what datagen serves, and in place of what it would forward, what statistics serves.
    let router = datagen.own_router().merge(statistics.router());
    // They all stop together: what one of them did not get to do or to hear waits on the bus for the next start.
    process.run(datagen);
    process.run(distributor);
    process.run(processor);
    process.run(statistics);
    process.serve(router).await
}
