//! What the examples share, none of it about messages: where the bus is, what is typed, and when it is time to stop.
#![allow(dead_code, reason = "not every example needs all of it")]

use std::{env, fmt, io::IsTerminal, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use bus::{
    Bus, Settings, Transport,
    amqp::{Address, Amqp},
    embedded::{Embedded, Limits, Memory},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// The longest event, in bytes: as the system has it.
const MAX_EVENT_BYTES: usize = 4 << 20;
/// How often it is looked whether the bus runs.
const MOMENT: Duration = Duration::from_millis(20);

/// The bus that `QUEUE_URL` names: a broker (`amqp://…`, `host:port`), by default the one on this machine, or
/// `embedded:` for one in this process, which `embedded:FILE` keeps in a file. Two programs meet that use one broker and one
/// `EXCHANGE`; each example has an exchange of its own, unless it says otherwise.
pub async fn bus(app: &str, exchange: &str) -> anyhow::Result<Bus> {
    // What goes wrong meanwhile, such as a broker that does not answer. What lapin takes for an error, the bus has mended.
    let log = tracing_subscriber::fmt().with_env_filter("warn,lapin=off").with_target(false);
    log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    let exchange = variable("EXCHANGE").unwrap_or_else(|| exchange.to_owned());
    let transport: Arc<dyn Transport> = match variable("QUEUE_URL").as_deref() {
        Some(url) if url.starts_with("embedded:") => match url.trim_start_matches("embedded:") {
            "" => Arc::new(Embedded::in_memory(&Memory::default(), Limits::default())),
            file => Arc::new(Embedded::open(Path::new(file), Limits::default()).await.context("QUEUE_URL")?),
        },
        url => {
            let address = Address::parse(url.unwrap_or("localhost:5672"));
            Arc::new(Amqp::connect(&address.context("QUEUE_URL is neither embedded: nor embedded:FILE, and")?, app))
        }
    };
    Ok(Bus::over(transport, Settings { exchange, app: app.to_owned(), max_event_bytes: MAX_EVENT_BYTES }))
}

/// Whether the bus is in this process, and so all who meet on it must be.
pub fn is_embedded() -> bool {
    variable("QUEUE_URL").is_some_and(|url| url.starts_with("embedded:"))
}

/// Whether all that the bus has is gone with this process.
pub fn is_in_memory() -> bool {
    variable("QUEUE_URL").is_some_and(|url| url == "embedded:")
}

/// Waits until all that was asked of the bus runs, above all until it listens. What it waits for is in the log.
pub async fn running(bus: &Bus) {
    while bus.status().is_err() {
        sleep(MOMENT).await;
    }
}

/// Cancelled by Ctrl-C, or by SIGTERM. Who presses Ctrl-C a second time does not want to wait for anything.
pub fn shutdown() -> anyhow::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
        interrupt.recv().await;
        std::process::exit(130)
    });
    Ok(token)
}

/// The lines that are typed, until the input ends. A thread reads them, because a read of a terminal cannot be given up.
pub fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let typed = std::io::stdin().lines().map_while(Result::ok);
        typed
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .try_for_each(|line| sender.blocking_send(line))
    });
    lines
}

/// Says how the example is used, and ends it: 64 is the exit code for wrong usage everywhere in this repository.
pub fn usage(text: &str) -> ! {
    eprintln!("{text}");
    std::process::exit(64)
}

/// For an example that reads what is typed, and takes no arguments.
pub fn no_arguments(text: &str) {
    if env::args().len() > 1 {
        usage(&format!("there are no arguments: {text}"));
    }
}

/// How an example ends. An error is told in one line, with exit code 1.
pub type Ended = Result<(), Failed>;

/// Any error.
pub struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// What `main` prints of an error.
impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// A variable of the environment; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
