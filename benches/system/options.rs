//! What to run, and how much of it.

use std::str::FromStr;

use anyhow::{Context, bail};

const USAGE: &str = "\
make bench ARGS='...', or cargo bench --bench system -- ...
  --quick          fewer and smaller rounds: about two minutes, for a first look
  --rounds N       rounds of everything (default 5)
  --objects N      objects of a round over RabbitMQ (default 2000); the other loads follow from it
  --only NAMES     ceiling,services,ebs-rabbitmq,ebs-embedded,merge,embedded-bus,celery (default all)
  --log LEVEL      RUST_LOG of the processes (default warn)
";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The broker alone.
    Ceiling,
    /// Four services over RabbitMQ.
    Services,
    /// `ebs up` over RabbitMQ.
    EbsRabbitmq,
    /// `ebs up` on the embedded bus.
    EbsEmbedded,
    /// The record alone.
    Merge,
    /// The embedded bus alone.
    EmbeddedBus,
    /// The peer.
    Celery,
}

impl FromStr for Contender {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "ceiling" => Self::Ceiling,
            "services" => Self::Services,
            "ebs-rabbitmq" => Self::EbsRabbitmq,
            "ebs-embedded" => Self::EbsEmbedded,
            "merge" => Self::Merge,
            "embedded-bus" => Self::EmbeddedBus,
            "celery" => Self::Celery,
            _ => bail!("there is nothing called {name:?} to measure\n{USAGE}"),
        })
    }
}

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds of everything.
    pub rounds: usize,
    /// Objects of a round of the whole system over RabbitMQ.
    pub objects: usize,
    /// Objects of a round that are submitted one after another.
    pub lone_objects: usize,
    /// `RUST_LOG` of the processes.
    pub log: String,
    only: Vec<Contender>,
}

impl Options {
    /// Reads the arguments.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self { rounds: 5, objects: 2000, lone_objects: 60, log: "warn".to_owned(), only: Vec::new() };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--quick" => (options.rounds, options.objects, options.lone_objects) = (3, 600, 30),
                "--rounds" => options.rounds = value()?.parse::<usize>().context("--rounds")?.max(1),
                "--objects" => options.objects = value()?.parse::<usize>().context("--objects")?.max(100),
                "--only" => options.only = value()?.split(',').map(str::parse).collect::<anyhow::Result<_>>()?,
                "--log" => options.log = value()?,
                // What cargo says to every benchmark.
                "--bench" => {}
                _ => bail!("{arg:?} is not an option\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// Whether it was asked for.
    pub fn wants(&self, contender: Contender) -> bool {
        self.only.is_empty() || self.only.contains(&contender)
    }
}
