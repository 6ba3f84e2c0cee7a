//! All wiring: what statistics is made of, and who tells whom.

use std::{
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bus::{Batches, Bus, Owner};
use chassis::{Context, Service, http::Readiness, process::UnusableData};
use operations::Catalogue;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    backup::{back_up, bring_back},
    config::{Config, DatabasePath, Retention},
    deadlines::{Clock, Deadlines},
    health::Health,
    http::{self, Api, LongAnswers},
    line,
    live::Live,
    on_dead_letters::{OnDeadLetters, measure},
    on_events::{Followers, OnEvents},
    outbox::Outbox,
    rates::Rates,
    record::{OpenError, Record},
    upkeep::Upkeep,
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
/// Dead letters in a batch: few, because each may be as long as a broker carries, and twice as many are held.
const MAX_BATCH_DEAD_LETTERS: u16 = 8;
/// How often it is tried to open the file, when another process owns it or its place cannot be written.
const OPEN_RETRY: Duration = Duration::from_secs(1);

/// The service.
pub struct Statistics {
    database: DatabasePath,
    retention: Retention,
    bus: Bus,
    catalogue: Catalogue,
    grace: Duration,
    health: Arc<Health>,
    record: Arc<OnceLock<Arc<Record>>>,
    waiters: Arc<Waiters>,
    rates: Arc<Rates>,
    /// Told that there is something to publish.
    outbox: Arc<Notify>,
    live: Arc<Live>,
}

impl Service for Statistics {
    const NAME: &'static str = "statistics";
    const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8002);
    type Config = Config;

    async fn build(config: Config, context: Context) -> anyhow::Result<Self> {
        Ok(Self {
            database: config.database_url,
            retention: config.retention,
            bus: context.bus,
            catalogue: context.catalogue,
            grace: context.grace,
            health: Arc::default(),
            record: Arc::default(),
            waiters: Arc::default(),
            rates: Arc::default(),
            outbox: Arc::default(),
            live: Arc::default(),
        })
    }

    fn router(&self) -> OpenApiRouter {
        http::router(Api {
            record: Arc::clone(&self.record),
            waiters: Arc::clone(&self.waiters),
            rates: Arc::clone(&self.rates),
            outbox: Arc::clone(&self.outbox),
            live: Arc::clone(&self.live),
            long_answers: LongAnswers::default(),
        })
    }

    fn readiness(&self) -> Readiness {
        let health = Arc::clone(&self.health);
        Readiness::new().check("database", move || health.check())
    }

    const COMMANDS: &'static [&'static str] = &["backup FILE [--force]", "restore FILE [--force]"];

    async fn command(config: Config, arguments: &[&str]) -> Option<ExitCode> {
        let (command, file, force) = match *arguments {
            [command, file] => (command, Path::new(file), false),
            [command, "--force", file] | [command, file, "--force"] => (command, Path::new(file), true),
            _ => return None,
        };
        let database = config.database_url.path();
        match command {
            "backup" => Some(back_up(database, file, force).await),
            "restore" => Some(bring_back(file, database, force).await),
            _ => None,
        }
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
    /// Opens the record now, for a process that would rather not run than wait for whoever owns it. A place that cannot be
    /// written now, because it has no room for instance, is waited for all the same: by [`Service::run`].
    ///
    /// # Errors
    /// If another process owns it, or it can never be opened.
    pub async fn open_now(&self) -> anyhow::Result<()> {
        match Record::try_open(self.database.path(), self.catalogue.clone()).await {
            Ok(Some(record)) => drop(self.opened(record)),
            Ok(None) => bail!("another process owns {}", self.database.path().display()),
            Err(error @ OpenError::Unavailable { .. }) => self.wait_for(error.to_string()),
            Err(error) => return Err(fatal(error)),
        }
        Ok(())
    }

    fn opened(&self, record: Record) -> Arc<Record> {
        info!("the record is {}", self.database.path().display());
        self.health.well();
        Arc::clone(self.record.get_or_init(|| Arc::new(record)))
    }

    /// Opens the record, as soon as no other process owns it and its place can be written.
    async fn open(&self) -> anyhow::Result<Arc<Record>> {
        if let Some(record) = self.record.get() {
            return Ok(Arc::clone(record));
        }
        let path = self.database.path();
        loop {
            match Record::try_open(path, self.catalogue.clone()).await {
                Ok(Some(record)) => return Ok(self.opened(record)),
                Ok(None) => self.wait_for(format!("another process owns {}", path.display())),
                // Ending would not help: whoever started it would do so again and again.
                Err(error @ OpenError::Unavailable { .. }) => self.wait_for(error.to_string()),
                Err(error) => return Err(fatal(error)),
            }
            sleep(OPEN_RETRY).await;
        }
    }

    /// Says what is waited for, once.
    fn wait_for(&self, reason: String) {
        let reason = format!("waiting: {reason}");
        if self.health.check().as_ref() != Err(&reason) {
            warn!("{reason}");
            self.health.ill(reason);
        }
    }

    /// Merges, announces and judges until `shutdown`.
    async fn work(&self, record: Arc<Record>, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let (changed, changes) = watch::channel(());
        let followers_end = CancellationToken::new();
        let upkeep = Upkeep { record: Arc::clone(&record), retention: self.retention.duration() };
        let deadlines: Arc<Deadlines> = Arc::default();
        let followers = Followers {
            health: Arc::clone(&self.health),
            waiters: Arc::clone(&self.waiters),
            outbox: Arc::clone(&self.outbox),
            changed: changed.clone(),
            rates: Arc::clone(&self.rates),
        };
        measure(&record).await;
        let announcing =
            Outbox { record: Arc::clone(&record), announce: self.bus.clone(), news: Arc::clone(&self.outbox) };
        let clock = Clock { record: Arc::clone(&record), deadlines: Arc::clone(&deadlines), fences: self.bus.clone() };
        let on_dead_letters = OnDeadLetters {
            record: Arc::clone(&record),
            followers: followers.clone(),
            deadlines: Arc::clone(&deadlines),
            topology: self.bus.topology().clone(),
        };
        let on_events = OnEvents { record: Arc::clone(&record), followers, deadlines, live: Arc::clone(&self.live) };

        let (events, dead_letters) = self.batches();
        let (bus, end) = (self.bus.clone(), shutdown.clone());
        let mut consuming = tokio::spawn(async move {
            tokio::join!(
                events.run(bus.clone(), &on_events, end.clone()),
                dead_letters.run(bus, &on_dead_letters, end.clone())
            )
        });
        let mut announcing = tokio::spawn(announcing.run(followers_end.clone()));
        let mut keeping = tokio::spawn(upkeep.run(followers_end.clone()));
        let mut printing = tokio::spawn(line::print(Arc::clone(&record), changes, followers_end.clone()));
        let mut judging = tokio::spawn(clock.run(followers_end.clone()));
        tokio::select! {
            ended = &mut consuming => {
                ended.context("consuming failed")?;
            }
            ended = &mut announcing => bail!("announcing stopped: {ended:?}"),
            ended = &mut keeping => bail!("looking after the record stopped: {ended:?}"),
            ended = &mut printing => bail!("printing stopped: {ended:?}"),
            ended = &mut judging => bail!("judging stopped: {ended:?}"),
        }
        // Only now: they tell of the last batch, too.
        followers_end.cancel();
        announcing.await.context("announcing failed")?;
        printing.await.context("printing failed")?;
        keeping.await.context("looking after the record failed")?;
        judging.await.context("judging failed")?;
        drop(changed);
        record.close().await;
        Ok(())
    }

    /// How the events are consumed, and how the dead letters are: both or none, by one owner.
    fn batches(&self) -> (Batches, Batches) {
        let topology = self.bus.topology();
        let events = Batches {
            queue: topology.statistics(),
            owner: Owner::new(&topology.statistics_owner()),
            max_events: MAX_BATCH_EVENTS,
            max_bytes: MAX_BATCH_BYTES,
            max_wait: MAX_BATCH_WAIT,
            max_pause: MAX_BATCH_PAUSE,
            grace: self.grace,
        };
        let dead_letters =
            Batches { queue: topology.dead_letters(), max_events: MAX_BATCH_DEAD_LETTERS, ..events.clone() };
        (events, dead_letters)
    }
}

/// Why there will be no record, with the exit code that it deserves.
fn fatal(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Unusable { .. } => UnusableData(error.to_string()).into(),
        error => error.into(),
    }
}
