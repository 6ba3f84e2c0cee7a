//! Where the broker is: `QUEUE_URL`.

use std::fmt;

use lapin::uri::AMQPUri;

/// Seconds between signs of life, in both directions. The broker's own default is 60; its
/// [documentation](https://www.rabbitmq.com/docs/heartbeats) advises 5 to 20.
const HEARTBEAT_SECONDS: u16 = 10;

/// The address of a broker, with the password that its `Display` and `Debug` never show.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

/// Why a text is not the address of a broker. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a broker ({0}): amqp://user:password@host:5672/%2f, amqps://… or host:port is allowed")]
pub struct InvalidAddress(String);

impl Address {
    /// Reads `amqp://…`, `amqps://…`, or plain `host:port` or `host`, which stand for
    /// `amqp://guest:guest@host:port/%2f`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let url = if text.contains("://") {
            text.to_owned()
        } else if text.is_empty() || text.contains(['/', '@', '?', ' ']) {
            return Err(InvalidAddress("no scheme".to_owned()));
        } else {
            format!("amqp://guest:guest@{text}/%2f")
        };
        let mut uri: AMQPUri = url.parse().map_err(InvalidAddress)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self(uri))
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.0.authority;
        write!(f, "{}://{}:{}/{}", self.0.scheme, authority.host, authority.port, self.0.vhost)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn plain_host_and_port_is_a_broker_with_its_default_user() {
        for text in ["localhost:5672", "localhost", "amqp://guest:guest@localhost:5672/%2f"] {
            let uri = Address::parse(text).unwrap().uri();
            assert_eq!(uri.authority.host, "localhost");
            assert_eq!(uri.authority.port, 5672);
            assert_eq!(uri.authority.userinfo.username, "guest");
            assert_eq!(uri.vhost, "/");
            assert_eq!(uri.query.heartbeat, Some(10));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = Address::parse("amqps://me:s3cret@broker:5671/v").unwrap();
        let shown = format!("{address} {address:?}");
        assert!(shown.contains("amqps://broker:5671/v"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_is_not_an_address_is_refused_without_being_repeated() {
        for text in ["", "http://me:s3cret@h", "user:s3cret@host", "amqp://h:notaport"] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
