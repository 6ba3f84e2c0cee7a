//! # A work queue
//!
//! Whoever produces does not know who does the work, or when. The queue keeps what nobody has done yet; each message is
//! given to one consumer, however many there are; and it leaves the queue only when that one has done it.
//!
//! ```sh
//! cargo run --example work_queue -- produce my message      # again and again, before or after:
//! cargo run --example work_queue -- consume                 # in as many terminals as you like; Ctrl-C ends one
//! ```
//!
//! To see what a consumer's death does, produce something that takes time (each dot is a second of work), and kill the
//! consumer (`kill -9`) while it works: another one begins with it anew.
//!
//! Without a broker: `QUEUE_URL=embedded:work.db`, a bus in a file that one process has at a time (produce, then
//! consume), or `QUEUE_URL=embedded:` and the command `both`.

mod common;

use std::{sync::Arc, time::Duration};

use bus::{Bus, CloudEvent, Handle, Outcome, PATIENCE, Queue, Received, Slot, Slots, WorkQueue};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "\
work_queue produce [WORDS...]   puts a message into the queue: the words, or \"Hello, work!\"
work_queue consume              does what is in the queue, and what comes, until Ctrl-C
work_queue both [WORDS...]      both in one process

Each dot in a message is a second of work.";

const DEFAULT_TEXT: &str = "Hello, work!";

/// What travels: a type with a name and an address is all that the bus needs.
#[derive(Serialize, Deserialize)]
struct WorkOrdered {
    text: String,
}

impl CloudEvent for WorkOrdered {
    const TYPE: &'static str = "WORK_ORDERED";

    fn routing_key(&self) -> String {
        "work.ordered".to_owned()
    }
}

/// The queue gets whatever has such an address. It is durable: it is there, and keeps what it has, when nobody is.
fn queue(bus: &Bus) -> Queue {
    bus.topology().work("orders", "work.ordered")
}

/// Returns when the message is confirmed: it is in the queue, on disk. From then on no crash loses it.
async fn produce(bus: &Bus, words: &[String]) -> anyhow::Result<()> {
    let text = if words.is_empty() { DEFAULT_TEXT.to_owned() } else { words.join(" ") };
    // The queue is named here, too: whichever side comes first makes it, and no message is lost for want of it.
    bus.publish_to(&[queue(bus)], &WorkOrdered { text: text.clone() }, PATIENCE).await?;
    println!("produced: {text}");
    Ok(())
}

struct Worker;

impl Handle<WorkOrdered> for Worker {
    /// The bus acknowledges after this has returned `Done`, and never before. So the same message may come twice (it was
    /// done, and the worker died before that was known): work must be such that doing it again does no harm.
    async fn handle(&self, received: Received<WorkOrdered>, _slot: Slot) -> Outcome {
        let text = received.event.text;
        println!("working on: {text}");
        tokio::time::sleep(Duration::from_secs(text.matches('.').count() as u64)).await;
        println!("done: {text}");
        Outcome::Done
    }
}

async fn consume(bus: &Bus, shutdown: CancellationToken) {
    let queue = WorkQueue {
        queue: queue(bus),
        slots: Slots::new(1),
        // One at a time, and none in reserve: while this one works, the next message is for whoever is free.
        prefetch: 1,
        burst: 0,
        // For work that answers `Outcome::Retry`. What is rejected, or fails too often, goes to the dead letters.
        max_attempts: 3,
        // How long what is being done may take after Ctrl-C; what is not done then goes back.
        grace: Duration::from_secs(10),
    };
    println!("waiting for work; Ctrl-C ends");
    queue.run(bus.clone(), Arc::new(Worker), shutdown).await;
}

#[tokio::main]
async fn main() -> common::Ended {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, words) = arguments.split_first().unwrap_or_else(|| common::usage(USAGE));
    if !matches!((command.as_str(), words), ("produce" | "both", _) | ("consume", [])) {
        common::usage(&format!("unknown: {}\n\n{USAGE}", arguments.join(" ")));
    }
    if command != "both" && common::is_in_memory() {
        common::usage(
            "QUEUE_URL=embedded: is gone with this process: use `both`, or a file, QUEUE_URL=embedded:work.db",
        );
    }
    let shutdown = common::shutdown()?;
    let bus = common::bus("work_queue", "work_queue").await?;
    if command != "consume" {
        shutdown.run_until_cancelled(produce(&bus, words)).await.unwrap_or(Ok(()))?;
    }
    if command != "produce" {
        consume(&bus, shutdown).await;
    }
    bus.close().await;
    Ok(())
}
