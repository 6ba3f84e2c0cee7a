//! The settings: what all services take from the environment, and the same as flags.

use std::{
    net::SocketAddr,
    path::{self, PathBuf},
};

use chassis::{
    Service,
    config::{ConfigError, Variables, flag_name},
    settings::QueueUrl,
};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use datagen::Datagen;
use distributor::Distributor;
use processor::Processor;
use serde::de::DeserializeOwned;
use statistics::Statistics;

/// Every setting: its variable, its default and its meaning, as `ebs up --help` shows them.
const TABLE: [(&str, &str, &str); 21] = [
    ("QUEUE_URL", "embedded:bus.db", "The bus: embedded:FILE, in this process, or a RabbitMQ: amqp://… or host:port"),
    ("QUEUE_URL_FILE", "none", "A file in which the same stands, read again at each connect; wins over QUEUE_URL"),
    ("DATABASE_URL", "sqlite://stats.db", "The record: a file on a local file system"),
    ("RETENTION", "7d", "How long objects are kept after they have finished; 1s to 3650d"),
    ("LISTEN", "127.0.0.1:8000", "Where HTTP is served"),
    (
        "API_TOKEN_FILE",
        "none",
        "A file with the tokens that open the interface, one a line, read again when it changes",
    ),
    ("EXCHANGE", "ebs", "The topic exchange, and the prefix of every queue"),
    ("DISTRIBUTION_COUNT", "3", "Into how many tasks an object is split that does not say; 1 to 10000"),
    ("OBJECT_DEADLINE", "24h", "The deadline of an object that does not say; 1s to 30d"),
    ("MAX_BACKLOG", "100000", "While more messages than this wait in a queue, no objects are accepted"),
    ("MAX_EVENT_BYTES", "4MiB", "The longest event; up to 15MiB"),
    ("OPERATIONS_FILE", "none", "A file that declares more operations, in TOML"),
    ("OPERATIONS", "all but flaky", "The operations that are executed here: names between commas"),
    ("CONCURRENCY", "cores", "How many tasks are executed at a time; 1 to 1024"),
    ("PROCESS_TIME", "0s", "How long each task takes at least, for demonstrations: 3s, or 3s..5s at random"),
    ("TASK_TIMEOUT", "60s", "How long an attempt of a task may take; 100ms to 8m"),
    ("MAX_ATTEMPTS", "5", "How often a task is tried if another attempt may succeed; 1 to 100"),
    ("PROCESSOR", "host and process", "The processor's name in the record"),
    ("SHUTDOWN_GRACE", "25s", "How long what is in flight may take to end after Ctrl-C or SIGTERM"),
    ("LOG_FORMAT", "text", "How the log looks: text or json"),
    ("RUST_LOG", "info", "What is logged: a level, or a list like info,bus=debug"),
];

/// The settings of the whole system.
pub struct Settings {
    /// What all services have in common.
    pub shared: chassis::settings::Settings<QueueUrl>,
    /// datagen's own.
    pub datagen: <Datagen as Service>::Config,
    /// The distributor's own.
    pub distributor: <Distributor as Service>::Config,
    /// The processor's own.
    pub processor: <Processor as Service>::Config,
    /// Those of statistics.
    pub statistics: <Statistics as Service>::Config,
}

impl Settings {
    /// Reads them from the flags, and from the environment where no flag says anything.
    ///
    /// # Errors
    /// Everything that is not allowed, at once.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::load_from(&flags.over_the_environment()?)
    }

    fn load_from(variables: &Variables) -> Result<Self, ConfigError> {
        let mut bad = None;
        let shared = part(variables, &mut bad);
        let datagen = part(variables, &mut bad);
        let distributor = part(variables, &mut bad);
        let processor = part(variables, &mut bad);
        let statistics = part(variables, &mut bad);
        match (shared, datagen, distributor, processor, statistics, bad) {
            (Some(shared), Some(datagen), Some(distributor), Some(processor), Some(statistics), None) => {
                Self { shared, datagen, distributor, processor, statistics }.with_two_files()
            }
            (.., bad) => Err(bad.expect("a part that is missing has said what is bad")),
        }
    }

    /// Where HTTP is served.
    pub fn listen(&self) -> SocketAddr {
        self.shared.listen.unwrap_or(Datagen::LISTEN)
    }

    fn with_two_files(self) -> Result<Self, ConfigError> {
        let record = self.statistics.database_url.path();
        match self.shared.queue_url() {
            QueueUrl::Embedded(bus) if path::absolute(bus).ok() == path::absolute(record).ok() => {
                let reason = "expected another file than that of the bus, QUEUE_URL";
                Err(ConfigError::not_allowed("DATABASE_URL", &record.display().to_string(), reason))
            }
            _ => Ok(self),
        }
    }
}

/// As much of the settings as can be understood, for whoever looks at what is wrong.
pub struct Parts {
    /// What all services have in common.
    pub shared: Option<chassis::settings::Settings<QueueUrl>>,
    /// The file of the record.
    pub record: Option<PathBuf>,
    /// Everything that is not allowed.
    pub error: Option<ConfigError>,
}

impl Parts {
    /// Reads them as [`Settings::load`] does.
    pub fn of(flags: &Flags) -> Self {
        let variables = match flags.over_the_environment() {
            Ok(variables) => variables,
            Err(error) => return Self { shared: None, record: None, error: Some(error) },
        };
        let statistics = variables.load::<<Statistics as Service>::Config>().ok();
        Self {
            shared: variables.load().ok(),
            record: statistics.map(|statistics| statistics.database_url.path().to_owned()),
            error: Settings::load_from(&variables).err(),
        }
    }
}

