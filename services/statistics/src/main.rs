//! statistics as a process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::main::<statistics::Statistics>().await
}
