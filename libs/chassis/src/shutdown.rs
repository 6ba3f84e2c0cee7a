//! SIGTERM and SIGINT as a token that everybody can wait for.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the shell makes of a process that a signal ended: 128 and the signal's number.
const EXIT_BY_SIGNAL: i32 = 128;

/// A token that the first SIGTERM (of an orchestrator) or SIGINT (of Ctrl-C) cancels.
///
/// A second one ends the process at once, exit code 143 or 130, for whoever does not want to wait for the grace period:
/// nothing is lost by it, only done again. Watches until the process ends.
///
/// # Errors
/// If the signals cannot be listened for.
///
/// # Panics
/// Outside a tokio runtime.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let (name, _) = signals.next().await;
        tracing::info!(signal = name, "shutting down; the same again ends the process at once");
        cancelled.cancel();
        let (name, number) = signals.next().await;
        tracing::warn!(signal = name, "ended at once");
        std::process::exit(EXIT_BY_SIGNAL + number);
    });
    Ok(token)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Name and number of the next one.
    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
        }
    }
}
