//! # ebs
//!
//! The whole system as one program: [`up`] runs the four services in one process, over a bus in a file or a RabbitMQ.

mod buses;
mod cli;
mod settings;
mod up;
mod welcome;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    cli::main().await
}
