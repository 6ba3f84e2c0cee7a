//! The way to a broker: its name, a connection, TLS, who it is, and whether it lets us in.

use std::io;

use lapin::{
    Connection, ConnectionProperties, ErrorKind,
    protocol::{
        AMQPClass, AMQPErrorKind, AMQPHardError, AMQPSoftError,
        connection::{AMQPMethod, Start},
        parse_class,
    },
    types::AMQPValue,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use super::{
    super::{
        Address,
        link::{LinkError, connect},
        tls::{Tls, Untrusted},
    },
    Findings, STEP,
};

/// What a broker begins with is some hundred bytes.
const MAX_GREETING_BYTES: u32 = 64 * 1024;
/// Brokers that it is tried with: from the first of these,
const FIRST: (u32, u32) = (3, 10);
/// to the last of this.
const LAST_MAJOR: u32 = 4;

/// Finds the host, and somebody who listens there.
pub(super) async fn reach(address: &Address, found: &mut Findings) -> Option<TcpStream> {
    let authority = address.uri().authority;
    let (host, port) = (authority.host, authority.port);
    let addresses: Vec<_> = match timeout(STEP, lookup_host((host.as_str(), port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let says = format!("the name {host} is not known: {error}");
            found.problem("name", says, "mend the host in QUEUE_URL, or the name service");
            return None;
        }
        Err(_elapsed) => {
            let says = format!("the name service did not answer for {host} within {STEP:?}");
            found.problem("name", says, "look at the name service (/etc/resolv.conf)");
            return None;
        }
    };
    let mut last = "there is no address".to_owned();
    for address in addresses {
        match timeout(STEP, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                found.ok("reach", format!("{host} is {}, and somebody listens at {port}", address.ip()));
                return Some(stream);
            }
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_elapsed) => last = format!("{address}: no answer within {STEP:?}"),
        }
    }
    let advice =
        "start the broker, or mend the host and the port in QUEUE_URL (5672, with TLS 5671), or open the firewall";
    found.problem("reach", format!("nobody is reached at {host}: {last}"), advice);
    None
}

/// Hears who is there: over TLS, if that is what the address says. False if there is no use in going on.
pub(super) async fn greet(address: &Address, stream: TcpStream, found: &mut Findings) -> bool {
    let greeting = match address.tls() {
        None => timeout(STEP, greeting(stream)).await,
        Some(tls) => {
            let host = address.uri().authority.host;
            let stream = match timeout(STEP, secure(stream, tls, &host)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    let advice = "?cacertfile= names the authority that has signed the broker's certificate, \
                                  &server_name_indication= the name that stands in it; the port for TLS is 5671 as a rule";
                    found.problem("tls", error.to_string(), advice);
                    return false;
                }
                Err(_elapsed) => {
                    let says = format!("it was silent for {STEP:?} when TLS was begun");
                    found.problem("tls", says, "is this the port for TLS, 5671?");
                    return false;
                }
            };
            found.ok("tls", "the broker's certificate and name are trusted");
            timeout(STEP, greeting(stream)).await
        }
    };
    match greeting.unwrap_or_else(|_elapsed| Err(io::Error::other(format!("it was silent for {STEP:?}")))) {
        Ok(start) => {
            judge_version(&start, found);
            true
        }
        Err(error) => {
            let advice = match address.tls() {
                None => "is this the broker's port, 5672, or does it want TLS there (amqps://)?",
                Some(_) => "is this the broker's port for TLS, 5671?",
            };
            found.problem("broker", format!("what answers there is no broker: {error}"), advice);
            false
        }
    }
}

async fn secure(stream: TcpStream, tls: &Tls, host: &str) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let secured = tls.connector().map_err(io::Error::from)?.connect_async(name, stream.compat()).await;
    secured.map(|stream| stream.compat()).map_err(|error| Untrusted::handshake(&error).into())
}