/// Whether a URL has something between the colon and the `@` in front of its host.
fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, password)| !password.is_empty()))
}

fn part<T: DeserializeOwned>(variables: &Variables, bad: &mut Option<ConfigError>) -> Option<T> {
    match variables.load() {
        Ok(part) => Some(part),
        Err(error) => {
            *bad = Some(match bad.take() {
                Some(others) => others.and(error),
                None => error,
            });
            None
        }
    }
}

/// The settings that were given as flags: variable and value.
#[derive(Clone, Debug, Default)]
pub struct Flags(Vec<(&'static str, String)>);

impl Flags {
    fn over_the_environment(&self) -> Result<Variables, ConfigError> {
        let mut variables = Variables::of_environment();
        for (variable, value) in &self.0 {
            if *variable == "QUEUE_URL" && has_password(value) {
                let reason = "expected no password in a flag, which everybody on this machine can see: set the variable, or \
                              name a file by --queue-url-file";
                return Err(ConfigError::not_allowed(variable, value, reason));
            }
            variables.set_by_flag(variable, value.clone());
        }
        Ok(variables)
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let command = command
            .next_help_heading("Settings, each also a variable of the environment; a flag wins")
            .max_term_width(120)
            .after_help(
                "API_TOKEN, the tokens that open the interface (between commas; none: open), is a variable only.",
            );
        command.args(TABLE.map(|(variable, default, meaning)| {
            let help = format!("{meaning} [default: {default}]");
            Arg::new(variable).long(flag_name(variable)).value_name(variable).help(help)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            |(variable, ..): (&'static str, &str, &str)| Some((variable, matches.get_one::<String>(variable)?.clone()));
        Ok(Self(TABLE.into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use serde::{
        Deserialize, Deserializer,
        de::{Error, Visitor, value},
        forward_to_deserialize_any,
    };

    use super::*;

    /// Learns which fields a struct reads, and gives it none.
    struct Fields<'a>(&'a mut BTreeSet<String>);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
            Err(value::Error::custom("settings are flat structs"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, value::Error> {
            self.0.extend(fields.iter().map(|field| field.to_uppercase()));
            Err(value::Error::custom("only asked"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields<T: for<'de> Deserialize<'de>>(known: &mut BTreeSet<String>) {
        let before = known.len();
        assert!(T::deserialize(Fields(known)).is_err());
        // The distributor has none of its own.
        assert!(known.len() > before || before > 0);
    }

    /// Those that are no flags: the arguments of a process can be seen by everybody on the machine.
    const ONLY_VARIABLES: [&str; 1] = ["API_TOKEN"];

    #[test]
    fn every_setting_of_every_service_is_a_flag_but_the_address_that_one_process_does_not_need() {
        let mut known = BTreeSet::new();
        fields::<chassis::settings::Settings<QueueUrl>>(&mut known);
        fields::<<Datagen as Service>::Config>(&mut known);
        fields::<<Distributor as Service>::Config>(&mut known);
        fields::<<Processor as Service>::Config>(&mut known);
        fields::<<Statistics as Service>::Config>(&mut known);
        assert!(known.remove("STATISTICS_URL"));
        for variable in ONLY_VARIABLES {
            assert!(known.remove(variable));
        }
        let table: BTreeSet<String> = TABLE.map(|(variable, ..)| variable.to_owned()).into();
        assert_eq!(table, known);
    }

    #[test]
    fn every_setting_stands_in_the_readme() {
        let readme = include_str!("../README.md");
        for variable in TABLE.map(|(variable, ..)| variable).into_iter().chain(ONLY_VARIABLES) {
            assert!(readme.contains(&format!("\n| `{variable}` |")), "{variable}");
        }
    }

    #[test]
    fn a_password_is_no_flag() {
        for (url, has) in [
            ("amqp://me:s3cret@host/v", true),
            ("amqps://:s3cret@host", true),
            ("me:s3cret@host", true),
            ("amqp://me@host/v", false),
            ("amqp://host:5672/a@b:c", false),
            ("host:5672", false),
            ("embedded:/data/bus.db", false),
        ] {
            assert_eq!(has_password(url), has, "{url}");
            let told = Settings::load(&Flags(vec![("QUEUE_URL", url.to_owned())])).err().map(|error| error.to_string());
            assert_eq!(told.as_ref().is_some_and(|told| told.contains("--queue-url-file")), has, "{told:?}");
            assert!(!told.unwrap_or_default().contains("s3cret"));
        }
    }

    #[test]
    fn everything_that_is_bad_is_told_at_once() {
        let bad = ["LISTEN", "DISTRIBUTION_COUNT", "CONCURRENCY", "DATABASE_URL"];
        let variables: Variables = bad.map(|name| (name.to_owned(), "?".to_owned())).into_iter().collect();
        let told = Settings::load_from(&variables).err().unwrap().to_string();
        assert!(bad.iter().all(|name| told.contains(name)), "{told}");
    }

    #[test]
    fn the_bus_and_the_record_are_two_files() {
        let same = [("QUEUE_URL", "embedded:a.db"), ("DATABASE_URL", "sqlite://./a.db")];
        let variables: Variables = same.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let told = Settings::load_from(&variables).err().unwrap().to_string();
        assert!(told.contains("DATABASE_URL") && told.contains("QUEUE_URL"), "{told}");
        assert!(Settings::load_from(&Variables::default()).is_ok());
    }
}
