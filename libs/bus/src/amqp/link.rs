//! One connection to the broker, made when it is needed and made anew when it broke.

use std::{
    io,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_rs::{Runtime, Tokio, TokioRuntime, util::RuntimeParts};
use futures_util::StreamExt;
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, ErrorKind, Event,
    tcp::AMQPUriTcpExt,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Address,
    address::InvalidAddress,
    status::Status,
    tls::{Tls, Untrusted},
    wire::{Connected, Readable, Wire},
};

/// How long a connection may take. lapin's own setting does not reach the handshake, so that a peer
/// that accepts and then says nothing would hold us for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the broker may take to build a session, connecting included: a queue without a leader, for one, answers
/// to nothing.
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);

/// How soon a lost connection is noticed by a part that has nothing to do.
pub(super) const IDLE_CHECK: Duration = Duration::from_secs(1);

/// So many attempts in a row that hung, and not merely failed, end the process: each leaves a thread
/// behind. At one every 10 to 40 s that is an hour or more.
const MAX_HUNG_CONNECTS: u32 = 120;

/// A connection for one purpose. Publishing and consuming have one each: a broker that is out of memory
/// stops reading from those who publish, and their acknowledgements with it.
pub(super) struct Link {
    address: Address,
    name: String,
    status: Status,
    current: Mutex<Option<Live>>,
    hung: AtomicU32,
}

/// A connection that was made. Clones share it.
#[derive(Clone)]
pub(super) struct Live {
    connection: Arc<Connection>,
    blocked: watch::Receiver<bool>,
}

impl Live {
    /// Waits as long as the broker does not read from this connection, because it has too little memory or disk. Safe to
    /// drop.
    pub(super) async fn unblocked(&mut self) {
        // Whoever would tell is gone with the connection, which ends the session.
        let _ = self.blocked.wait_for(|blocked| !blocked).await;
    }

    /// Completes when the broker has not been in our way for so long.
    pub(super) async fn unblocked_for(&mut self, time: Duration) {
        loop {
            self.unblocked().await;
            let blocked = timeout(time, self.blocked.wait_for(|blocked| *blocked));
            match blocked.await.map(|waited| waited.is_ok()) {
                Ok(true) => {}
                // Nobody tells any more.
                Ok(false) => return sleep(time).await,
                Err(_elapsed) => return,
            }
        }
    }
}

impl Deref for Live {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Why a session with the broker ended; the session is then built anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no answer within {0:?}")]
    Hung(Duration),
    #[error("{0}")]
    Amqp(lapin::Error),
    /// Nobody was found there whom to trust.
    #[error("{0}")]
    Untrusted(String),
    /// The address is kept in a file, and what stands there now is none.
    #[error("{0}")]
    Address(#[from] InvalidAddress),
    #[error("{0}")]
    Ended(&'static str),
    /// Not a fault: someone else is at work.
    #[error("another one is active, waiting for it to end")]
    OwnedElsewhere,
}

impl From<lapin::Error> for LinkError {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::IOError(io) if io.get_ref().is_some_and(|inner| inner.is::<Untrusted>()) => {
                Self::Untrusted(io.to_string())
            }
            _ => Self::Amqp(error),
        }
    }
}

/// Bounds what a session begins with.
pub(super) async fn in_time<T>(setup: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    timeout(SETUP_TIMEOUT, setup).await.unwrap_or(Err(LinkError::Hung(SETUP_TIMEOUT)))
}

impl Link {
    pub(super) fn new(address: Address, name: String, status: Status) -> Self {
        Self { address, name, status, current: Mutex::new(None), hung: AtomicU32::new(0) }
    }

