//! One connection to the broker, made when it is needed and made anew when it broke.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{Connection, ConnectionProperties, Event};
use tokio::{sync::Mutex, time::timeout};
use tracing::{info, warn};

use super::{Address, status::Status};

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
    current: Mutex<Option<Arc<Connection>>>,
    hung: AtomicU32,
}

/// Why a session with the broker ended; the session is then built anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no answer within {0:?}")]
    Hung(Duration),
    #[error("{0}")]
    Amqp(#[from] lapin::Error),
    #[error("{0}")]
    Ended(&'static str),
    /// Not a fault: someone else is at work.
    #[error("another one is active, waiting for it to end")]
    OwnedElsewhere,
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
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, LinkError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.status().connected()) {
            return Ok(connection.clone());
        }
        *current = None;
        let connection = Arc::new(self.connect().await?);
        watch(self.name.clone(), &connection);
        info!(broker = %self.address, connection = self.name, "connected");
        *current = Some(connection.clone());
        Ok(connection)
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

    async fn connect(&self) -> Result<Connection, LinkError> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        match timeout(CONNECT_TIMEOUT, Connection::connect_uri(self.address.uri(), properties)).await {
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
}

/// Logs what the broker says about a connection, for as long as it lives. There is one listener and it
/// is always read: lapin's queue of these is unbounded, and several listeners would share them out.
fn watch(name: String, connection: &Connection) {
    let mut events = Box::pin(connection.events_listener());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::ConnectionBlocked(reason) => {
                    warn!(connection = name, reason, "the broker takes no more for now");
                }
                Event::ConnectionUnblocked => {
                    info!(connection = name, "the broker takes messages again");
                }
                Event::Error(_) => return,
                _ => {}
            }
        }
    });
}
