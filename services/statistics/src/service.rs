//! All wiring: what statistics is made of, and who tells whom.

use std::{
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bus::{Batches, Bus};
use chassis::{Context, Service, http::Readiness};
use operations::Catalogue;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{Config, DatabasePath},
    health::Health,
    http::{self, Api},
    line,
    on_events::OnEvents,
    outbox::Outbox,
    rates::Rates,
    record::Record,
    waiters::Waiters,
};

/// One transaction, and so one fsync, for so many events; more would only make it later.
const MAX_BATCH_EVENTS: u16 = 500;
/// A transaction holds several times this in memory.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long an event waits for others to share its transaction.
const MAX_BATCH_WAIT: Duration = Duration::from_millis(20);
/// How long a pause ends a small batch.
const MAX_BATCH_PAUSE: Duration = Duration::from_millis(4);
/// How often it is tried to become the owner of the file.
const OWNER_RETRY: Duration = Duration::from_secs(1);

/// The service.
pub struct Statistics {
    database: DatabasePath,
    bus: Bus,
    grace: Duration,
    health: Arc<Health>,
    record: Arc<OnceLock<Arc<Record>>>,
    waiters: Arc<Waiters>,
    rates: Arc<Rates>,
}

impl Service for Statistics {
    const NAME: &'static str = "statistics";
    const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8002);
    type Config = Config;

    async fn build(config: Config, context: Context) -> anyhow::Result<Self> {
        Ok(Self {
            database: config.database_url,
            bus: context.bus,
            grace: context.grace,
            health: Arc::default(),
            record: Arc::default(),
            waiters: Arc::default(),
            rates: Arc::default(),
        })
    }

    fn router(&self) -> axum::Router {
        http::router(Api {
            record: Arc::clone(&self.record),
            waiters: Arc::clone(&self.waiters),
            rates: Arc::clone(&self.rates),
        })
    }

    fn readiness(&self) -> Readiness {
        let health = Arc::clone(&self.health);
        Readiness::new().check("database", move || health.check())
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        // Whoever waits for an object is answered at once, or the server would wait for them.
        let waiters = Arc::clone(&self.waiters);
        let answer = async {
            shutdown.cancelled().await;
            waiters.close();
            pending().await
        };
        let work = async {
            match shutdown.run_until_cancelled(self.open()).await {
                Some(record) => self.work(record?, &shutdown).await,
                None => Ok(()),
            }
        };
        tokio::select! {
            ended = work => ended,
            () = answer => Ok(()),
        }
    }
}

impl Statistics {
    /// Opens the record now, for a process that would rather not run than wait for whoever owns it.
    ///
    /// # Errors
    /// If another process owns it, or it cannot be opened.
    pub async fn open_now(&self) -> anyhow::Result<()> {
        let path = self.database.path();
        match Record::try_open(path, Catalogue::built_in()).await? {
            Some(record) => self.opened(record),
            None => bail!("another process owns {}", path.display()),
        };
        Ok(())
    }

    fn opened(&self, record: Record) -> Arc<Record> {
        info!("the record is {}", self.database.path().display());
        self.health.well();
        Arc::clone(self.record.get_or_init(|| Arc::new(record)))
    }

    /// Opens the record, as soon as no other process owns it.
    async fn open(&self) -> anyhow::Result<Arc<Record>> {
        if let Some(record) = self.record.get() {
            return Ok(Arc::clone(record));
        }
        let path = self.database.path();
        let mut waiting = false;
        loop {
            if let Some(record) = Record::try_open(path, Catalogue::built_in()).await? {
                return Ok(self.opened(record));
            }
            if !waiting {
                let reason = format!("waiting: another process owns {}", path.display());
                warn!("{reason}");
                self.health.ill(reason);
                waiting = true;
            }
            sleep(OWNER_RETRY).await;
        }
    }

    /// Merges and announces until `shutdown`.
    async fn work(&self, record: Arc<Record>, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let outbox = Arc::new(Notify::new());
        let (changed, changes) = watch::channel(());
        let followers_end = CancellationToken::new();
        let announcing = Outbox { record: Arc::clone(&record), announce: self.bus.clone(), news: Arc::clone(&outbox) };
        let handler = OnEvents {
            record: Arc::clone(&record),
            health: Arc::clone(&self.health),
            waiters: Arc::clone(&self.waiters),
            outbox,
            changed: changed.clone(),
            rates: Arc::clone(&self.rates),
        };
        let (batches, bus, end) = (self.batches(), self.bus.clone(), shutdown.clone());
        let mut consuming = tokio::spawn(async move { batches.run(bus, &handler, end).await });
        let mut announcing = tokio::spawn(announcing.run(followers_end.clone()));
        let mut printing = tokio::spawn(line::print(Arc::clone(&record), changes, followers_end.clone()));
        tokio::select! {
            ended = &mut consuming => ended.context("consuming failed")?,
            ended = &mut announcing => bail!("announcing stopped: {ended:?}"),
            ended = &mut printing => bail!("printing stopped: {ended:?}"),
        }
        // Only now: they tell of the last batch, too.
        followers_end.cancel();
        announcing.await.context("announcing failed")?;
        printing.await.context("printing failed")?;
        drop(changed);
        record.close().await;
        Ok(())
    }

    fn batches(&self) -> Batches {
        let topology = self.bus.topology();
        Batches {
            queue: topology.statistics(),
            owner: topology.statistics_owner(),
            max_events: MAX_BATCH_EVENTS,
            max_bytes: MAX_BATCH_BYTES,
            max_wait: MAX_BATCH_WAIT,
            max_pause: MAX_BATCH_PAUSE,
            grace: self.grace,
        }
    }
}
