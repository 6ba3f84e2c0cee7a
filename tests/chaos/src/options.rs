//! What to run.

use clap::{Parser, ValueEnum};

/// Runs the whole system as real processes, lets go wrong what can go wrong, and then checks that nothing was lost, nothing
/// was counted twice and nothing hangs. See tests/chaos/README.md.
#[derive(Clone, Debug, Parser)]
#[command(name = "chaos", version, args_override_self = true)]
pub struct Options {
    /// For how long faults are injected, on each transport; less than 60 may not suffice for one of each kind
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub seconds: u64,
    /// What happens and when follows from it; a fresh one each time, unless it is given
    #[arg(long)]
    pub seed: Option<u64>,
    /// What the system runs over
    #[arg(long, value_enum, default_value_t = Over::Both)]
    pub transport: Over,
    /// How many objects the clients submit a second, at most
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rate: u64,
    /// `RUST_LOG` of the processes
    #[arg(long, default_value = "info")]
    pub log: String,
    /// Breaks a rule, which a build with the feature `break-rules` can: the run succeeds if the damage is noticed
    #[arg(long = "break", value_enum, value_name = "RULE")]
    pub breaks: Option<Rule>,
}

/// One transport or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// Four services over RabbitMQ.
    Rabbitmq,
    /// `ebs` on the embedded bus.
    Embedded,
    /// One after the other.
    Both,
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Four services over RabbitMQ.
    Rabbitmq,
    /// `ebs` on the embedded bus.
    Embedded,
}

/// A rule that the promises rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rule {
    /// statistics acknowledges before it commits
    AcknowledgeBeforeCommit,
    /// Publishing succeeds before it is confirmed
    ConfirmNotAwaited,
    /// A task that finishes again counts again
    MergeNotAJoin,
}

impl Over {
    /// What it stands for.
    pub fn transports(self) -> &'static [Transport] {
        match self {
            Self::Rabbitmq => &[Transport::Rabbitmq],
            Self::Embedded => &[Transport::Embedded],
            Self::Both => &[Transport::Rabbitmq, Transport::Embedded],
        }
    }
}

impl Transport {
    /// As it is said on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rabbitmq => "rabbitmq",
            Self::Embedded => "embedded",
        }
    }
}

impl Rule {
    /// As `EBS_BREAK` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeCommit => "acknowledge-before-commit",
            Self::ConfirmNotAwaited => "confirm-not-awaited",
            Self::MergeNotAJoin => "merge-not-a-join",
        }
    }
}
