//! `ebs up`: the whole system in one process. All wiring.

use std::time::Duration;

use anyhow::Context;
use chassis::{Service, process::Process};
use datagen::Datagen;
use distributor::Distributor;
use processor::Processor;
use statistics::Statistics;
use tokio::{sync::watch, time::sleep};
use tracing::warn;

use crate::{buses::Buses, settings::Settings, welcome::welcome};

/// The name of the program.
pub const NAME: &str = "ebs";

/// How often it is tried to open a bus that has no room.
const OPEN_RETRY: Duration = Duration::from_secs(1);

/// Runs the four services until a signal, or until one of them fails.
///
/// # Errors
/// Why it cannot start, or why it ended.
pub async fn up(settings: Settings) -> anyhow::Result<()> {
    let (mut buses, process) = match Buses::open(&settings.shared).await {
        // Ending would not help: whoever started it would do so again and again.
        Err(error) if Buses::may_open_later(&error) => match wait_for_buses(&settings, error).await? {
            Some((buses, process)) => (buses, Some(process)),
            None => return Ok(()),
        },
        opened => (opened?, None),
    };
    let ended = serve(settings, &mut buses, process).await;
    // Last: whatever the services still had to say or to acknowledge has reached it.
    buses.close().await;
    ended
}

async fn start(settings: &Settings) -> anyhow::Result<Process> {
    let grace = settings.shared.shutdown_grace.duration();
    Process::start(NAME, settings.listen(), settings.shared.guard(), grace).await
}

/// Serves that it is not ready, and why, until the buses can be opened; none if it was told to stop before.
async fn wait_for_buses(settings: &Settings, error: anyhow::Error) -> anyhow::Result<Option<(Buses, Process)>> {
    let process = start(settings).await?;
    let missing = watch::Sender::new(format!("waiting: {error:#}"));
    let told = missing.subscribe();
    let opened = async {
        loop {
            warn!("{}", *missing.borrow());
            let error = loop {
                sleep(OPEN_RETRY).await;
                match Buses::open(&settings.shared).await {
                    Err(error) if Buses::may_open_later(&error) => {
                        let reason = format!("waiting: {error:#}");
                        if *missing.borrow() != reason {
                            break reason;
                        }
                    }
                    opened => return opened,
                }
            };
            missing.send_replace(error);
        }
    };
    match process.not_ready("bus", move || told.borrow().clone(), opened).await? {
        Some(buses) => Ok(Some((buses?, process))),
        None => Ok(None),
    }
}

async fn serve(settings: Settings, buses: &mut Buses, process: Option<Process>) -> anyhow::Result<()> {
    let mut process = match process {
        Some(process) => process,
        None => start(&settings).await?,
    };
    let record = settings.statistics.database_url.clone();
    let catalogue = settings.shared.catalogue();

    let datagen = Datagen::build(settings.datagen, process.context(buses.of(Datagen::NAME), catalogue.clone())).await?;
    let distributor =
        Distributor::build(settings.distributor, process.context(buses.of(Distributor::NAME), catalogue.clone()))
            .await?;
    let processor =
        Processor::build(settings.processor, process.context(buses.of(Processor::NAME), catalogue.clone())).await?;
    let statistics =
        Statistics::build(settings.statistics, process.context(buses.of(Statistics::NAME), catalogue.clone())).await?;
    // Alone it would wait for whoever has the file; whoever starts a whole system by hand wants to know at once.
    statistics.open_now().await.context("cannot keep the record (DATABASE_URL)")?;
    welcome(&settings.shared, record.path(), process.address()?);

    // One door: what datagen serves, and in place of what it would forward, what statistics serves.
    let router = datagen.router_beside(statistics.router());
    // They all stop together: what one of them did not get to do or to hear waits on the bus for the next start.
    process.run(datagen);
    process.run(distributor);
    process.run(processor);
    process.run(statistics);
    process.serve(router).await
}
