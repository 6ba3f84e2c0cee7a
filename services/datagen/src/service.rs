//! How datagen is wired.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{any, get, post},
};
use bus::{
    Bus,
    events::{ObjectCreated, OperationName},
};
use chassis::{Context, Service};
use operations::Catalogue;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    create_object::create_object,
    forward::{Statistics, forward},
    list_operations::list_operations,
};

/// The service.
pub struct Datagen {
    door: Arc<Door>,
    statistics: Statistics,
}

/// What it takes to accept an object.
pub(crate) struct Door {
    pub(crate) bus: Bus,
    pub(crate) catalogue: Catalogue,
    pub(crate) config: Config,
}

impl Service for Datagen {
    const NAME: &'static str = "datagen";
    const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
    type Config = Config;

    async fn build(config: Config, context: Context) -> anyhow::Result<Self> {
        let statistics = Statistics::at(config.statistics_url.0.clone());
        let door = Door { bus: context.bus, catalogue: Catalogue::built_in(), config };
        Ok(Self { door: Arc::new(door), statistics })
    }

    fn router(&self) -> Router {
        self.own_router()
            .route("/api/objects", get(forward).with_state(self.statistics.clone()))
            .route("/api/{*rest}", any(forward).with_state(self.statistics.clone()))
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        for name in self.door.catalogue.names() {
            let operation: OperationName = name.parse()?;
            self.door.bus.ensure::<ObjectCreated>(&operation).await;
        }
        shutdown.cancelled().await;
        Ok(())
    }
}

impl Datagen {
    /// What it serves itself, without what it forwards: for a process that has statistics beside it.
    pub fn own_router(&self) -> Router {
        // As text in JSON a byte may take six: what is longer than the event could be is not even read.
        let longest_body = DefaultBodyLimit::max(self.door.bus.max_event_bytes());
        let create = || post(create_object).layer(longest_body);
        Router::new()
            .route("/objects", create())
            .route("/api/operations", get(list_operations))
            .route("/api/objects", create())
            .with_state(self.door.clone())
    }
}
