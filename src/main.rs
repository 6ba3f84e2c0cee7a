//! # ebs
//!
//! The whole system as one program: [`up`] runs the four services in one process, over a bus in a file or a RabbitMQ. The
//! other [`commands`] ask a system that runs.

mod buses;
mod cli;
mod client;
mod commands;
mod failure;
mod output;
mod progress;
mod settings;
mod time;
mod up;
mod welcome;

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::runtime::run(cli::main())
}