    /// The connection, made if there is none that works.
    pub(super) async fn connection(&self) -> Result<Live, LinkError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.status().connected()) {
            return Ok(connection.clone());
        }
        *current = None;
        let address = self.address.now()?;
        let connection = Arc::new(self.connect(&address).await?);
        let blocked = self.watch(&connection);
        info!(broker = %address, connection = self.name, "connected");
        metrics::counter!("ebs_bus_connections_total", "connection" => self.name.clone()).increment(1);
        let live = Live { connection, blocked };
        *current = Some(live.clone());
        Ok(live)
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.current.lock().await.take()
            && connection.status().connected()
        {
            let closing = connection.close(200, "bye".into());
            // The process is about to end, and the broker notices a closed socket too.
            let _ = timeout(CONNECT_TIMEOUT / 10, closing).await;
        }
    }

    async fn connect(&self, address: &Address) -> Result<Connection, LinkError> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        match timeout(CONNECT_TIMEOUT, connect(address, properties)).await {
            Ok(result) => {
                self.hung.store(0, Ordering::Relaxed);
                Ok(result?)
            }
            Err(_elapsed) => {
                if self.hung.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_HUNG_CONNECTS {
                    self.status
                        .fail(&format!("{} accepted {MAX_HUNG_CONNECTS} connections and answered none", self.address));
                }
                Err(LinkError::Hung(CONNECT_TIMEOUT))
            }
        }
    }

    /// Says what the broker says about a connection, for as long as it lives. There is one listener and it is always read:
    /// lapin's queue of these is unbounded, and several listeners would share them out.
    fn watch(&self, connection: &Connection) -> watch::Receiver<bool> {
        let (sender, blocked) = watch::channel(false);
        let (name, status) = (self.name.clone(), self.status.clone());
        let state = connection.status().clone();
        let mut events = Box::pin(connection.events_listener());
        tokio::spawn(async move {
            let part = format!("{name} is blocked");
            let say = |blocked: bool| {
                metrics::gauge!("ebs_bus_blocked", "connection" => name.clone()).set(if blocked { 1.0 } else { 0.0 });
                sender.send_replace(blocked);
            };
            say(false);
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        warn!(connection = name, reason, "the broker takes no more for now");
                        status.down(&part, format!("the broker takes no more for now: {reason}"));
                        say(true);
                    }
                    Event::ConnectionUnblocked => {
                        info!(connection = name, "the broker takes messages again");
                        status.up(&part);
                        say(false);
                    }
                    // Errors of single channels come here too.
                    Event::Error(_) if !state.connected() => break,
                    _ => {}
                }
            }
            status.up(&part);
            say(false);
        });
        blocked
    }
}

/// Connects, in the clear or over TLS, as the address says.
pub(super) async fn connect(address: &Address, properties: ConnectionProperties) -> lapin::Result<Connection> {
    let tokio = Tokio::current();
    let tls = address.tls().cloned();
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), Wire(tokio.clone())));
    let tokio = Runtime::new(tokio);
    let connect = async move |uri: AMQPUri, _| {
        let connected = async {
            match &tls {
                None => uri.connect_async(&tokio).await,
                Some(tls) => connect_safely(uri, tls, &tokio).await,
            }
        };
        // Bounded here, too, or lapin's thread would wait for ever for a peer that is silent.
        let stream = timeout(CONNECT_TIMEOUT, connected).await.map_err(io::Error::from)??;
        Ok(AsyncTcpStream::Plain(Readable::new(stream)))
    };
    Connection::connector(address.uri(), runtime, connect, properties).await
}

/// Connects over TLS. Not by lapin's own way: that one always adds the authorities of the system to those that are given,
/// and fails where the system has none.
async fn connect_safely(uri: AMQPUri, tls: &Tls, tokio: &TokioRuntime) -> io::Result<Connected> {
    let connector = tls.connector().map_err(io::Error::from)?;
    let name = tls.server_name.as_deref().unwrap_or(&uri.authority.host).to_owned();
    let stream = AMQPUri { scheme: AMQPScheme::AMQP, ..uri }.connect_async(tokio).await?;
    stream.into_rustls(&connector, &name).await.map_err(|error| io::Error::from(Untrusted::handshake(&error)))
}
