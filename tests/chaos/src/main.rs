//! The whole system as real processes, under random faults, and whether it kept its promises: nothing lost, nothing twice,
//! nothing hangs. `make chaos` runs it; README.md says what it does, and which fault is shown by which test.
//!
//! `plan` says what goes wrong and when, `work` what is submitted: both are data that follow from the seed. `stage` is what
//! runs, `clients` submit, `rest` waits until everything is done, `checker` compares.

mod checker;
mod clients;
mod follower;
mod ledger;
mod member;
mod options;
mod plan;
mod record;
mod report;
mod rest;
mod run;
mod stage;
mod tally;
mod victims;
mod work;

use std::process::ExitCode;

use clap::Parser;

use self::options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("seed {seed}: --seed {seed} plans the same again");
    let mut well = true;
    for transport in options.transport.transports() {
        let run = tokio::select! {
            run = run::run(*transport, seed, &options) => run,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        };
        match run {
            Ok(is_well) => well &= is_well,
            Err(error) => {
                println!("FAILED over {}: {error:#}", transport.name());
                well = false;
            }
        }
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
