//! A network that can be bad: a TCP proxy on loopback, between whoever connects to it and one port behind it.
//!
//! What is held back waits in the sockets and in one buffer for each direction, until the sender cannot send any more:
//! memory has a bound, as in a network.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{oneshot, watch},
    task::AbortHandle,
    time::sleep,
};

/// Bytes that are carried at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Connections at a time, each with two buffers; more are reset. A service needs two.
const MAX_CONNECTIONS: usize = 256;
/// How soon it is tried again to accept, when that fails.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Where bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From those who connect to the port behind.
    ToServer,
    /// Back.
    ToClient,
}

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They are carried at once.
    Open,
    /// They are carried, at most 64 KiB together, after this long.
    Slow(Duration),
    /// They are held back, and so is the end of the connection: neither side hears of the other.
    Silent,
    /// They end here: the receiver is told that the sender has no more to say, and the sender hears nothing. A connection
    /// of which this was said stays so, whatever is said afterwards.
    Closed,
}

/// A proxy. Dropping it resets its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    server: u16,
    to_server: watch::Sender<Flow>,
    to_client: watch::Sender<Flow>,
    refuses: AtomicBool,
    connections: Mutex<Connections>,
}

/// Whoever drops a sender cuts its connection.
#[derive(Default)]
struct Connections {
    next: u64,
    open: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Proxy {
    /// A proxy in front of a port of this machine, whether or not anybody listens there yet.
    ///
    /// # Errors
    /// If there is no port for it.
    pub async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server,
            to_server: watch::Sender::new(Flow::Open),
            to_client: watch::Sender::new(Flow::Open),
            refuses: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self { port, shared, accepting })
    }

    /// Where to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections().open.len()
    }

    /// Resets every connection, whatever is on its way in it; how many there were.
    pub fn cut(&self) -> usize {
        std::mem::take(&mut self.shared.connections().open).len()
    }

    /// Resets the oldest connection; whether there was one.
    pub fn cut_one(&self) -> bool {
        self.shared.connections().open.pop_first().is_some()
    }

    /// From now on, bytes of this direction fare so, in connections old and new.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.shared.flow(direction).send_replace(flow);
    }

    /// From now on, all bytes fare so.
    pub fn set_both(&self, flow: Flow) {
        self.set(Direction::ToServer, flow);
        self.set(Direction::ToClient, flow);
    }

    /// Whether new connections are reset at once. Those that there are stay.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }

    /// A partition: resets every connection, and every new one, until [`Proxy::refuse`] says otherwise.
    pub fn partition(&self) {
        self.refuse(true);
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn flow(&self, direction: Direction) -> &watch::Sender<Flow> {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more connection, and what tells it that it is cut; none if it is not wanted.
    fn open(&self) -> Option<(u64, oneshot::Receiver<()>)> {
        let mut connections = self.connections();
        if self.refuses.load(Ordering::Relaxed) || connections.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let number = connections.next;
        connections.next += 1;
        let (cut, is_cut) = oneshot::channel();
        connections.open.insert(number, cut);
        Some((number, is_cut))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Too many files are open, most likely.
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        match shared.open() {
            Some((number, is_cut)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    carry(client, &shared, is_cut).await;
                    shared.connections().open.remove(&number);
                });
            }
            None => reset(&client),
        }
    }
}

/// Carries one connection until both sides have ended it, one of them has reset it, or it is cut.
async fn carry(mut client: TcpStream, shared: &Shared, is_cut: oneshot::Receiver<()>) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.server)).await else {
        return reset(&client);
    };
    // As quick as the network that it stands for; on loopback there is nothing that this can fail for.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = carry_on(from_client, to_server, shared.to_server.subscribe());
        let back = carry_on(from_server, to_client, shared.to_client.subscribe());
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.is_ok(),
            _ = is_cut => false,
        }
    };
    if !ended {
        reset(&client);
        reset(&server);
    }
}

/// Carries one direction to its end.
async fn carry_on(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut flow: watch::Receiver<Flow>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while may_pass(&mut flow).await {
        let count = tokio::select! {
            biased;
            _ = flow.changed() => continue,
            count = from.read(&mut buffer) => count?,
        };
        if count == 0 {
            break;
        }
        let delay = match *flow.borrow() {
            Flow::Slow(delay) => delay,
            _ => Duration::ZERO,
        };
        sleep(delay).await;
        if !may_pass(&mut flow).await {
            break;
        }
        to.write_all(&buffer[..count]).await?;
    }
    to.shutdown().await
}

/// Waits until bytes may pass; false if they never may again.
async fn may_pass(flow: &mut watch::Receiver<Flow>) -> bool {
    flow.wait_for(|flow| *flow != Flow::Silent).await.is_ok_and(|flow| *flow != Flow::Closed)
}