/// What a broker says first, to everybody: what it is. lapin keeps it to itself.
async fn greeting(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Start> {
    /// The header of the protocol, version 0-9-1.
    const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
    const METHOD: u8 = 1;
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "it does not speak AMQP 0-9-1");
    stream.write_all(HEADER).await?;
    // Type, channel, length.
    let mut frame = [0; 7];
    stream.read_exact(&mut frame).await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it closed the connection"),
        _ => error,
    })?;
    let length = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
    if frame[0] != METHOD || length > MAX_GREETING_BYTES {
        return Err(strange());
    }
    let mut method = vec![0; length as usize];
    stream.read_exact(&mut method).await?;
    match parse_class(method.as_slice()) {
        Ok((_, AMQPClass::Connection(AMQPMethod::Start(start)))) => Ok(start),
        _ => Err(strange()),
    }
}

fn judge_version(start: &Start, found: &mut Findings) {
    let said = |name: &str| match start.server_properties.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    };
    let (product, version) = (said("product"), said("version"));
    let says = format!("{product} {version}");
    let supported = format!("RabbitMQ {}.{} to {LAST_MAJOR}.x is supported", FIRST.0, FIRST.1);
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (product.as_str(), numbers.next().flatten(), numbers.next().flatten()) {
        ("RabbitMQ", Some(major), Some(minor)) if (major, minor) < FIRST => {
            found.problem("version", format!("{says} is too old"), supported);
        }
        ("RabbitMQ", Some(major), Some(_)) if major <= LAST_MAJOR => found.ok("version", says),
        ("RabbitMQ", ..) => found.warning("version", format!("{says} is newer than what was tried"), supported),
        _ => found.warning("version", format!("{says} was not tried"), supported),
    }
}

/// Says who we are and where we want to.
pub(super) async fn enter(address: &Address, found: &mut Findings) -> Option<Connection> {
    let properties = ConnectionProperties::default().with_connection_name("ebs doctor".into());
    let uri = address.uri();
    let (user, vhost) = (uri.authority.userinfo.username, uri.vhost);
    let error = match timeout(STEP, connect(address, properties)).await {
        Ok(Ok(connection)) => {
            found.ok("user", format!("{user} may come in, to the virtual host {vhost:?}"));
            return Some(connection);
        }
        Ok(Err(error)) => error,
        Err(_elapsed) => {
            let says = format!("{user} was not let in within {STEP:?}");
            found.problem("user", says, "look at the broker: its load, and its log");
            return None;
        }
    };
    match error.kind() {
        ErrorKind::ProtocolError(refused) if *refused.kind() == AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            let advice = format!(
                "mend what stands after the last slash of QUEUE_URL (%2f is the virtual host /), or: rabbitmqctl add_vhost \
                 {vhost}; rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"
            );
            found.problem("vhost", format!("{user} may not use the virtual host {vhost:?}: {error}"), advice);
        }
        ErrorKind::ProtocolError(refused) if *refused.kind() == AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            let advice = "mend the user or the password in QUEUE_URL (guest may come in from the broker's own machine only), \
                          or: rabbitmqctl change_password";
            found.problem("user", format!("{user} is not known, or the password is wrong"), advice);
        }
        _ => {
            let error = LinkError::from(error);
            found.problem("user", format!("{user} was not let in: {error}"), "the broker's log says why");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn verdict(product: &str, version: &str) -> Verdict {
        let mut start = Start::default();
        for (name, value) in [("product", product), ("version", version)] {
            start.server_properties.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let mut found = Findings::default();
        judge_version(&start, &mut found);
        found.0[0].verdict
    }

    #[test]
    fn brokers_are_supported_from_the_first_to_the_last_that_was_tried() {
        for (product, version, expected) in [
            ("RabbitMQ", "3.9.29", Verdict::Problem),
            ("RabbitMQ", "3.10.8", Verdict::Ok),
            ("RabbitMQ", "3.13.7", Verdict::Ok),
            ("RabbitMQ", "4.3.0", Verdict::Ok),
            ("RabbitMQ", "5.0.0", Verdict::Warning),
            ("RabbitMQ", "", Verdict::Warning),
            ("LavinMQ", "2.0.0", Verdict::Warning),
        ] {
            assert_eq!(verdict(product, version), expected, "{product} {version}");
        }
    }
}
