//! How a distributor is wired.

use std::{net::SocketAddr, sync::Arc};

use bus::{
    WorkQueue,
    events::{OperationName, TaskCreated},
};
use chassis::{Context, Service};
use operations::Catalogue;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::on_object_created::OnObjectCreated;

/// How many objects are split at a time: enough to keep the bus busy while each waits for its confirm, and with
/// [`PREFETCH`] times `MAX_EVENT_BYTES` it bounds the memory, 128 MiB of data as it came.
const CONCURRENCY: u16 = 16;
/// How many objects are held here, so that the next one is there when one is done.
const PREFETCH: u16 = 32;

/// The service.
pub struct Distributor {
    context: Context,
    catalogue: Catalogue,
}

/// It has no settings of its own.
#[derive(Debug, Deserialize)]
pub struct Config {}

impl Service for Distributor {
    const NAME: &'static str = "distributor";
    const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8003);
    type Config = Config;

    async fn build(_config: Config, context: Context) -> anyhow::Result<Self> {
        Ok(Self { context, catalogue: Catalogue::built_in() })
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Context { bus, grace } = self.context;
        for name in self.catalogue.names() {
            let operation: OperationName = name.parse()?;
            bus.ensure::<TaskCreated>(&operation).await;
        }
        let objects =
            WorkQueue { queue: bus.topology().distributor(), concurrency: CONCURRENCY, prefetch: PREFETCH, grace };
        let handler = OnObjectCreated { bus: bus.clone(), catalogue: self.catalogue };
        objects.run(bus, Arc::new(handler), shutdown).await;
        Ok(())
    }
}
