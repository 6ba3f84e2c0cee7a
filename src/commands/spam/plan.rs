//! What is to be submitted: the arguments, checked.

use std::{path::PathBuf, time::Duration};

use chassis::config::ByteSize;
use clap::Args;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::texts::Texts;
use crate::{
    failure::{EXIT_NO_INPUT, Failure},
    time::Time,
};

/// How many objects, if nothing says anything about it.
const DEFAULT_COUNT: u64 = 1000;
/// The fastest that can be asked for; far more than one client can do.
const MAX_RATE: f64 = 100_000.0;
/// What is being submitted at a time may have so many bytes in all, since it is in memory.
const MAX_HELD_BYTES: u64 = 256 << 20;
/// The longest event that a system can be set to take, `MAX_EVENT_BYTES`.
const MAX_SIZE: ByteSize = ByteSize::mib(15);

/// What is submitted, how much of it and how fast.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Texts to submit, a file an object, over and over [default: generated prose, in which words are as frequent as in
    /// natural language]
    #[arg(value_name = "FILE", conflicts_with_all = ["random_strings", "size", "seed"])]
    files: Vec<PathBuf>,
    /// Words of random letters: nearly each is a new one, so that the totals grow and grow
    #[arg(long)]
    random_strings: bool,
    /// How long each text is, like 500 or 64KiB [default: of generated prose 6 to 12 sentences]
    #[arg(long, value_name = "BYTES")]
    size: Option<ByteSize>,
    /// The same number makes the same texts [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How many objects [default: 1000, or each FILE once, or as many as there is time for in --duration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// For how long objects are submitted: seconds, or a time like 5m
    #[arg(long, value_name = "TIME")]
    duration: Option<Time>,
    /// Objects a second, each at its time, however long the ones before take [default: as fast as they are accepted]
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// How many are submitted at a time, at most; 1 to 256, which is as many as a door lets in
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// What is to be done to them: an operation that takes texts, such as nop
    #[arg(long, value_name = "NAME", default_value = "word-frequencies")]
    operation: String,
    /// The operation's parameters, like {"transient":0.1} of flaky
    #[arg(long, value_name = "JSON", value_parser = parameters)]
    parameters: Option<Map<String, Value>>,
    /// Into how many tasks each is split [default: as the system decides]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tasks: Option<u32>,
    /// How long what was accepted may take to finish after the last one was submitted: seconds, or a time; 0 does not wait
    #[arg(long, value_name = "TIME", default_value = "60")]
    wait: Time,
}

/// The arguments, checked and complete.
#[derive(Debug)]
pub struct Plan {
    /// Names this run, in its objects' names and keys.
    pub run: Uuid,
    /// What is submitted.
    pub texts: Texts,
    /// What is done to it.
    pub operation: String,
    /// The operation's parameters.
    pub parameters: Option<Map<String, Value>>,
    /// Into how many tasks.
    pub tasks: Option<u32>,
    /// How many at most.
    pub count: Option<u64>,
    /// For how long at most.
    pub duration: Option<Duration>,
    /// How many a second.
    pub rate: Option<f64>,
    /// How many at a time.
    pub concurrency: u16,
    /// How long to wait for them to finish.
    pub wait: Duration,
}

impl Plan {
    /// Reads the files, and decides what was left open.
    ///
    /// # Errors
    /// What is not allowed, or cannot be read.
    pub fn of(arguments: Arguments) -> Result<Self, Failure> {
        let size = arguments.size.unwrap_or(ByteSize::bytes(1));
        if size < ByteSize::bytes(1) || size > MAX_SIZE {
            return Err(Failure::usage(format!("--size {size}: 1 to {MAX_SIZE} are allowed")));
        }
        let held = size.as_u64() * u64::from(arguments.concurrency);
        if held > MAX_HELD_BYTES {
            let most = ByteSize::bytes(MAX_HELD_BYTES);
            let message = format!("--size times --concurrency: at most {most} are held in memory at a time");
            return Err(Failure::usage(message));
        }
        if arguments.duration.is_some_and(|time| time.duration().is_zero()) {
            return Err(Failure::usage("--duration: 1ms or more is allowed"));
        }
        let size = arguments.size.map(ByteSize::as_usize);
        let seed = || arguments.seed.unwrap_or_else(rand::random);
        let texts = match (arguments.files.as_slice(), arguments.random_strings) {
            ([], false) => Texts::Prose { seed: seed(), size },
            ([], true) => Texts::RandomStrings { seed: seed(), size },
            (files, _) => Texts::read(files).map_err(|reason| Failure::told(EXIT_NO_INPUT, reason))?,
        };
        let count = match (arguments.count, arguments.duration) {
            (None, None) => Some(texts.different().unwrap_or(DEFAULT_COUNT)),
            (count, _) => count,
        };
        Ok(Self {
            run: Uuid::now_v7(),
            texts,
            operation: arguments.operation,
            parameters: arguments.parameters,
            tasks: arguments.tasks,
            count,
            duration: arguments.duration.map(Time::duration),
            rate: arguments.rate,
            concurrency: arguments.concurrency,
            wait: arguments.wait.duration(),
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate >= 0.001 && *rate <= MAX_RATE);
    rate.ok_or_else(|| format!("expected 0.001 to {MAX_RATE} objects a second"))
}

fn parameters(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::FromArgMatches;

    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let command = Arguments::augment_args(clap::Command::new("spam"));
        let words = ["spam"].into_iter().chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let arguments = Arguments::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Plan::of(arguments).map_err(|failure| failure.to_string())
    }

    #[test]
    fn it_ends_by_itself_whatever_is_left_open() {
        assert_eq!(plan("").unwrap().count, Some(DEFAULT_COUNT));
        assert_eq!(plan("--rate 5").unwrap().count, Some(DEFAULT_COUNT));
        assert_eq!(plan("--duration 60").unwrap().count, None);
        assert_eq!(plan("--duration 1m --count 5").unwrap().count, Some(5));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text");
        std::fs::write(&file, "a b").unwrap();
        assert_eq!(plan(&format!("{0} {0}", file.display())).unwrap().count, Some(2));
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_what_is() {
        for (line, told) in [
            ("--rate 0", "0.001"),
            ("--rate nan", "0.001"),
            ("--count 0", "1.."),
            ("--concurrency 257", "256"),
            ("--size 0", "15MiB"),
            ("--size 16MiB", "15MiB"),
            ("--size 15MiB", "256MiB"),
            ("--duration 0", "1ms"),
            ("--duration soon", "5m"),
            ("--parameters []", "JSON object"),
            ("--random-strings a-file", "cannot be used with"),
            ("no/such/file", "no/such/file"),
        ] {
            let error = plan(line).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
