//! How a distributor is wired.

use std::{net::SocketAddr, sync::Arc};

use bus::{
    Slots, WorkQueue,
    events::{OperationName, TaskCreated},
};
use chassis::{Context, Service};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::on_object_created::OnObjectCreated;

/// How many objects are split at a time: one while the other is read.
const CONCURRENCY: u16 = 2;
/// How many objects are held here, so that the next one is there when one is done.
const PREFETCH: u16 = 8;
/// How many more while they are split in no time, so that many wait together to be confirmed. Of long ones the bus delivers
/// fewer: [`bus::MAX_HELD_BYTES`] bounds the memory, here and above.
const BURST: u16 = 64;
/// How often splitting an object is tried.
const MAX_ATTEMPTS: u32 = 5;

/// The service.
pub struct Distributor {
    context: Context,
}

/// It has no settings of its own.
#[derive(Debug, Deserialize)]
pub struct Config {}

impl Service for Distributor {
    const NAME: &'static str = "distributor";
    const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8003);
    type Config = Config;

    async fn build(_config: Config, context: Context) -> anyhow::Result<Self> {
        Ok(Self { context })
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Context { bus, catalogue, grace } = self.context;
        for name in catalogue.names() {
            let operation: OperationName = name.parse()?;
            if shutdown.run_until_cancelled(bus.ensure::<TaskCreated>(&operation)).await.is_none() {
                return Ok(());
            }
        }
        let objects = WorkQueue {
            queue: bus.topology().distributor(),
            slots: Slots::new(CONCURRENCY),
            prefetch: PREFETCH,
            burst: BURST,
            max_attempts: MAX_ATTEMPTS,
            grace,
        };
        let handler = OnObjectCreated { bus: bus.clone(), catalogue };
        objects.run(bus, Arc::new(handler), shutdown).await;
        Ok(())
    }
}
