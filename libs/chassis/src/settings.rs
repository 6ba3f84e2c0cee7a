//! The settings that every service has.

use std::{fmt, net::SocketAddr, str::FromStr};

use bus::amqp::Address;
use serde::Deserialize;

use crate::{
    config::{ByteSize, NotAllowed, Span},
    telemetry::LogFormat,
};

/// The largest `MAX_EVENT_BYTES`: RabbitMQ 4 closes the channel, and all that is on the way in it, at a
/// message of 16 MiB ([`max_message_size`](https://www.rabbitmq.com/docs/limits)); the rest is for headers.
const MAX_MAX_EVENT_BYTES: u64 = 15 * 1024 * 1024;
const MIN_MAX_EVENT_BYTES: u64 = 1024;

/// Settings of every service, each one variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `QUEUE_URL`: where the bus is.
    pub queue_url: QueueUrl,
    /// `EXCHANGE`: the topic exchange, which also names every queue.
    pub exchange: ExchangeName,
    /// `LISTEN`: where HTTP is served; each service has its own default.
    pub listen: Option<SocketAddr>,
    /// `MAX_EVENT_BYTES`: the longest event, as serialised.
    pub max_event_bytes: MaxEventBytes,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `SHUTDOWN_GRACE`: how long what is in flight may take to end after SIGTERM.
    pub shutdown_grace: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_url: QueueUrl::default(),
            exchange: ExchangeName("ebs".to_owned()),
            listen: None,
            max_event_bytes: MaxEventBytes(ByteSize::mib(4)),
            log_format: LogFormat::default(),
            shutdown_grace: Span::seconds(25),
        }
    }
}

/// Where the bus is: the address of a broker.
#[derive(Clone, Debug)]
pub struct QueueUrl(pub Address);

impl Default for QueueUrl {
    fn default() -> Self {
        Self(Address::parse("localhost:5672").expect("a host and a port is an address"))
    }
}

impl FromStr for QueueUrl {
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

crate::deserialize_by_parsing!(QueueUrl, ExchangeName, MaxEventBytes);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::load_from;

    fn load(name: &str, value: &str) -> Result<Settings, String> {
        load_from([(name.to_owned(), value.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plain_host_and_port_is_a_broker() {
        let settings = load("QUEUE_URL", "broker:5673").unwrap();
        assert_eq!(settings.queue_url.0.to_string(), "amqp://broker:5673//");
    }

    #[test]
    fn a_lone_service_refuses_the_embedded_bus_and_says_why() {
        let error = load("QUEUE_URL", "embedded:bus.db").unwrap_err();
        assert!(error.contains("QUEUE_URL") && error.contains("lone service"), "{error}");
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
