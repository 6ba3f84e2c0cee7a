//! The buses: one a service, over one transport in this process, or each with connections of its own to a broker.

use std::{
    path::{self, Path},
    sync::Arc,
};

use anyhow::Context;
use bus::{
    Bus, Isolation, Transport,
    amqp::Address,
    embedded::{Embedded, Limits, OpenError},
};
use chassis::{
    process::UnusableData,
    settings::{QueueUrl, Settings},
};
use futures_util::future::join_all;

/// The buses of the services of one process.
pub struct Buses {
    settings: Settings<QueueUrl>,
    way: Way,
    isolation: Isolation,
}

enum Way {
    Embedded(Arc<Embedded>),
    Broker { address: Box<Address>, connected: Vec<Bus> },
}

impl Buses {
    /// Opens the file of the bus. A broker is not waited for.
    ///
    /// # Errors
    /// If the file cannot be used, and what to do then.
    pub async fn open(settings: &Settings<QueueUrl>) -> anyhow::Result<Self> {
        let way = match settings.queue_url() {
            QueueUrl::Embedded(file) => Way::Embedded(Arc::new(open(file).await?)),
            QueueUrl::Broker(address) => Way::Broker { address: address.clone(), connected: Vec::new() },
        };
        Ok(Self { settings: settings.clone(), way, isolation: Isolation::default() })
    }

    /// Whether the file that could not be opened may be later: its disk is full, for instance.
    pub fn may_open_later(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(OpenError::Unavailable { .. }))
    }

    /// The bus of one service.
    pub fn of(&mut self, service: &str) -> Bus {
        let settings = self.settings.bus(service);
        let bus = match &mut self.way {
            Way::Embedded(transport) => Bus::over(transport.clone(), settings),
            Way::Broker { address, connected } => {
                let bus = Bus::connect(address, settings);
                connected.push(bus.clone());
                bus
            }
        };
        bus.beside(self.isolation.clone())
    }

    /// Leaves them all.
    pub async fn close(&self) {
        match &self.way {
            Way::Embedded(transport) => transport.close().await,
            Way::Broker { connected, .. } => {
                join_all(connected.iter().map(Bus::close)).await;
            }
        }
    }
}

async fn open(file: &Path) -> anyhow::Result<Embedded> {
    let opened = Embedded::open(file, Limits::default()).await;
    let advice = match &opened {
        Err(OpenError::InUse { .. }) => "another ebs runs here: stop it, or give this one files of its own",
        _ => "cannot keep the bus",
    };
    let opened = opened.map_err(|error| match error {
        OpenError::Newer { .. } | OpenError::Damaged { .. } | OpenError::Foreign { .. } => {
            anyhow::Error::new(UnusableData(error.to_string()))
        }
        error => error.into(),
    });
    opened.with_context(|| {
        let file = path::absolute(file).unwrap_or_else(|_| file.to_owned());
        format!("{advice} (QUEUE_URL=embedded:{})", file.display())
    })
}
