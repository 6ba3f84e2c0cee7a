//! The one task that owns the publishing channel.
//!
//! lapin allots delivery tags and writes frames under separate locks, so two tasks on one channel can swap
//! their confirms; and even with one task a returned message may be attached to another message's confirm.
//! Hence one task, and windows: publish up to [`WINDOW_MESSAGES`], await every confirm, and join what was
//! returned by message id.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::future::try_join_all;
use lapin::{
    Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep_until},
};

use super::{
    convert, declare,
    link::{IDLE_CHECK, Link, LinkError, Live, in_time},
    status::Status,
    supervise::Part,
};
use crate::{
    calls::{Call, Reply},
    message::Message,
    topology::{Exchange, Queue},
    transport::PublishError,
};

/// The part's name in the status.
const PART: &str = "publishing";
/// Large enough that the broker's fsync is shared by many, small enough that what is sent again after
/// a loss stays small.
const WINDOW_MESSAGES: usize = 256;
/// So that 256 of the longest messages are not in memory twice.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// A window that is not confirmed by then is lost, and the channel with it: a dropped confirm would
/// never be freed. A broker that says that it takes no more for now is waited for, however long that lasts: a channel anew
/// would not be answered either.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);
/// How long after a queue was declared nothing is published. RabbitMQ 3.10 writes the place of a new quorum queue to disk
/// only now and then: killed within 0.8 s (measured), it loses the queue with all that it had confirmed, and the queue
/// that it makes instead never elects a leader.
const QUEUES_SETTLE: Duration = Duration::from_secs(2);

/// What the task is asked to do.
pub(super) enum Command {
    Ensure(Exchange, Vec<Queue>),
    Publish(Call),
}

/// A call, and what became of its messages so far.
struct Open {
    messages: Vec<Message>,
    results: Vec<Option<Result<(), PublishError>>>,
    reply: Reply,
}

impl From<Call> for Open {
    fn from(Call { messages, reply }: Call) -> Self {
        let results = vec![None; messages.len()];
        Self { messages, results, reply }
    }
}

/// The task's state: what outlives a connection.
pub(super) struct Publisher {
    link: Arc<Link>,
    status: Status,
    commands: mpsc::Receiver<Command>,
    exchanges: Vec<Exchange>,
    queues: Vec<Queue>,
    /// When all that was declared is safe to publish to.
    settled: Instant,
    calls: VecDeque<Open>,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, status: Status, commands: mpsc::Receiver<Command>) -> Self {
        Self {
            link,
            status,
            commands,
            exchanges: Vec::new(),
            queues: Vec::new(),
            settled: Instant::now(),
            calls: VecDeque::new(),
        }
    }
}

impl Part for Publisher {
    fn name(&self) -> String {
        PART.to_owned()
    }

    /// Publishes until the commands end or the channel breaks. What was not confirmed then is published
    /// again by the next session, with the same ids.
    async fn session(&mut self) -> Result<(), LinkError> {
        let mut connection = in_time(async { self.link.connection().await }).await?;
        connection.unblocked().await;
        let channel = in_time(self.open(&connection)).await?;
        self.status.up(PART);
        let mut idle = interval(IDLE_CHECK);
        loop {
            connection.unblocked().await;
            while let Ok(command) = self.commands.try_recv() {
                self.take(command, &channel).await?;
                if self.calls.len() >= WINDOW_MESSAGES {
                    break;
                }
            }
            self.calls.retain(|call| !call.reply.is_closed());
            if !self.calls.is_empty() {
                self.publish_window(&channel, &mut connection).await?;
                continue;
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command, &channel).await?,
                    None => return Ok(()),
                },
                _ = idle.tick() => {
                    if !channel.status().connected() {
                        return Err(LinkError::Ended("the connection was lost"));
                    }
                }
            }
        }
    }
}

