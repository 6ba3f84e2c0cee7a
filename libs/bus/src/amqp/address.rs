//! Where the broker is: `QUEUE_URL`.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use lapin::uri::{AMQPScheme, AMQPUri};
use url::{Host, Url};

use super::tls::Tls;

/// Seconds between signs of life, in both directions. The broker's own default is 60; its
/// [documentation](https://www.rabbitmq.com/docs/heartbeats) advises 5 to 20.
const HEARTBEAT_SECONDS: u16 = 10;

/// The longest file with an address, in bytes: a wrong file must not fill the memory.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What may stand after the `?`, as [RabbitMQ's clients](https://www.rabbitmq.com/docs/uri-query-parameters) have it. What
/// is not known is refused: a misspelt `cacertfile` must not mean that others are trusted.
const PARAMETERS: [&str; 10] = [
    "auth_mechanism",
    "cacertfile",
    "certfile",
    "channel_max",
    "connection_timeout",
    "frame_max",
    "heartbeat",
    "keyfile",
    "server_name_indication",
    "verify",
];

/// The address of a broker, with the password that its `Display` and `Debug` never show.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    uri: AMQPUri,
    /// Of an `amqps://` address.
    tls: Option<Tls>,
    /// Where it stands, to be read anew at each connect.
    file: Option<PathBuf>,
}

/// Why a text is not the address of a broker. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a broker ({0}): amqp://user:password@host:5672/%2f, amqps://… or host:port is allowed")]
pub struct InvalidAddress(String);

impl Address {
    /// Reads `amqp://…`, `amqps://…`, or plain `host:port` or `host`, which stand for
    /// `amqp://guest:guest@host:port/%2f`.
    ///
    /// `amqps://` verifies the broker's certificate, always: against the authorities of the system, or against those
    /// in the PEM file `?cacertfile=` alone. `certfile` and `keyfile` are a certificate of one's own for a broker that
    /// asks for one; `server_name_indication` is the name that is expected instead of the host's.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let text = if text.contains("://") {
            text.to_owned()
        } else if text.is_empty() || text.contains(['/', '@', '?', ' ']) {
            return Err(InvalidAddress("no scheme".to_owned()));
        } else {
            format!("amqp://guest:guest@{text}/%2f")
        };
        let url: Url = text.parse().map_err(|error: url::ParseError| InvalidAddress(error.to_string()))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidAddress("no host".to_owned()));
        }
        let mut uri: AMQPUri = text.parse().map_err(InvalidAddress)?;
        // The parser takes only names for hosts, and its default for all else.
        if let Some(Host::Ipv6(address)) = url.host() {
            uri.authority.host = address.to_string();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let tls = tls(&url, &uri)?;
        Ok(Self { uri, tls, file: None })
    }

    /// This address is what was read from `file`: what stands there is read anew at each connect, so that a new password
    /// is used as soon as it is needed.
    #[must_use]
    pub fn kept_in(self, file: PathBuf) -> Self {
        Self { file: Some(file), ..self }
    }

    /// The address as it is now.
    ///
    /// # Errors
    /// If the file that it is kept in cannot be read, or has none.
    pub(super) fn now(&self) -> Result<Self, InvalidAddress> {
        match &self.file {
            None => Ok(self.clone()),
            Some(file) => {
                let text = read_address(file)
                    .map_err(|error| InvalidAddress(format!("the file that it stands in cannot be read: {error}")))?;
                Ok(Self::parse(&text)?.kept_in(file.clone()))
            }
        }
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.uri.clone()
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// Reads a file that holds an address and nothing else; space around it does not count.
///
/// # Errors
/// If it cannot be read, is not UTF-8, or longer than 64 KiB.
pub fn read_address(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 64 KiB"));
    }
    Ok(text.trim().to_owned())
}

