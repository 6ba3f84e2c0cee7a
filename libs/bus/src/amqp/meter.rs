//! The part that asks how much waits in queues.
//!
//! Over the connection for consuming: from that for publishing a broker that takes no more does not read the question. It
//! has a session like every other part, because a connection that is given up while it is made leaves a thread behind.

use std::sync::Arc;

use lapin::{
    Channel, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::FieldTable,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::interval,
};

use super::{
    link::{IDLE_CHECK, Link, LinkError, in_time},
    status::Status,
    supervise::Part,
};

/// The part's name in the status.
const PART: &str = "measuring";
/// Questions that wait; more wait in `depth`.
pub(super) const WAITING_QUESTIONS: usize = 16;

/// How many messages wait in a queue.
pub(super) struct Question {
    pub(super) queue: String,
    pub(super) reply: oneshot::Sender<u64>,
}

pub(super) struct Meter {
    link: Arc<Link>,
    status: Status,
    questions: mpsc::Receiver<Question>,
}

impl Meter {
    pub(super) fn new(link: Arc<Link>, status: Status, questions: mpsc::Receiver<Question>) -> Self {
        Self { link, status, questions }
    }

    async fn open(&self) -> Result<Channel, LinkError> {
        Ok(self.link.connection().await?.create_channel().await?)
    }
}

impl Part for Meter {
    fn name(&self) -> String {
        PART.to_owned()
    }

    async fn session(&mut self) -> Result<(), LinkError> {
        let mut channel = in_time(self.open()).await?;
        self.status.up(PART);
        let mut idle = interval(IDLE_CHECK);
        loop {
            tokio::select! {
                question = self.questions.recv() => {
                    let Some(Question { queue, reply }) = question else { return Ok(()) };
                    if reply.is_closed() {
                        continue;
                    }
                    let depth = match in_time(depth(&channel, &queue)).await? {
                        Some(depth) => depth,
                        None => {
                            // To ask for what is not there has ended the channel.
                            channel = in_time(self.open()).await?;
                            0
                        }
                    };
                    // Whoever stopped waiting does not need the answer.
                    let _ = reply.send(depth);
                }
                _ = idle.tick() => {
                    if !channel.status().connected() {
                        return Err(LinkError::Ended("the connection was lost"));
                    }
                }
            }
        }
    }
}

/// Declares nothing, and hears how much is ready to be delivered; none if there is no such queue.
async fn depth(channel: &Channel, queue: &str) -> Result<Option<u64>, LinkError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
        Ok(declared) => Ok(Some(declared.message_count().into())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)
    )
}
