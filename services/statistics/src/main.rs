//! statistics as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::main::<statistics::Statistics>()
}
