//! How a processor is wired.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use bus::{
    Slots, WorkQueue,
    events::{OperationName, TaskFinished, TaskStarted},
};
use chassis::{
    Context, Service,
    config::{ConfigError, Names},
};
use operations::{Catalogue, Execution};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{command, config::Config, execute::Executor, on_task_created::OnTaskCreated, stuck::Stuck};

/// How many more tasks are held while they take next to no time, so that many wait together to be confirmed. Of long ones
/// the bus delivers fewer: [`bus::MAX_HELD_BYTES`] bounds the memory.
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
        let catalogue = offered(&context.catalogue, config.operations.as_ref())?;
        if config.process_time.high() >= config.task_timeout.get() {
            let allowed = "expected less than TASK_TIMEOUT, or no task would ever end";
            return Err(ConfigError::not_allowed("PROCESS_TIME", &config.process_time.to_string(), allowed).into());
        }
        Ok(Self { config, context, catalogue })
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Context { bus, grace, .. } = self.context;
        let concurrency = u16::try_from(self.config.concurrency.get())?;
        info!(
            processor = self.config.processor,
            concurrency,
            operations = self.catalogue.names().collect::<Vec<_>>().join(","),
            "offers its operations"
        );
        // One bound for all operations together.
        let slots = Slots::new(concurrency);
        let stuck = Arc::new(Stuck::new(concurrency));
        let executor = Arc::new(Executor {
            process_time: self.config.process_time,
            limit: self.config.task_timeout.get(),
            stuck: Arc::clone(&stuck),
        });
        let max_attempts = u32::try_from(self.config.max_attempts.get())?;
        // Ends the queues, for whatever reason; what is in the handlers is brought to its end.
        let stop = shutdown.child_token();
        let mut queues = JoinSet::new();
        for name in self.catalogue.names() {
            let name: OperationName = name.parse()?;
            let ensured = async {
                bus.ensure::<TaskStarted>(&name).await;
                bus.ensure::<TaskFinished>(&name).await;
            };
            if stop.run_until_cancelled(ensured).await.is_none() {
                break;
            }
            let tasks = WorkQueue {
                queue: bus.topology().processor(&name),
                slots: slots.clone(),
                // Half of them execute while the others wait to be confirmed. Not more: what is held here counts
                // against every task in it when this process crashes, and other processors do not get it.
                prefetch: concurrency * 2,
                burst: BURST,
                max_attempts,
                grace,
            };
            let handler = OnTaskCreated {
                bus: bus.clone(),
                operation: self.catalogue.get(name.as_str())?,
                executor: Arc::clone(&executor),
                max_attempts,
                processor: self.config.processor.clone(),
            };
            queues.spawn(tasks.run(bus.clone(), Arc::new(handler), stop.clone()));
        }
        let all_ended = async {
            while let Some(ended) = queues.join_next().await {
                ended?;
            }
            anyhow::Ok(())
        };
        let mut all_ended = pin!(all_ended);
        tokio::select! {
            ended = &mut all_ended => ended,
            too_many = stuck.too_many() => {
                // The next attempts of those that were given up are on their way.
                stop.cancel();
                all_ended.await?;
                Err(too_many)
            }
        }
    }
}

/// What it offers of what there is: what it is told to, or whatever is offered unasked.
fn offered(all: &Catalogue, names: Option<&Names>) -> Result<Catalogue, ConfigError> {
    let not_allowed = |reason: String| {
        let value = names.map(Names::to_string).unwrap_or_default();
        ConfigError::not_allowed("OPERATIONS", &value, &reason)
    };
    let offered = match names {
        None => all.clone().offered_unasked(),
        Some(names) => all.only(names.iter()).map_err(|error| not_allowed(error.to_string()))?,
    };
    for operation in offered.iter() {
        let (name, expected) = (operation.name(), "expected operations that can be executed here");
        match operation.execution() {
            Execution::Elsewhere => return Err(not_allowed(format!("{name} is external; {expected}"))),
            Execution::Command(command) if command::find(command).is_none() => {
                return Err(not_allowed(format!("there is no program {:?}, for {name}; {expected}", command.program)));
            }
            Execution::Command(_) | Execution::Here => {}
        }
    }
    Ok(offered)
}
