//! How datagen is wired.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::DefaultBodyLimit,
    routing::{any, get, post},
};
use bus::events::{ObjectCreated, OperationName, TaskCreated};
use chassis::{
    Context, Service,
    http::{Elsewhere, Readiness, document},
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    add_frequencies::{self, FORM_ENCODED},
    config::Config,
    create_object::{self, create_object},
    delete_frequencies,
    door::{Door, Front},
    forward::{Statistics, forward},
    list_operations,
    record::Record,
};

/// What EBS is and how to begin, for users.
const ABOUT: &str = include_str!("about.md");
const TAGS: [(&str, &str); 3] = [
    ("objects", "What is to be processed, and what became of it."),
    ("operations", "What can be done to objects."),
    ("words", "Counting words, as simply as can be."),
];

/// The service.
pub struct Datagen {
    door: Arc<Door>,
    statistics: Statistics,
}

impl Service for Datagen {
    const NAME: &'static str = "datagen";
    const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
    type Config = Config;

    async fn build(config: Config, context: Context) -> anyhow::Result<Self> {
        let statistics = Statistics::at(config.statistics_url.0.clone());
        let door = Door::new(context.bus, context.catalogue, config)?;
        Ok(Self { door: Arc::new(door), statistics })
    }

    fn router(&self) -> OpenApiRouter {
        self.own_router(Record::Away(Box::new(self.statistics.clone())))
            .route("/api/objects", get(forward).with_state(self.statistics.clone()))
            .route("/api/{*rest}", any(forward).with_state(self.statistics.clone()))
    }

    fn elsewhere(&self) -> Option<Arc<dyn Elsewhere>> {
        Some(Arc::new(self.statistics.clone()))
    }

    fn readiness(&self) -> Readiness {
        let door = self.door.clone();
        Readiness::new().check("backlog", move || door.backlog.known())
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let _stopping = self.door.stopping.clone().drop_guard();
        let Door { bus, catalogue, backlog, .. } = &*self.door;
        let operations = catalogue.names().map(str::parse).collect::<Result<Vec<OperationName>, _>>()?;
        let work = async {
            for operation in &operations {
                bus.ensure::<ObjectCreated>(operation).await;
                // Not because it publishes tasks: a broker is not asked every second for a queue that there is not.
                bus.ensure::<TaskCreated>(operation).await;
            }
            backlog.watch(bus).await
        };
        shutdown.run_until_cancelled(work).await;
        Ok(())
    }
}

impl Datagen {
    /// What it serves in a process that has statistics beside it, which serves `record`: both, and nothing is forwarded.
    pub fn router_beside(&self, record: OpenApiRouter) -> OpenApiRouter {
        self.own_router(Record::Beside(record.clone().into())).merge(record)
    }

    fn own_router(&self, record: Record) -> OpenApiRouter {
        // As text in JSON a byte may take six: what is longer than the event could be is not even read.
        let longest_body = DefaultBodyLimit::max(self.door.bus.max_event_bytes());
        let longest_form = DefaultBodyLimit::max(FORM_ENCODED * self.door.bus.max_event_bytes());
        let mut router = OpenApiRouter::with_openapi(document("EBS", ABOUT, &TAGS))
            .routes(routes!(create_object::create_object).layer(longest_body))
            .route("/objects", post(create_object).layer(longest_body))
            .routes(routes!(list_operations::list_operations))
            .routes(routes!(add_frequencies::add_frequencies).layer(longest_form))
            .routes(routes!(delete_frequencies::delete_frequencies))
            .with_state(Front { door: self.door.clone(), record });
        create_object::may_have_no_body(router.get_openapi_mut());
        router
    }
}
