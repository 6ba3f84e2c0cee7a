//! The runtime that a process lives in.

use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::telemetry::complain;

/// Threads for work that computes: as many as tasks can be executed at a time (`CONCURRENCY`, 1024 at most), as many again
/// that were given up, and some for everything else. They are begun when they are needed.
const MAX_BLOCKING_THREADS: usize = 2 * 1024 + 512;

/// Runs a process' `main` to its end. Threads that still compute then are not waited for: nobody wants what they compute.
pub fn run(main: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Builder::new_multi_thread().enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(main);
    runtime.shutdown_background();
    code
}
