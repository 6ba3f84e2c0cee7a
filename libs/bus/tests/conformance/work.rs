//! What goes on while something is killed: publishers and a consumer that write down what they were told, in a file that
//! is there whoever dies.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bus::{Acknowledge, Message, PublishError, Queue, Source, Transport};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::kit::{queue, topic};

/// Several, so that one commit, or one window of confirms, has messages of more than one.
const PUBLISHERS: usize = 4;
/// Of each publisher. It is reached only if nothing kills the work for many seconds; then the publisher waits.
const MAX_MESSAGES: usize = 20_000;
/// The most messages of one call.
const MAX_CALL: usize = 8;
/// Long enough for a broker that is killed and started again on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
const MAX_BODY_BYTES: usize = 4000;
/// How many the consumer has in hand.
pub const PREFETCH: u16 = 20;

/// What the consumer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes what its prefetch allows, and acknowledges nothing.
    Holds,
    /// Acknowledges everything.
    Acknowledges,
}

/// What was done, line by line.
#[derive(Clone)]
pub struct Ledger(PathBuf);

impl Ledger {
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.join("ledger"))
    }

    /// Whoever can write a line has it written: it is in the system's hands when this returns.
    fn pen(&self) -> Pen {
        Pen(Arc::new(OpenOptions::new().create(true).append(true).open(&self.0).unwrap()))
    }

    /// The ids of the messages of which it says this. A last line that is not whole does not count.
    pub fn ids(&self, what: &str) -> BTreeSet<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.filter_map(|line| line.trim_end().strip_prefix(what)?.strip_prefix(' ').map(str::to_owned)).collect()
    }
}

#[derive(Clone)]
struct Pen(Arc<File>);

impl Pen {
    fn write(&self, what: &str, id: &str) {
        (&*self.0).write_all(format!("{what} {id}\n").as_bytes()).unwrap();
    }
}

/// The queue of the work: it gets all of the exchange.
pub fn work_queue(exchange: &str) -> Queue {
    queue(exchange, "work", "#")
}

/// Works until it is dropped, or killed. `life` is part of the messages' ids, so that no two lives share one.
pub async fn work(transport: Arc<dyn Transport>, exchange: String, manner: Manner, life: usize, ledger: Ledger) {
    transport.ensure(topic(&exchange), vec![work_queue(&exchange)]).await;
    let pen = ledger.pen();
    let mut workers = JoinSet::new();
    workers.spawn(consume(transport.clone(), work_queue(&exchange), manner, pen.clone()));
    for publisher in 0..PUBLISHERS {
        let name = format!("{life}-{publisher}");
        workers.spawn(publish(transport.clone(), exchange.clone(), name, pen.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
}

async fn publish(transport: Arc<dyn Transport>, exchange: String, name: String, pen: Pen) {
    let mut random = random_of(&name);
    let mut number = 0;
    while number < MAX_MESSAGES {
        let count = random.random_range(1..=MAX_CALL);
        let ids = (number..number + count).map(|number| format!("{name}-{number}"));
        number += count;
        let mut messages: Vec<Message> = ids.map(|id| work_message(&exchange, &id)).collect();
        // Unknown is neither taken nor refused: the same again.
        while !messages.is_empty() {
            let results = transport.publish(messages.clone(), PATIENCE).await;
            let mut results = results.into_iter();
            messages.retain(|message| match results.next() {
                Some(Ok(())) => {
                    pen.write("confirmed", &message.id);
                    false
                }
                Some(Err(PublishError::Unknown(_))) => true,
                other => panic!("{}: {other:?}", message.id),
            });
        }
    }
}

async fn consume(transport: Arc<dyn Transport>, queue: Queue, manner: Manner, pen: Pen) {
    let mut subscription = transport.subscribe(Source::Shared(queue), PREFETCH);
    while let Some(delivery) = subscription.next().await {
        assert_undamaged(&delivery.message);
        pen.write("seen", &delivery.message.id);
        if manner == Manner::Acknowledges {
            // If it is void, it comes again.
            let _ = subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await;
        }
    }
}

fn work_message(exchange: &str, id: &str) -> Message {
    Message {
        exchange: exchange.to_owned(),
        routing_key: format!("a.{}", id.len()),
        id: id.to_owned(),
        body: body(id).into(),
        headers: [("of".to_owned(), id.into())].into_iter().collect(),
        ..Message::default()
    }
}

/// Compares with what was sent under this id.
pub fn assert_undamaged(message: &Message) {
    assert_eq!(*message, work_message(&message.exchange, &message.id));
}

/// Bytes that follow from the id.
fn body(id: &str) -> Vec<u8> {
    let mut random = random_of(id);
    let mut body = vec![0; random.random_range(0..=MAX_BODY_BYTES)];
    random.fill_bytes(&mut body);
    body
}

fn random_of(text: &str) -> StdRng {
    let mut seed = [0; 32];
    for (at, byte) in text.bytes().enumerate() {
        seed[at % seed.len()] ^= byte.rotate_left(u32::try_from(at / seed.len()).unwrap());
    }
    StdRng::from_seed(seed)
}
