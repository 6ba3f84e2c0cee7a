//! What is wrong with a broker, or with the way to it, for people: name, connection, TLS, user, virtual host, version, rights,
//! queues. Nothing is changed there, and nothing takes longer than some seconds.

use std::{io, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties, ErrorKind, Event,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueDeclareOptions,
    },
    protocol::{
        AMQPClass, AMQPErrorKind, AMQPHardError, AMQPSoftError, BasicProperties,
        connection::{AMQPMethod, Start},
        parse_class,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use uuid::Uuid;

use super::{
    Address, declare,
    link::{LinkError, connect},
    tls::{Tls, Untrusted},
};
use crate::{
    events::OperationName,
    topology::{Exchange, ExchangeKind, Queue, QueueKind, RETRY_DELAYS, Topology},
};

/// How long one step may take, such as finding the host.
const STEP: Duration = Duration::from_secs(4);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(15);
/// What a broker begins with is some hundred bytes.
const MAX_GREETING_BYTES: u32 = 64 * 1024;
/// Brokers that it is tried with: from the first of these,
const FIRST: (u32, u32) = (3, 10);
/// to the last of this.
const LAST_MAJOR: u32 = 4;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word.
    pub subject: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen. Never a password.
    pub says: String,
    /// What to do about it, if something is wrong.
    pub advice: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or may, and yet somebody should look at it.
    Warning,
    /// It does not work.
    Problem,
}

/// Looks at a broker as a system around the exchange `exchange` would, with these operations; step by step, up to the first
/// one without which there is no next.
pub async fn examine(address: &Address, exchange: &str, operations: &[OperationName]) -> Vec<Finding> {
    let mut found = Findings::default();
    let topology = Topology::new(exchange);
    if timeout(ALL, steps(address, &topology, operations, &mut found)).await.is_err() {
        let says = format!("it did not answer all questions within {ALL:?}");
        found.problem("broker", says, "look at the broker: its load, its log, whether its queues have leaders");
    }
    found.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, subject: &'static str, says: impl Into<String>) {
        self.add(subject, Verdict::Ok, says, "");
    }

    fn warning(&mut self, subject: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(subject, Verdict::Warning, says, advice);
    }

    fn problem(&mut self, subject: &'static str, says: impl Into<String>, advice: impl Into<String>) {
        self.add(subject, Verdict::Problem, says, advice);
    }

    fn add(&mut self, subject: &'static str, verdict: Verdict, says: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { subject, verdict, says: says.into(), advice: advice.into() });
    }
}

async fn steps(address: &Address, topology: &Topology, operations: &[OperationName], found: &mut Findings) {
    let address = match address.now() {
        Ok(address) => address,
        Err(error) => return found.problem("address", error.to_string(), "mend the file that QUEUE_URL_FILE names"),
    };
    let Some(stream) = reach(&address, found).await else { return };
    if !greet(&address, stream, found).await {
        return;
    }
    let Some(connection) = enter(&address, found).await else { return };
    let look = Look { connection: &connection, topology };
    look.at_rights(found).await;
    look.at_queues(operations, found).await;
    // Last: a broker that is short of something answers nothing more to whoever has published.
    look.at_alarms(found).await;
    // The process ends soon, and the broker notices a closed socket too.
    let _ = timeout(STEP / 4, connection.close(200, "bye".into())).await;
}

// --- the way there ---------------------------------------------------------------------------------------------------