impl Publisher {
    /// A channel of which everything that must be there is there.
    async fn open(&mut self, connection: &Live) -> Result<Channel, LinkError> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        for exchange in &self.exchanges {
            declare::exchange(&channel, exchange).await?;
        }
        for queue in &self.queues {
            declare::queue(&channel, queue).await?;
        }
        self.settled = Instant::now() + QUEUES_SETTLE;
        Ok(channel)
    }

    async fn take(&mut self, command: Command, channel: &Channel) -> Result<(), LinkError> {
        match command {
            Command::Publish(call) => self.calls.push_back(call.into()),
            Command::Ensure(exchange, queues) => {
                // All is remembered before any is declared: if that breaks the channel, the next session declares the rest, too.
                let is_new = !self.exchanges.contains(&exchange);
                let new: Vec<Queue> = queues.into_iter().filter(|queue| !self.queues.contains(queue)).collect();
                self.exchanges.extend(is_new.then(|| exchange.clone()));
                self.queues.extend(new.iter().cloned());
                if is_new {
                    in_time(async { Ok(declare::exchange(channel, &exchange).await?) }).await?;
                }
                for queue in &new {
                    in_time(async { Ok(declare::queue(channel, queue).await?) }).await?;
                    self.settled = Instant::now() + QUEUES_SETTLE;
                }
            }
        }
        Ok(())
    }

    /// Publishes the next messages that have no result, and gives them one.
    async fn publish_window(&mut self, channel: &Channel, connection: &mut Live) -> Result<(), LinkError> {
        sleep_until(self.settled).await;
        let window = self.next_window();
        let messages: Vec<&Message> =
            window.iter().map(|&(call, message)| &self.calls[call].messages[message]).collect();
        let confirmations = tokio::select! {
            confirmations = send(channel, &messages) => confirmations?,
            () = connection.unblocked_for(CONFIRM_TIMEOUT) => {
                return Err(LinkError::Ended("a window was not confirmed in time"));
            }
        };
        let results = join(&messages, confirmations)?;
        for ((call, message), result) in window.into_iter().zip(results) {
            self.calls[call].results[message] = Some(result);
        }
        self.answer();
        Ok(())
    }

    /// Places (call, message) of the next messages in order, up to the window's bounds, at least one.
    fn next_window(&self) -> Vec<(usize, usize)> {
        let mut bytes = 0;
        let mut window = Vec::new();
        for (at, call) in self.calls.iter().enumerate() {
            for (number, message) in call.messages.iter().enumerate() {
                if call.results[number].is_some() {
                    continue;
                }
                bytes += message.body.len();
                let full = window.len() >= WINDOW_MESSAGES || bytes > WINDOW_BYTES;
                if full && !window.is_empty() {
                    return window;
                }
                window.push((at, number));
            }
        }
        window
    }

    /// Answers the calls whose messages all have their results: those in front, because windows are
    /// filled in order.
    fn answer(&mut self) {
        while let Some(call) = self.calls.front_mut() {
            if call.results.iter().any(Option::is_none) {
                return;
            }
            if let Some(call) = self.calls.pop_front() {
                call.reply.send(call.results.into_iter().flatten().collect());
            }
        }
    }
}

async fn send(channel: &Channel, messages: &[&Message]) -> lapin::Result<Vec<Confirmation>> {
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        let confirm = channel
            .basic_publish(
                message.exchange.as_str().into(),
                message.routing_key.as_str().into(),
                BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
                &message.body,
                convert::properties(message),
            )
            .await?;
        confirms.push(confirm);
    }
    try_join_all(confirms).await
}

/// The result of each message of a window: returned by its id, wherever in the window its return came.
fn join(messages: &[&Message], confirmations: Vec<Confirmation>) -> Result<Vec<Result<(), PublishError>>, LinkError> {
    let mut returned = HashSet::new();
    let mut refused = Vec::with_capacity(confirmations.len());
    for confirmation in confirmations {
        refused.push(match confirmation {
            Confirmation::Ack(_) => false,
            Confirmation::Nack(_) => true,
            Confirmation::NotRequested => return Err(LinkError::Ended("confirms are off")),
        });
        let message = confirmation.take_message();
        if let Some(id) = message.and_then(|m| m.delivery.properties.message_id().clone()) {
            returned.insert(id.to_string());
        }
    }
    Ok(messages
        .iter()
        .zip(refused)
        .map(|(message, refused)| {
            if returned.contains(&message.id) {
                Err(PublishError::Unroutable { routing_key: message.routing_key.clone() })
            } else if refused {
                Err(PublishError::Refused)
            } else {
                Ok(())
            }
        })
        .collect())
}
