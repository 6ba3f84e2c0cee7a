//! A process: it serves HTTP and runs one service or several, until a signal, or until one of them fails.

use std::{net::SocketAddr, os::fd::AsFd, pin::pin, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use bus::Bus;
use futures_util::{StreamExt, stream::FuturesUnordered};
use operations::Catalogue;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::JoinMap};
use tracing::{error, info, warn};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    config::{ConfigError, EXIT_CONFIG},
    http::{self, Guard, Interface, Limits, Readiness},
    metrics::{self, Metrics},
    service::{Context, Service},
    shutdown,
};

/// Connections that wait in the kernel while as many as are allowed are served. The usual 128 are fewer than come in a rush, and
/// whoever comes on top may be forgotten without a word.
const BACKLOG: u32 = 1024;

/// The exit code for data that cannot be used: `EX_DATAERR` of BSD's `sysexits.h`.
pub const EXIT_DATA: u8 = 65;

/// A file is not what it should be: damaged, of a newer version, something else. A process that ends with this error has the
/// exit code [`EXIT_DATA`], from which an operator sees that restarting will not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableData(pub String);

/// A process that hears signals, measures, and listens, but does not serve yet.
pub struct Process {
    name: &'static str,
    grace: Duration,
    shutdown: CancellationToken,
    metrics: Metrics,
    listener: TcpListener,
    guard: Guard,
    readiness: Readiness,
    buses: Vec<Bus>,
    services: JoinMap<&'static str, anyhow::Result<()>>,
}

impl Process {
    /// Begins to be the process `name`, which listens on `listen` for those whom `guard` lets in, and may take `grace` to
    /// stop.
    ///
    /// # Errors
    /// If it cannot listen there, or hear signals, or measure.
    pub async fn start(name: &'static str, listen: SocketAddr, guard: Guard, grace: Duration) -> anyhow::Result<Self> {
        let shutdown = shutdown::on_signals().context("cannot hear signals")?;
        let metrics = metrics::install(name, env!("CARGO_PKG_VERSION"))?;
        let listener = bind(listen).with_context(|| {
            format!("cannot listen on {listen}: stop what listens there, or set LISTEN to another address")
        })?;
        Ok(Self {
            name,
            grace,
            shutdown,
            metrics,
            listener,
            guard,
            readiness: Readiness::new(),
            buses: Vec::new(),
            services: JoinMap::new(),
        })
    }

    /// Where it listens: the port, too, if any was asked for.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What a service is given. From now on the process is ready only as long as this bus works.
    pub fn context(&mut self, bus: Bus, catalogue: Catalogue) -> Context {
        self.buses.push(bus.clone());
        Context { bus, catalogue, grace: self.grace }
    }

    /// Runs a service. From now on the process is ready only as long as the service is, and ends if the service does.
    pub fn run<S: Service>(&mut self, service: S) {
        self.readiness = std::mem::take(&mut self.readiness).and(service.readiness());
        self.services.spawn(S::NAME, service.run(self.shutdown.clone()));
    }

    /// Serves health and metrics alone until `coming` completes: not ready, for the reason that `missing` tells under the name
    /// `check`. None if it was told to stop before.
    ///
    /// # Errors
    /// If the system does not let it listen.
    pub async fn not_ready<T>(
        &self,
        check: &'static str,
        missing: impl Fn() -> String + Send + Sync + 'static,
        coming: impl Future<Output = T>,
    ) -> anyhow::Result<Option<T>> {
        /// For requests in flight when it has come: what is served here is answered at once.
        const GRACE: Duration = Duration::from_millis(100);
        // The same socket: whoever connects meanwhile waits for whoever serves next.
        let socket = self.listener.as_fd().try_clone_to_owned().context("cannot share the listener")?;
        let listener = TcpListener::from_std(socket.into()).context("cannot share the listener")?;
        let readiness = Readiness::new().check(check, move || Err(missing()));
        let router = http::operational(OpenApiRouter::default(), readiness, self.metrics.clone());
        let (limits, end) = (Limits { grace: GRACE, ..Limits::default() }, self.shutdown.child_token());
        let mut serving = pin!(http::serve(listener, router, limits, end.clone()));
        tokio::select! {
            come = coming => {
                end.cancel();
                serving.await;
                Ok(Some(come))
            }
            () = &mut serving => Ok(None),
        }
    }

