//! The settings that every service has.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use bus::amqp::{Address, read_address};
use operations::Catalogue;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    config::{ByteSize, NotAllowed, OperationsFile, Span, TokenFile, Tokens},
    http::Guard,
    telemetry::{LogFilter, LogFormat},
};

/// The largest `MAX_EVENT_BYTES`: RabbitMQ 4 closes the channel, and all that is on the way in it, at a
/// message of 16 MiB ([`max_message_size`](https://www.rabbitmq.com/docs/limits)); the rest is for headers.
const MAX_MAX_EVENT_BYTES: u64 = 15 * 1024 * 1024;
const MIN_MAX_EVENT_BYTES: u64 = 1024;

/// Settings of every service, each one variable of the environment. `Q` is what may be said about the bus.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, bound(deserialize = "Q: BusUrl"))]
pub struct Settings<Q = BrokerUrl> {
    queue_url: Q,
    queue_url_file: Option<Kept<Q>>,
    /// `EXCHANGE`: the topic exchange, which also names every queue.
    pub exchange: ExchangeName,
    api_token: Option<Tokens>,
    api_token_file: Option<TokenFile>,
    operations_file: Option<OperationsFile>,
    /// `LISTEN`: where HTTP is served; each service has its own default.
    pub listen: Option<SocketAddr>,
    /// `MAX_EVENT_BYTES`: the longest event, as serialised.
    pub max_event_bytes: MaxEventBytes,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `RUST_LOG`.
    pub rust_log: LogFilter,
    /// `SHUTDOWN_GRACE`: how long what is in flight may take to end after SIGTERM.
    pub shutdown_grace: Span,
}

impl<Q: Default> Default for Settings<Q> {
    fn default() -> Self {
        Self {
            queue_url: Q::default(),
            queue_url_file: None,
            exchange: ExchangeName("ebs".to_owned()),
            api_token: None,
            api_token_file: None,
            operations_file: None,
            listen: None,
            max_event_bytes: MaxEventBytes(ByteSize::mib(4)),
            log_format: LogFormat::default(),
            rust_log: LogFilter::default(),
            shutdown_grace: Span::seconds(25),
        }
    }
}

impl<Q> Settings<Q> {
    /// Where the bus is: as `QUEUE_URL_FILE` says, or else `QUEUE_URL`.
    pub fn queue_url(&self) -> &Q {
        self.queue_url_file.as_ref().map_or(&self.queue_url, |Kept(url)| url)
    }

    /// Who may use what is served: `API_TOKEN` and `API_TOKEN_FILE`, or everybody.
    pub fn guard(&self) -> Guard {
        Guard::new(self.api_token.clone(), self.api_token_file.clone())
    }

    /// What can be done to objects: what is built in, and what `OPERATIONS_FILE` declares.
    pub fn catalogue(&self) -> Catalogue {
        self.operations_file.as_ref().map_or_else(Catalogue::built_in, |file| file.catalogue().clone())
    }

    /// What the bus of a service is made with.
    pub fn bus(&self, service: &str) -> bus::Settings {
        bus::Settings {
            exchange: self.exchange.to_string(),
            app: service.to_owned(),
            max_event_bytes: self.max_event_bytes.as_usize(),
        }
    }
}

/// What may be said about the bus.
pub trait BusUrl: FromStr<Err = NotAllowed> + Default + DeserializeOwned {
    /// The same, to be read from `file` again whenever it is needed.
    #[must_use]
    fn kept_in(self, file: PathBuf) -> Self;
}

/// `QUEUE_URL_FILE`: the name of a file in which it stands where the bus is.
#[derive(Clone, Debug)]
struct Kept<Q>(Q);

impl<Q: BusUrl> FromStr for Kept<Q> {
    type Err = NotAllowed;

    fn from_str(file: &str) -> Result<Self, NotAllowed> {
        let file = PathBuf::from(file);
        let text = read_address(&file).map_err(|error| NotAllowed::new(format!("expected a file to read: {error}")))?;
        Ok(Self(text.parse::<Q>()?.kept_in(file)))
    }
}

impl<'de, Q: BusUrl> Deserialize<'de> for Kept<Q> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        file.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the bus is, for a whole system: a file of this process, or a broker.
#[derive(Clone, Debug)]
pub enum QueueUrl {
    /// `embedded:bus.db`: inside this process, durable in this file.
    Embedded(PathBuf),
    /// The address of a broker.
    Broker(Box<Address>),
}

impl Default for QueueUrl {
    fn default() -> Self {
        Self::Embedded(PathBuf::from("bus.db"))
    }
}

impl FromStr for QueueUrl {
    type Err = NotAllowed;

    /// `embedded:bus.db` or, as with `sqlite://`, `embedded://bus.db`; a third slash begins an absolute path.
    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let Some(file) = text.strip_prefix("embedded://").or_else(|| text.strip_prefix("embedded:")) else {
            return match Address::parse(text) {
                Ok(address) => Ok(Self::Broker(Box::new(address))),
                Err(error) => Err(NotAllowed::new(format!("{error}, or a file like embedded:bus.db"))),
            };
        };
        if file.is_empty() || file.ends_with('/') || file.contains(['\0', '?']) {
            // Does not repeat the scheme: a reason that quotes the whole value would be held back, as it may be a secret.
            return Err(NotAllowed::new("expected the name of a file after the colon, like bus.db or /data/bus.db"));
        }
        Ok(Self::Embedded(PathBuf::from(file)))
    }
}

