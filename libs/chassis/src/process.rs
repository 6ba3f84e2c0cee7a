//! A process: it serves HTTP and runs one service or several, until a signal, or until one of them fails.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use axum::Router;
use bus::Bus;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::JoinMap};
use tracing::{error, info, warn};

use crate::{
    config::{ConfigError, EXIT_CONFIG},
    http::{self, Limits, Readiness},
    metrics::{self, Metrics},
    service::{Context, Service},
    shutdown,
};

/// A process that hears signals, measures, and listens, but does not serve yet.
pub struct Process {
    name: &'static str,
    grace: Duration,
    shutdown: CancellationToken,
    metrics: Metrics,
    listener: TcpListener,
    readiness: Readiness,
    buses: Vec<Bus>,
    services: JoinMap<&'static str, anyhow::Result<()>>,
}

impl Process {
    /// Begins to be the process `name`, which listens on `listen` and may take `grace` to stop.
    ///
    /// # Errors
    /// If it cannot listen there, or hear signals, or measure.
    pub async fn start(name: &'static str, listen: SocketAddr, grace: Duration) -> anyhow::Result<Self> {
        let shutdown = shutdown::on_signals().context("cannot hear signals")?;
        let metrics = metrics::install(name, env!("CARGO_PKG_VERSION"))?;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}: stop what listens there, or set LISTEN to another address")
        })?;
        Ok(Self {
            name,
            grace,
            shutdown,
            metrics,
            listener,
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
    pub fn context(&mut self, bus: Bus) -> Context {
        self.buses.push(bus.clone());
        Context { bus, grace: self.grace }
    }

    /// Runs a service. From now on the process is ready only as long as the service is, and ends if the service does.
    pub fn run<S: Service>(&mut self, service: S) {
        self.readiness = std::mem::take(&mut self.readiness).and(service.readiness());
        self.services.spawn(S::NAME, service.run(self.shutdown.clone()));
    }

    /// Serves until it is told to stop, or a service or a bus fails; returns when the services have ended.
    ///
    /// # Errors
    /// Why it ended, if nobody told it to.
    pub async fn serve(self, router: Router) -> anyhow::Result<()> {
        let Self { name, grace, shutdown, metrics, listener, readiness, buses, services } = self;
        let mut failed = buses.iter().map(Bus::failed).collect::<FuturesUnordered<_>>();
        let checked = buses.clone();
        let readiness = Readiness::new().check("bus", move || checked.iter().try_for_each(Bus::status)).and(readiness);
        let router = http::operational(router, readiness, metrics.clone());
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
    let bad_setting = error.downcast_ref::<ConfigError>().is_some();
    if bad_setting { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
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
