//! # A group chat
//!
//! A broadcast: everybody who is in the room hears everything that is said, themselves included. Each has a queue of their
//! own that goes when they go, and nothing is kept: whoever comes late has missed what was said before.
//!
//! ```sh
//! cargo run --example chat      # in two terminals or more; Ctrl-C, or the end of the input (Ctrl-D), leaves
//! ```
//!
//! Without a broker, `QUEUE_URL=embedded:`, two are in the room, both in this process, and say in turn what you type.
//!
//! Who is killed (`kill -9`) leaves without a word. Those who must know use signs of life: see the example `likes`.

mod common;

use std::{sync::Arc, time::Duration};

use bus::{Binding, Bus, CloudEvent, Hear, Received, events::InvalidEvent};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long what is said, a farewell above all, may take to be heard: nobody is kept in the room for want of a broker.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_TEXT_CHARS: usize = 2000;

const ADJECTIVES: [&str; 8] = ["brave", "calm", "eager", "gentle", "jolly", "proud", "quick", "wise"];
const ANIMALS: [&str; 8] = ["badger", "crane", "heron", "lynx", "newt", "otter", "robin", "stoat"];

/// What travels.
#[derive(Serialize, Deserialize)]
struct Heard {
    nickname: String,
    what: What,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Joined,
    Said(String),
    Left,
}

impl CloudEvent for Heard {
    const TYPE: &'static str = "CHAT_HEARD";

    fn routing_key(&self) -> String {
        "chat.heard".to_owned()
    }

    /// Anybody can send anything to a broker. What is refused here is logged, and the chat goes on.
    fn validate(&self) -> Result<(), InvalidEvent> {
        let text = if let What::Said(text) = &self.what { text.as_str() } else { "" };
        if self.nickname.chars().chain(text.chars()).any(char::is_control) {
            return Err(InvalidEvent::new("control characters, which could steer your terminal"));
        }
        Ok(())
    }
}

/// One who is in the room.
struct Participant {
    nickname: String,
    /// What is shown is marked with it where two share a terminal.
    mark: String,
    /// Set when they hear themselves leave: everything that was said before has been heard then.
    gone: CancellationToken,
}

impl Hear<Heard> for Participant {
    async fn hear(&self, received: Received<Heard>) {
        let Heard { nickname, what } = received.event;
        match &what {
            What::Joined => println!("{}* {nickname} joined", self.mark),
            What::Said(text) => println!("{}{nickname}: {text}", self.mark),
            What::Left => println!("{}* {nickname} left", self.mark),
        }
        if what == What::Left && nickname == self.nickname {
            self.gone.cancel();
        }
    }
}

impl Participant {
    fn new(is_alone_here: bool) -> Self {
        let below = |end: usize| rand::rng().random_range(0..end);
        let nickname = format!("{}-{}-{}", ADJECTIVES[below(8)], ANIMALS[below(8)], 100 + below(900));
        let mark = if is_alone_here { String::new() } else { format!("[{nickname}] ") };
        Self { nickname, mark, gone: CancellationToken::new() }
    }

    /// Listens at once, and says what comes from `lines` until there is no more.
    fn chat(self, bus: Bus, mut lines: Receiver<String>) -> impl Future<Output = anyhow::Result<()>> {
        let (nickname, gone) = (self.nickname.clone(), self.gone.clone());
        let room = Binding { exchange: bus.topology().events(), pattern: "chat.#".to_owned() };
        let hearing = tokio::spawn(bus.listen(vec![room], Arc::new(self), gone.clone()));
        async move {
            // No queues: it is for whoever listens now.
            let say = async |what| bus.publish_to(&[], &Heard { nickname: nickname.clone(), what }, PATIENCE).await;
            say(What::Joined).await?;
            while let Some(line) = lines.recv().await {
                let text = line.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
                if let Err(error) = say(What::Said(text)).await {
                    println!("(perhaps not heard by all: {error})");
                }
            }
            say(What::Left).await?;
            let _ = timeout(PATIENCE, gone.cancelled()).await;
            hearing.abort();
            Ok(())
        }
    }
}

#[tokio::main]
async fn main() -> common::Ended {
    common::no_arguments("what you type is said; QUEUE_URL says where the bus is");
    let (shutdown, bus) = (common::shutdown()?, common::bus("chat", "chat").await?);
    let participants = if common::is_embedded() { 2 } else { 1 };
    let (mut mouths, mut chats) = (Vec::new(), Vec::new());
    for _ in 0..participants {
        let (participant, (mouth, lines)) = (Participant::new(participants == 1), mpsc::channel(1));
        println!("You are {}. Everybody hears what you type; Ctrl-C leaves.", participant.nickname);
        mouths.push(mouth);
        chats.push(participant.chat(bus.clone(), lines));
    }
    // Nobody speaks before all can hear. Without a broker that takes for ever.
    if shutdown.run_until_cancelled(common::running(&bus)).await.is_none() {
        return Ok(());
    }
    let chats: Vec<_> = chats.into_iter().map(tokio::spawn).collect();
    let mut typed = common::lines();
    for mouth in (0..participants).cycle() {
        let Some(Some(line)) = shutdown.run_until_cancelled(typed.recv()).await else { break };
        if mouths[mouth].send(line).await.is_err() {
            break;
        }
    }
    // One after the other, so that those who stay hear who goes.
    for (mouth, chat) in mouths.into_iter().zip(chats) {
        drop(mouth);
        chat.await??;
    }
    bus.close().await;
    Ok(())
}
