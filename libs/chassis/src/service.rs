//! One service as a process: settings, logs, bus, HTTP, signals, in this order, and down again.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use bus::Bus;
use operations::Catalogue;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    config::{self, ConfigError, EXIT_CONFIG},
    healthcheck::healthcheck,
    http::{Elsewhere, Interface, Readiness, document},
    process::{Process, exit_code},
    runtime,
    settings::Settings,
    telemetry,
};

/// The description of a service that serves nothing of its own.
const NOTHING_FOR_USERS: &str = "One service of EBS, for those who run it. What EBS does for its users is documented where they ask for it: at the \
     address of datagen, or of the one process that all services are.";

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

    /// What it serves over HTTP beside health and metrics, and the document of that.
    fn router(&self) -> OpenApiRouter {
        OpenApiRouter::with_openapi(document(&format!("EBS: {}", Self::NAME), NOTHING_FOR_USERS, &[]))
    }

    /// Who documents what its router only passes on.
    fn elsewhere(&self) -> Option<Arc<dyn Elsewhere>> {
        None
    }

    /// What must hold, beside the bus, for it to do its work.
    fn readiness(&self) -> Readiness {
        Readiness::new()
    }

    /// What a lone service can be asked for by its arguments, beside running and `healthcheck`, for the message about others.
    const COMMANDS: &'static [&'static str] = &[];

    /// Does what the arguments say, without running the service; none if they say nothing that it knows.
    fn command(_config: Self::Config, _arguments: &[&str]) -> impl Future<Output = Option<ExitCode>> + Send {
        async { None }
    }

    /// Works until `shutdown`; then ends or hands back what is in flight, within the grace.
    fn run(self, shutdown: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a service is given.
#[derive(Clone)]
pub struct Context {
    /// The bus.
    pub bus: Bus,
    /// What can be done to objects.
    pub catalogue: Catalogue,
    /// `SHUTDOWN_GRACE`.
    pub grace: Duration,
}

/// The whole `main` of a service: `NAME` runs it, `NAME healthcheck` asks the one that runs whether it is ready, and some have
/// [commands](Service::COMMANDS) of their own.
pub fn main<S: Service>() -> ExitCode {
    runtime::run(async_main::<S>())
}

async fn async_main<S: Service>() -> ExitCode {
    let (settings, config) = match load::<S>() {
        Ok(loaded) => loaded,
        Err(error) => {
            telemetry::complain(format_args!("{}: {error}", S::NAME));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["healthcheck"] => return healthcheck(settings.listen.unwrap_or(S::LISTEN)).await,
        ref arguments => {
            let Some(code) = S::command(config, arguments).await else {
                let known: String = S::COMMANDS.iter().map(|command| format!(" or `{command}`")).collect();
                telemetry::complain(format_args!(
                    "{}: takes no arguments but `healthcheck`{known}; settings are variables of the environment",
                    S::NAME
                ));
                return ExitCode::from(EXIT_CONFIG);
            };
            return code;
        }
    }
    telemetry::init(settings.log_format, settings.rust_log.clone());
    let bus = Bus::connect(&settings.queue_url().0, settings.bus(S::NAME));
    let ended = run::<S>(settings, config, bus.clone()).await;
    bus.close().await;
    exit_code(S::NAME, ended)
}

fn load<S: Service>() -> Result<(Settings, S::Config), ConfigError> {
    Ok((config::load()?, config::load()?))
}

async fn run<S: Service>(settings: Settings, config: S::Config, bus: Bus) -> anyhow::Result<()> {
    let listen = settings.listen.unwrap_or(S::LISTEN);
    let mut process = Process::start(S::NAME, listen, settings.guard(), settings.shutdown_grace.duration()).await?;
    let service = S::build(config, process.context(bus, settings.catalogue()))
        .await
        .with_context(|| format!("cannot start {}", S::NAME))?;
    let interface = Interface { router: service.router(), elsewhere: service.elsewhere() };
    info!("{} {} listens on http://{listen}, bus at {}", S::NAME, env!("CARGO_PKG_VERSION"), settings.queue_url().0);
    process.run(service);
    process.serve(interface).await
}
