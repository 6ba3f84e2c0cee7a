//! Prints what travels on the bus: `make flow`, `make asyncapi`.

use clap::{Parser, Subcommand};

/// What travels on the bus, and from whom to whom, from the code
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Who publishes and who consumes what, for people
    Flow,
    /// The same and every event's schema as an AsyncAPI document
    Asyncapi,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let flow = contract::flow().await?;
    match options.command {
        Command::Flow => print!("{flow}"),
        Command::Asyncapi => print!("{}", contract::asyncapi(&flow)?),
    }
    Ok(())
}
