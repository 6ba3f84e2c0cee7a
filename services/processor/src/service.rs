//! How a processor is wired.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bus::{
    Slots, WorkQueue,
    events::{OperationName, TaskFinished, TaskStarted},
};
use chassis::{Context, Service, config::ConfigError};
use operations::Catalogue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{config::Config, on_task_created::OnTaskCreated};

/// How often executing a task is tried.
const MAX_ATTEMPTS: u32 = 5;

/// How many more tasks are held while they take next to no time, so that many wait together to be confirmed; with
/// `MAX_EVENT_BYTES` it bounds the memory, 384 MiB of parts as they came.
const BURST: u16 = 96;

/// The service.
pub struct Processor {
    config: Config,
    context: Context,
    catalogue: Catalogue,
}

impl Service for Processor {
    const NAME: &'static str = "processor";
    const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8004);
    type Config = Config;

    async fn build(config: Config, context: Context) -> anyhow::Result<Self> {
        let mut catalogue = Catalogue::built_in();
        if let Some(names) = &config.operations {
            catalogue = catalogue
                .only(names.iter())
                .map_err(|error| ConfigError::not_allowed("OPERATIONS", &names.to_string(), &error.to_string()))?;
        }
        Ok(Self { config, context, catalogue })
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Context { bus, grace } = self.context;
        let concurrency = u16::try_from(self.config.concurrency.get())?;
        info!(
            processor = self.config.processor,
            concurrency,
            operations = self.catalogue.names().collect::<Vec<_>>().join(","),
            "offers its operations"
        );
        // One bound for all operations together.
        let slots = Slots::new(concurrency);
        let mut queues = JoinSet::new();
        for name in self.catalogue.names() {
            let name: OperationName = name.parse()?;
            bus.ensure::<TaskStarted>(&name).await;
            bus.ensure::<TaskFinished>(&name).await;
            let tasks = WorkQueue {
                queue: bus.topology().processor(&name),
                slots: slots.clone(),
                // Half of them execute while the others wait to be confirmed. Not more: what is held here counts
                // against every task in it when this process crashes, and other processors do not get it.
                prefetch: concurrency * 2,
                burst: BURST,
                max_attempts: MAX_ATTEMPTS,
                grace,
            };
            let handler = OnTaskCreated {
                bus: bus.clone(),
                operation: self.catalogue.get(name.as_str())?,
                process_time: self.config.process_time,
                processor: self.config.processor.clone(),
            };
            queues.spawn(tasks.run(bus.clone(), Arc::new(handler), shutdown.clone()));
        }
        while let Some(ended) = queues.join_next().await {
            ended?;
        }
        Ok(())
    }
}