/// What the address says about certificates; nothing for one without TLS, which then must not say anything.
fn tls(url: &Url, uri: &AMQPUri) -> Result<Option<Tls>, InvalidAddress> {
    let refused = |reason: String| Err(InvalidAddress(reason));
    let mut tls = Tls::default();
    let (mut certificate, mut key, mut says_something) = (None, None, false);
    for (name, value) in url.query_pairs() {
        let path = || Some(PathBuf::from(value.as_ref()));
        match name.as_ref() {
            "cacertfile" => tls.authorities = path(),
            "certfile" => certificate = path(),
            "keyfile" => key = path(),
            "server_name_indication" => tls.server_name = Some(value.to_string()),
            "verify" if value == "verify_peer" => {}
            "verify" => return refused("verify: the broker is verified, always: verify_peer".to_owned()),
            name if PARAMETERS.contains(&name) => continue,
            _ => return refused(format!("what may stand after the question mark: {}", PARAMETERS.join(", "))),
        }
        if value.is_empty() {
            return refused(format!("{name} is empty"));
        }
        says_something = true;
    }
    tls.identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return refused("certfile and keyfile go together".to_owned()),
    };
    match uri.scheme {
        AMQPScheme::AMQPS => Ok(Some(tls)),
        AMQPScheme::AMQP if says_something => refused("certificates are for amqps://".to_owned()),
        AMQPScheme::AMQP => Ok(None),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}://", self.uri.scheme)?;
        match authority.host.parse::<Ipv6Addr>() {
            Ok(address) => write!(f, "[{address}]")?,
            Err(_) => f.write_str(&authority.host)?,
        }
        write!(f, ":{}/{}", authority.port, self.uri.vhost)
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
    fn the_host_may_be_any_name_or_number() {
        for (text, host, shown) in [
            ("127.0.0.1:5672", "127.0.0.1", "amqp://127.0.0.1:5672//"),
            ("amqp://me:s3cret@[::1]:5673/v", "::1", "amqp://[::1]:5673/v"),
            ("amqps://broker.example/v", "broker.example", "amqps://broker.example:5671/v"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.uri().authority.host, host);
            assert_eq!(address.to_string(), shown);
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
        for text in [
            "",
            "http://me:s3cret@h",
            "user:s3cret@host",
            "amqp://h:notaport",
            "amqp:s3cret://",
            "amqp://me:s3cret@/v",
            "amqp://me:s3cret@h?heartbeat=s3cret",
            "amqps://me:s3cret@h?s3cret=s3cret",
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn certificates_are_named_in_the_address() {
        let text = "amqps://me:s3cret@h/v?cacertfile=/etc/ca%20of%20ours.pem&certfile=a.pem&keyfile=b.pem\
                    &verify=verify_peer&server_name_indication=broker&heartbeat=20";
        let address = Address::parse(text).unwrap();
        let tls = address.tls().unwrap();
        assert_eq!(tls.authorities.as_deref(), Some(Path::new("/etc/ca of ours.pem")));
        assert_eq!(tls.identity, Some(("a.pem".into(), "b.pem".into())));
        assert_eq!(tls.server_name.as_deref(), Some("broker"));
        assert_eq!(address.uri().query.heartbeat, Some(20));
        assert_eq!(Address::parse("amqps://h").unwrap().tls(), Some(&Tls::default()));
        assert_eq!(Address::parse("amqp://h").unwrap().tls(), None);
    }

    #[test]
    fn what_would_weaken_the_verification_is_refused() {
        for (text, told) in [
            ("amqps://h?verify=verify_none", "verify_peer"),
            ("amqps://h?cacertfil=ca.pem", "cacertfile"),
            ("amqps://h?cacertfile=", "empty"),
            ("amqps://h?certfile=a.pem", "keyfile"),
            ("amqp://h?cacertfile=ca.pem", "amqps://"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_in_a_file_is_as_the_file_says_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "amqp://me:old@broker/v\n").unwrap();
        let address = Address::parse(&read_address(&file).unwrap()).unwrap().kept_in(file.clone());
        std::fs::write(&file, " amqp://me:new@broker/v ").unwrap();
        assert_eq!(address.now().unwrap().uri().authority.userinfo.password, "new");
        std::fs::write(&file, "s3cret nonsense").unwrap();
        assert!(!address.now().unwrap_err().to_string().contains("s3cret"));
        std::fs::write(&file, "x".repeat(65_537)).unwrap();
        assert!(read_address(&file).is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(address.now().unwrap_err().to_string().contains("cannot be read"));
    }
}
