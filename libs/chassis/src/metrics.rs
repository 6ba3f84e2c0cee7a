//! Prometheus metrics: base units, no ids in labels.
//!
//! Whoever measures uses the `metrics` crate's macros; [`install`] makes them count and `GET /metrics` shows them.

mod requests;

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use requests::count_requests;

/// From what a healthy service takes (a millisecond) to the longest that anybody waits (a minute). In seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// How often samples are folded into their buckets when nobody scrapes; they take memory until then.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The `metrics` crate knows one recorder a process, so that there is one for all services in it.
static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();

/// What has been measured. Clones show the same.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Makes the process measure, and says what it is: `ebs_build_info{service, version}`, `process_start_time_seconds`.
/// Several services in one process may each call it.
///
/// # Errors
/// If something else already measures for this process.
pub fn install(service: &'static str, version: &'static str) -> anyhow::Result<Metrics> {
    let recorder = RECORDER.get_or_init(|| start().map_err(|error| error.to_string()));
    let handle = recorder.clone().map_err(|error| anyhow::anyhow!("cannot measure: {error}"))?;
    metrics::gauge!("ebs_build_info", "service" => service, "version" => version).set(1.0);
    Ok(Metrics { handle })
}

fn start() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)?
        .install_recorder()?;
    metrics::describe_gauge!("ebs_build_info", "Which service this is, and which version of it; always 1.");
    metrics::describe_gauge!("process_start_time_seconds", "When the process started, in seconds since 1970.");
    requests::describe();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!("process_start_time_seconds").set(now.as_secs_f64());
    Ok(handle)
}

impl Metrics {
    /// All of it in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Keeps the memory that samples take bounded when nobody scrapes. Returns when `shutdown` is cancelled.
    pub async fn keep_up(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_some() {
            self.handle.run_upkeep();
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