/// Finds the host, and somebody who listens there.
async fn reach(address: &Address, found: &mut Findings) -> Option<TcpStream> {
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
async fn greet(address: &Address, stream: TcpStream, found: &mut Findings) -> bool {
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
async fn enter(address: &Address, found: &mut Findings) -> Option<Connection> {
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

// --- what is there -----------------------------------------------------------------------------------------------------

struct Look<'a> {
    connection: &'a Connection,
    topology: &'a Topology,
}

/// How a question that changes nothing was answered.
enum Said {
    Yes,
    /// There is no such thing.
    Missing,
    /// We may not.
    Forbidden,
    /// It is there, and otherwise.
    Different(String),
    Failed(String),
}

impl Said {
    fn of<T>(answered: Result<lapin::Result<T>, tokio::time::error::Elapsed>) -> Self {
        let error = match answered {
            Ok(Ok(_)) => return Self::Yes,
            Ok(Err(error)) => error,
            Err(_elapsed) => return Self::Failed(format!("no answer within {STEP:?}")),
        };
        match error.kind() {
            ErrorKind::ProtocolError(refused) => match refused.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing,
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Self::Forbidden,
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                    Self::Different(refused.get_message().to_string())
                }
                _ => Self::Failed(error.to_string()),
            },
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Look<'_> {
    /// A channel of its own for each question, since a no closes it.
    async fn ask<T>(&self, question: impl AsyncFnOnce(Channel) -> lapin::Result<T>) -> Said {
        Said::of(timeout(STEP, async { question(self.connection.create_channel().await?).await }).await)
    }

    /// Whether it takes messages: one that no queue gets comes back, unless memory or disk of the broker are short. Then it
    /// reads nothing more from this connection, and says why.
    async fn at_alarms(&self, found: &mut Findings) {
        let mut events = Box::pin(self.connection.events_listener());
        let blocked = async {
            while let Some(event) = events.next().await {
                if let Event::ConnectionBlocked(reason) = event {
                    return reason.to_string();
                }
            }
            std::future::pending().await
        };
        let nowhere = Uuid::now_v7().to_string();
        let publish = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let confirm = channel
                .basic_publish("".into(), nowhere.as_str().into(), mandatory, b"", BasicProperties::default())
                .await?;
            confirm.await
        };
        let advice = "free memory or disk of the broker: rabbitmqctl status says which limits it has and has reached";
        let confirmed = tokio::select! {
            confirmed = timeout(STEP, publish) => confirmed,
            reason = blocked => return found.problem("alarms", format!("it takes no messages now: {reason}"), advice),
        };
        match confirmed {
            Ok(Ok(Confirmation::Ack(_))) => found.ok("alarms", "none: it takes messages"),
            Ok(Ok(_)) => found.warning("alarms", "it did not take a message", "its log may say why"),
            other => match Said::of(other) {
                // Whoever may only use our names cannot be told.
                Said::Forbidden => found.ok("alarms", "not known: this user may not use the default exchange"),
                Said::Failed(error) => {
                    found.problem("alarms", format!("it does not confirm messages: {error}"), advice);
                }
                _ => found.warning("alarms", "not known", "its log may say more"),
            },
        }
    }

    /// Whether we may write and read, shown by taking away bindings that do not exist: that changes nothing, and takes the
    /// right to write to what is bound and to read from where it is bound to.
    async fn at_rights(&self, found: &mut Findings) {
        let (events, dead) = (self.topology.events().name, self.topology.dead_letters_exchange().name);
        let nowhere = Uuid::now_v7().to_string();
        let unbind = async |destination: &str, source: &str| {
            self.ask(async |channel| {
                let options = ExchangeUnbindOptions::default();
                let (to, from, key) = (destination.into(), source.into(), nowhere.as_str().into());
                channel.exchange_unbind(to, from, key, options, FieldTable::default()).await
            })
            .await
        };
        let queue = self.topology.statistics().name;
        let unbind_queue = self.ask(async |channel| {
            let (to, from, key) = (queue.as_str().into(), events.as_str().into(), nowhere.as_str().into());
            channel.queue_unbind(to, from, key, FieldTable::default()).await
        });
        let refused = [
            (format!("write to {events}, or read from {dead}"), unbind(&events, &dead).await),
            (format!("write to {dead}, or read from {events}"), unbind(&dead, &events).await),
            (format!("write to {queue}, or read from {events}"), unbind_queue.await),
        ];
        let refused: Vec<String> =
            refused.into_iter().filter(|(_, said)| matches!(said, Said::Forbidden)).map(|(what, _)| what).collect();
        if refused.is_empty() {
            found.ok("rights", format!("this user may write and read what is named {events}…"));
        } else {
            let advice = format!("rabbitmqctl set_permissions -p VHOST USER '^{events}.*' '^{events}.*' '^{events}.*'");
            found.problem("rights", format!("this user may not {}", refused.join("; ")), advice);
        }
    }

    /// Which exchanges and queues there are, whether they are as they must be, and whether somebody is at work.
    async fn at_queues(&self, operations: &[OperationName], found: &mut Findings) {
        let topology = self.topology;
        let mut exchanges = vec![topology.events(), topology.dead_letters_exchange()];
        exchanges.extend(RETRY_DELAYS.map(|delay| topology.retry_exchange(delay)));
        let mut queues = vec![topology.distributor(), topology.statistics(), topology.dead_letters()];
        queues.extend(RETRY_DELAYS.map(|delay| topology.retry(delay)));
        let needed = queues.len();
        queues.extend(operations.iter().map(|operation| topology.processor(operation)));

        let mut seen = Seen::default();
        for exchange in &exchanges {
            let said = self.exchange(exchange).await;
            seen.note(&exchange.name, true, said);
        }
        for (number, queue) in queues.iter().enumerate() {
            let said = self.queue(queue, &mut seen).await;
            // Those of operations come into being with the first task, or processor.
            seen.note(&queue.name, number < needed, said);
        }
        seen.tell(found);
    }

    async fn exchange(&self, exchange: &Exchange) -> Said {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = match exchange.kind {
            ExchangeKind::Topic => lapin::ExchangeKind::Topic,
            ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        };
        let exists = self.ask(async |channel| {
            channel.exchange_declare(exchange.name.as_str().into(), kind, passive, FieldTable::default()).await
        });
        match exists.await {
            // Of what is there already, a declaration changes nothing: it says whether it is the same.
            Said::Yes => self.ask(async |channel| declare::exchange(&channel, exchange).await).await,
            said => said,
        }
    }

    async fn queue(&self, queue: &Queue, seen: &mut Seen) -> Said {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut figures = None;
        let exists = self.ask(async |channel| {
            let declared = channel.queue_declare(queue.name.as_str().into(), passive, FieldTable::default()).await?;
            figures = Some((declared.message_count(), declared.consumer_count()));
            Ok(())
        });
        let exists = exists.await;
        if let Some((messages @ 1.., 0)) = figures
            && matches!(queue.kind, QueueKind::Work { .. })
        {
            seen.idle.push(format!("{messages} wait in {}", queue.name));
        }
        match exists {
            Said::Yes => self.ask(async |channel| declare::queue_alone(&channel, queue).await).await,
            said => said,
        }
    }
}

/// What was seen of exchanges and queues.
#[derive(Default)]
struct Seen {
    there: usize,
    missing: Vec<String>,
    forbidden: Vec<String>,
    different: Vec<String>,
    failed: Vec<String>,
    /// Something waits, and nobody takes it.
    idle: Vec<String>,
}

impl Seen {
    fn note(&mut self, name: &str, is_needed: bool, said: Said) {
        match said {
            Said::Yes => self.there += 1,
            Said::Missing if is_needed => self.missing.push(name.to_owned()),
            Said::Missing => {}
            Said::Forbidden => self.forbidden.push(name.to_owned()),
            Said::Different(how) => self.different.push(how),
            Said::Failed(why) => self.failed.push(format!("{name}: {why}")),
        }
    }

    fn tell(self, found: &mut Findings) {
        let Self { there, missing, forbidden, different, failed, idle } = self;
        if !different.is_empty() {
            let advice = "stop the system, let it run empty or save what is in them, delete them, and start it again: it makes \
                          them as they must be. A policy of the broker may be the cause, too";
            found.problem("queues", format!("not as they must be: {}", different.join("; ")), advice);
        }
        if !failed.is_empty() {
            let advice = "look at the broker: a queue without a leader does not answer (rabbitmq-queues quorum_status)";
            found.problem("queues", format!("no answer about {}", failed.join("; ")), advice);
        }
        if !forbidden.is_empty() {
            let says = format!("this user may not declare {}", forbidden.join(", "));
            found.problem("queues", says, "rabbitmqctl set_permissions: the first pattern is the right to configure");
        }
        match (there, missing.is_empty()) {
            _ if !forbidden.is_empty() => {}
            (0, false) => found.ok("queues", "none is there yet: whoever of the system starts first makes them"),
            (_, false) => {
                let says = format!("missing: {}", missing.join(", "));
                found.warning("queues", says, "the services make them when they connect: start those that do not run");
            }
            (there, true) if different.is_empty() && failed.is_empty() => {
                found.ok("queues", format!("{there} exchanges and queues are as they must be"));
            }
            _ => {}
        }
        if !idle.is_empty() {
            let says = format!("nobody takes what waits: {}", idle.join(", "));
            found.warning("work", says, "start the distributor, a processor of that operation, or statistics");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
