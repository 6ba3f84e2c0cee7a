//! What it costs: one run on one machine, everybody in turn, round after round. See benches/README.md.
//!
//! It checks its own outcome: every object finished, every total exact. A round that is wrong ends the run.

mod ceiling;
mod celery;
mod client;
mod deployment;
mod embedded_bus;
mod figures;
mod latency;
mod machine;
mod merge;
mod options;
mod proc;
mod queues;
mod report;
mod rounds;
mod syncs;
mod whole_system;
mod workload;

use testkit::Broker;

use self::{
    celery::Celery,
    options::{Contender, Options},
    report::Findings,
    rounds::Rounds,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::from_args(std::env::args().skip(1))?;
    let broker = Broker::start().await?;
    let machine = machine::describe(&broker).await?;
    let mut findings = Findings { machine, skipped: Vec::new(), durability: Vec::new() };
    let celery = match options.wants(Contender::Celery) {
        true => Celery::install().await.map_err(|why| findings.skipped.push(format!("Celery ({why})"))).ok(),
        false => None,
    };
    let mut rounds = Rounds::new(&options, &broker, celery);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {} ...", options.rounds);
        rounds.run(round == options.rounds).await?;
    }
    findings.durability = rounds.durability;
    report::print(&options, &findings, &rounds.figures);
    Ok(())
}