impl BusUrl for QueueUrl {
    fn kept_in(self, file: PathBuf) -> Self {
        match self {
            Self::Broker(address) => Self::Broker(Box::new(address.kept_in(file))),
            embedded @ Self::Embedded(_) => embedded,
        }
    }
}

/// Where the bus is, for a lone service: the address of a broker.
#[derive(Clone, Debug)]
pub struct BrokerUrl(pub Address);

impl Default for BrokerUrl {
    fn default() -> Self {
        Self(Address::parse("localhost:5672").expect("a host and a port is an address"))
    }
}

impl FromStr for BrokerUrl {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        if text.starts_with("embedded:") {
            return Err(NotAllowed::new(
                "expected the address of a broker: an embedded bus lives inside one process, and a lone service \
                 would be alone on it",
            ));
        }
        Address::parse(text).map(Self).map_err(|error| NotAllowed::new(error.to_string()))
    }
}

impl BusUrl for BrokerUrl {
    fn kept_in(self, file: PathBuf) -> Self {
        Self(self.0.kept_in(file))
    }
}

/// A name that fits in front of every queue's: 1 to 64 letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeName(String);

impl FromStr for ExchangeName {
    type Err = NotAllowed;

    fn from_str(name: &str) -> Result<Self, NotAllowed> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if (1..=64).contains(&name.len()) && name.bytes().all(word) && !name.starts_with("amq") {
            Ok(Self(name.to_owned()))
        } else {
            Err(NotAllowed::new(
                "expected 1 to 64 letters, digits, - and _, not beginning with amq, which is the broker's",
            ))
        }
    }
}

impl fmt::Display for ExchangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest event: 1 KiB to 15 MiB.
#[derive(Clone, Copy, Debug)]
pub struct MaxEventBytes(ByteSize);

impl MaxEventBytes {
    /// The bound in bytes.
    pub fn as_usize(self) -> usize {
        self.0.as_usize()
    }
}

impl FromStr for MaxEventBytes {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let size: ByteSize = text.parse()?;
        if (MIN_MAX_EVENT_BYTES..=MAX_MAX_EVENT_BYTES).contains(&size.as_u64()) {
            Ok(Self(size))
        } else {
            Err(NotAllowed::new("expected a size from 1KiB to 15MiB"))
        }
    }
}

crate::deserialize_by_parsing!(QueueUrl, BrokerUrl, ExchangeName, MaxEventBytes);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config::load_from;

    fn load(name: &str, value: &str) -> Result<Settings, String> {
        load_from([(name.to_owned(), value.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plain_host_and_port_is_a_broker() {
        let settings = load("QUEUE_URL", "broker:5673").unwrap();
        assert_eq!(settings.queue_url().0.to_string(), "amqp://broker:5673//");
    }

    #[test]
    fn an_address_in_a_file_wins_and_a_bad_one_is_refused_without_being_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let load = || {
            let both = [("QUEUE_URL", "elsewhere"), ("QUEUE_URL_FILE", file.to_str().unwrap())];
            load_from::<Settings, _>(both.map(|(name, value)| (name.to_owned(), value.to_owned())))
        };
        std::fs::write(&file, "amqp://me:s3cret@broker/v\n").unwrap();
        assert_eq!(load().unwrap().queue_url().0.to_string(), "amqp://broker:5672/v");
        std::fs::write(&file, "http://me:s3cret@broker").unwrap();
        let error = load().unwrap_err().to_string();
        assert!(error.contains("QUEUE_URL_FILE") && error.contains("amqps://") && !error.contains("s3cret"), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(load().unwrap_err().to_string().contains("QUEUE_URL_FILE"));
    }

    #[test]
    fn a_lone_service_refuses_the_embedded_bus_and_says_why() {
        let error = load("QUEUE_URL", "embedded:bus.db").unwrap_err();
        assert!(error.contains("QUEUE_URL") && error.contains("lone service"), "{error}");
    }

    #[test]
    fn a_whole_system_may_have_its_bus_in_a_file() {
        for (text, file) in [
            ("embedded:bus.db", "bus.db"),
            ("embedded://bus.db", "bus.db"),
            ("embedded:/data/bus.db", "/data/bus.db"),
            ("embedded:///data/bus.db", "/data/bus.db"),
        ] {
            assert!(matches!(text.parse(), Ok(QueueUrl::Embedded(path)) if path == Path::new(file)), "{text}");
        }
        assert!(matches!("broker:5673".parse(), Ok(QueueUrl::Broker(_))));
        for text in ["embedded:", "embedded://", "embedded:data/", "http://broker"] {
            let error = text.parse::<QueueUrl>().unwrap_err().to_string();
            assert!(error.contains("bus.db") && !error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn a_bad_address_is_refused_without_its_password() {
        let error = load("QUEUE_URL", "http://me:s3cret@broker").unwrap_err();
        assert!(error.contains("QUEUE_URL") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn bounds_are_named() {
        let error = load("MAX_EVENT_BYTES", "16MiB").unwrap_err();
        assert!(error.contains("16MiB") && error.contains("15MiB"), "{error}");
        assert!(load("EXCHANGE", "a.b").unwrap_err().contains("letters"));
        assert!(load("LISTEN", "nowhere").unwrap_err().contains("LISTEN"));
    }
}
