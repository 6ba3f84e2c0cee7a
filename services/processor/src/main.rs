//! The processor as a process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::main::<processor::Processor>().await
}
