//! One service as a process: settings, logs, bus, HTTP, signals, in this order, and down again.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use axum::Router;
use bus::Bus;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    config::{self, ConfigError, EXIT_CONFIG},
    healthcheck::healthcheck,
    http::{self, Limits, Readiness},
    metrics,
    settings::Settings,
    shutdown, telemetry,
};

/// A service: what makes it different from the others.
pub trait Service: Sized + Send + 'static {
    /// Its name, such as `datagen`.
    const NAME: &'static str;

    /// Where it serves HTTP if `LISTEN` does not say.
    const LISTEN: SocketAddr;

    /// Its own settings beside [`Settings`]: a flat struct whose fields all have defaults.
    type Config: DeserializeOwned + Send;

    /// Makes it from its settings. Does not wait for the bus, which may come later.
    fn build(config: Self::Config, context: Context) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// What it serves over HTTP beside health and metrics.
    fn router(&self) -> Router {
        Router::new()
    }

    /// What must hold, beside the bus, for it to do its work.
    fn readiness(&self) -> Readiness {
        Readiness::new()
    }

    /// Works until `shutdown`; then ends or hands back what is in flight, within the grace.
    fn run(self, shutdown: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a service is given.
#[derive(Clone)]
pub struct Context {
    /// The bus.
    pub bus: Bus,
    /// `SHUTDOWN_GRACE`.
    pub grace: Duration,
}

/// The whole `main` of a service: `NAME` runs it, `NAME healthcheck` asks the one that runs whether it is ready.
pub async fn main<S: Service>() -> ExitCode {
    let (settings, config) = match load::<S>() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{}: {error}", S::NAME);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["healthcheck"] => return healthcheck(settings.listen.unwrap_or(S::LISTEN)).await,
        _ => {
            eprintln!("{}: takes no arguments but `healthcheck`; settings are variables of the environment", S::NAME);
            return ExitCode::from(EXIT_CONFIG);
        }
    }
    if let Err(error) = telemetry::init(settings.log_format) {
        eprintln!("{}: {error}", S::NAME);
        return ExitCode::from(EXIT_CONFIG);
    }
    match run::<S>(settings, config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{} ends: {error:#}", S::NAME);
            // A value may turn out to be bad only when it is used.
            if error.downcast_ref::<ConfigError>().is_some() {
                return ExitCode::from(EXIT_CONFIG);
            }
            ExitCode::FAILURE
        }
    }
}

fn load<S: Service>() -> Result<(Settings, S::Config), ConfigError> {
    Ok((config::load()?, config::load()?))
}

async fn run<S: Service>(settings: Settings, config: S::Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signals().context("cannot hear signals")?;
    let metrics = metrics::install(S::NAME, env!("CARGO_PKG_VERSION"))?;
    let listen = settings.listen.unwrap_or(S::LISTEN);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: set LISTEN to another address"))?;
    let bus_settings = bus::Settings {
        exchange: settings.exchange.to_string(),
        app: S::NAME.to_owned(),
        max_event_bytes: settings.max_event_bytes.as_usize(),
    };
    let bus = Bus::connect(&settings.queue_url.0, bus_settings);
    let grace = settings.shutdown_grace.duration();
    let context = Context { bus: bus.clone(), grace };
    let service = S::build(config, context).await.with_context(|| format!("cannot start {}", S::NAME))?;
    let readiness = {
        let bus = bus.clone();
        Readiness::new().check("bus", move || bus.status()).and(service.readiness())
    };
    let router = http::operational(service.router(), readiness, metrics.clone());
    info!("{} {} listens on http://{listen}, bus at {}", S::NAME, env!("CARGO_PKG_VERSION"), settings.queue_url.0);

    let limits = Limits { grace, ..Limits::default() };
    let ended = tokio::select! {
        // All of it ends by `shutdown`; whatever ends before is why the process ends.
        ended = async {
            let service = service.run(shutdown.clone());
            let server = http::serve(listener, router, limits, shutdown.clone());
            let service = async {
                let ended = service.await;
                let unasked = !shutdown.is_cancelled();
                shutdown.cancel();
                match ended {
                    Ok(()) if unasked => Err(anyhow!("{} stopped by itself", S::NAME)),
                    ended => ended,
                }
            };
            tokio::join!(service, server).0
        } => ended,
        reason = bus.failed() => Err(anyhow!("the bus failed: {reason}")),
        () = metrics.keep_up(CancellationToken::new()) => Err(anyhow!("metrics stopped")),
    };
    bus.close().await;
    if ended.is_ok() {
        info!("{} has stopped", S::NAME);
    }
    ended
}