/// Makes the end of a connection a reset, which its drop will send.
fn reset(stream: &TcpStream) {
    // If it cannot be, it has been reset already.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::eventually;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// What is held back does not come within this.
    const SILENCE: Duration = Duration::from_millis(200);

    /// A proxy, both ends of a connection through it, and who takes the next one.
    struct Pair {
        proxy: Proxy,
        client: TcpStream,
        server: TcpStream,
        listener: TcpListener,
    }

    async fn pair() -> Pair {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().port()).await.unwrap();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        Pair { proxy, client, server, listener }
    }

    /// What comes next: bytes, none at the end, or why not.
    async fn heard(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64];
        let count = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("nothing is heard")?;
        buffer.truncate(count);
        Ok(buffer)
    }

    async fn hears_nothing(stream: &mut TcpStream) -> bool {
        timeout(SILENCE, stream.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn it_carries_bytes_and_the_end_both_ways() {
        let Pair { proxy, mut client, mut server, .. } = pair().await;
        client.write_all(b"there").await.unwrap();
        assert_eq!(heard(&mut server).await.unwrap(), b"there");
        server.write_all(b"back").await.unwrap();
        assert_eq!(heard(&mut client).await.unwrap(), b"back");
        client.shutdown().await.unwrap();
        assert_eq!(heard(&mut server).await.unwrap(), b"");
        server.write_all(b"still").await.unwrap();
        assert_eq!(heard(&mut client).await.unwrap(), b"still");
        server.shutdown().await.unwrap();
        assert_eq!(heard(&mut client).await.unwrap(), b"");
        eventually(async || if proxy.connections() == 0 { Ok(()) } else { Err("it is kept".to_owned()) }).await;
    }

    #[tokio::test]
    async fn what_is_cut_is_reset_for_both_and_the_next_connection_works() {
        let Pair { proxy, mut client, mut server, listener: _listener } = pair().await;
        assert_eq!(proxy.cut(), 1);
        for stream in [&mut client, &mut server] {
            assert_eq!(heard(stream).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        assert!(!proxy.cut_one());
        let _next = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        eventually(async || if proxy.cut_one() { Ok(()) } else { Err("it is not there".to_owned()) }).await;
    }

    #[tokio::test]
    async fn what_is_slow_comes_later_and_in_order() {
        let Pair { proxy, mut client, mut server, .. } = pair().await;
        proxy.set(Direction::ToServer, Flow::Slow(Duration::from_millis(50)));
        let began = Instant::now();
        client.write_all(b"first").await.unwrap();
        assert_eq!(heard(&mut server).await.unwrap(), b"first");
        client.write_all(b"second").await.unwrap();
        assert_eq!(heard(&mut server).await.unwrap(), b"second");
        assert!(began.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn what_is_silent_holds_bytes_and_the_end_back_until_it_is_open() {
        let Pair { proxy, mut client, mut server, .. } = pair().await;
        proxy.set_both(Flow::Silent);
        client.write_all(b"later").await.unwrap();
        client.shutdown().await.unwrap();
        assert!(hears_nothing(&mut server).await);
        proxy.set_both(Flow::Open);
        assert_eq!(heard(&mut server).await.unwrap(), b"later");
        assert_eq!(heard(&mut server).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn what_is_silent_holds_the_sender_back_in_the_end() {
        let Pair { proxy, mut client, server: _server, .. } = pair().await;
        proxy.set(Direction::ToServer, Flow::Silent);
        let much = vec![0; 1 << 20];
        let mut sent = 0;
        // The system's buffers are some megabytes; ours is not there to add to them.
        while let Ok(written) = timeout(SILENCE, client.write_all(&much)).await {
            written.unwrap();
            sent += much.len();
            assert!(sent < 256 << 20, "it takes everything");
        }
    }

    #[tokio::test]
    async fn a_half_closed_connection_carries_one_direction_and_stays_so() {
        let Pair { proxy, mut client, mut server, .. } = pair().await;
        proxy.set(Direction::ToServer, Flow::Closed);
        assert_eq!(heard(&mut server).await.unwrap(), b"");
        server.write_all(b"back").await.unwrap();
        assert_eq!(heard(&mut client).await.unwrap(), b"back");
        proxy.set(Direction::ToServer, Flow::Open);
        client.write_all(b"unheard").await.unwrap();
        assert_eq!(heard(&mut server).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn behind_a_partition_there_is_nobody_until_it_is_over() {
        let Pair { proxy, mut client, server: _server, listener: _listener } = pair().await;
        proxy.partition();
        heard(&mut client).await.unwrap_err();
        let mut refused = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(heard(&mut refused).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        proxy.refuse(false);
        let _next = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        eventually(async || if proxy.connections() == 1 { Ok(()) } else { Err("it is not there".to_owned()) }).await;
    }
}
