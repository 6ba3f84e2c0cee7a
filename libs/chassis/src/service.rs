//! One service as a process: settings, logs, bus, HTTP, signals, in this order, and down again.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use axum::Router;
use bus::Bus;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::{self, ConfigError, EXIT_CONFIG},
    healthcheck::healthcheck,
    http::Readiness,
    process::{Process, exit_code},
    settings::Settings,
    telemetry,
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
    telemetry::init(settings.log_format, settings.rust_log.clone());
    let bus = Bus::connect(&settings.queue_url.0, settings.bus(S::NAME));
    let ended = run::<S>(settings, config, bus.clone()).await;
    bus.close().await;
    exit_code(S::NAME, ended)
}

fn load<S: Service>() -> Result<(Settings, S::Config), ConfigError> {
    Ok((config::load()?, config::load()?))
}

async fn run<S: Service>(settings: Settings, config: S::Config, bus: Bus) -> anyhow::Result<()> {
    let listen = settings.listen.unwrap_or(S::LISTEN);
    let mut process = Process::start(S::NAME, listen, settings.shutdown_grace.duration()).await?;
    let service = S::build(config, process.context(bus)).await.with_context(|| format!("cannot start {}", S::NAME))?;
    let router = service.router();
    info!("{} {} listens on http://{listen}, bus at {}", S::NAME, env!("CARGO_PKG_VERSION"), settings.queue_url.0);
    process.run(service);
    process.serve(router).await
}