    /// Serves until it is told to stop, or a service or a bus fails; returns when the services have ended. What is in
    /// `router` is behind the guard, all of it; health and metrics are not.
    ///
    /// # Errors
    /// Why it ended, if nobody told it to.
    pub async fn serve(self, interface: impl Into<Interface>) -> anyhow::Result<()> {
        let Self { name, grace, shutdown, metrics, listener, guard, readiness, buses, services } = self;
        let Interface { router, elsewhere } = interface.into();
        if !router.get_openapi().paths.paths.is_empty() {
            say_who_may_enter(&guard, listener.local_addr()?);
        }
        let mut failed = buses.iter().map(Bus::failed).collect::<FuturesUnordered<_>>();
        let checked = buses.clone();
        let readiness = Readiness::new().check("bus", move || checked.iter().try_for_each(Bus::status)).and(readiness);
        let interface = Interface { router: guard.protect(router), elsewhere };
        let router = http::operational(interface, readiness, metrics.clone());
        let limits = Limits { grace, ..Limits::default() };
        let ended = tokio::select! {
            // All of it ends by `shutdown`; whatever ends before is why the process ends.
            (ended, ()) = async {
                tokio::join!(
                    all_ended(services, &shutdown),
                    http::serve(listener, router, limits, shutdown.clone()),
                )
            } => ended,
            Some(reason) = failed.next() => Err(anyhow!("the bus failed: {reason}")),
            () = metrics.keep_up(CancellationToken::new()) => Err(anyhow!("metrics stopped")),
        };
        if ended.is_ok() {
            info!("{name} has stopped");
        }
        ended
    }
}

/// Listens there, at once after another process did, too.
fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// Warns where more people may enter than is meant.
fn say_who_may_enter(guard: &Guard, listen: SocketAddr) {
    if guard.is_open() && !listen.ip().is_loopback() {
        warn!(
            "open to everybody who reaches {listen}: set API_TOKEN or API_TOKEN_FILE, or listen on 127.0.0.1 (LISTEN)"
        );
    }
    if guard.is_weak() {
        warn!("a token of API_TOKEN or API_TOKEN_FILE can be guessed: 16 random letters and digits cannot");
    }
}

/// Waits for all services; the first that ends unasked ends the others. The first error, with the service's name.
async fn all_ended(
    mut services: JoinMap<&'static str, anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut first = Ok(());
    while let Some((name, ended)) = services.join_next().await {
        let ended = match ended {
            Ok(Ok(())) if !shutdown.is_cancelled() => Err(anyhow!("{name} stopped by itself")),
            Ok(ended) => ended.with_context(|| format!("{name} failed")),
            Err(panic) => Err(anyhow!("{name} panicked: {panic}")),
        };
        shutdown.cancel();
        match ended {
            Err(error) if first.is_err() => warn!("{error:#}"),
            ended => first = first.and(ended),
        }
    }
    first
}

/// What a process ends with: says why in its log, unless it was told to.
pub fn exit_code(name: &str, ended: anyhow::Result<()>) -> ExitCode {
    let Err(error) = ended else {
        return ExitCode::SUCCESS;
    };
    error!("{name} ends: {error:#}");
    // A value may turn out to be bad only when it is used.
    if error.downcast_ref::<ConfigError>().is_some() {
        ExitCode::from(EXIT_CONFIG)
    } else if error.downcast_ref::<UnusableData>().is_some() {
        ExitCode::from(EXIT_DATA)
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Two services; one works until it is told to stop.
    async fn told(other: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> anyhow::Result<()> {
        let shutdown = CancellationToken::new();
        let mut services = JoinMap::new();
        let patient = shutdown.clone();
        services.spawn("patient", async move {
            patient.cancelled().await;
            Ok(())
        });
        services.spawn("other", other);
        all_ended(services, &shutdown).await
    }

    #[tokio::test]
    async fn a_service_that_ends_unasked_ends_the_others_and_is_named() {
        let stopped = told(async { Ok(()) }).await.unwrap_err();
        assert_eq!(format!("{stopped:#}"), "other stopped by itself");
        let failed = told(async { Err(anyhow!("no more disk")) }).await.unwrap_err();
        assert_eq!(format!("{failed:#}"), "other failed: no more disk");
        let panicked = told(async { panic!("oh") }).await.unwrap_err();
        assert!(format!("{panicked:#}").starts_with("other panicked"), "{panicked:#}");
    }

    #[tokio::test]
    async fn services_that_were_told_to_stop_end_well() {
        let shutdown = CancellationToken::new();
        let mut services = JoinMap::new();
        let told = shutdown.clone();
        services.spawn("patient", async move {
            told.cancelled().await;
            Ok(())
        });
        shutdown.cancel();
        all_ended(services, &shutdown).await.unwrap();
    }
}
