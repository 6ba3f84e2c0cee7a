//! What is in a broker: what this user may do there, exchanges and queues, and whether it takes messages.

use std::future::pending;

use futures_util::StreamExt;
use lapin::{
    Channel, Confirmation, Connection, ErrorKind, Event,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueDeclareOptions,
    },
    protocol::{AMQPErrorKind, AMQPSoftError, BasicProperties},
    types::FieldTable,
};
use tokio::time::{error::Elapsed, timeout};
use uuid::Uuid;

use super::{super::declare, Findings, STEP};
use crate::{
    events::OperationName,
    topology::{Exchange, ExchangeKind, Queue, QueueKind, RETRY_DELAYS, Topology},
};

/// Asks a broker about what a topology wants there.
pub(super) struct Look<'a> {
    pub(super) connection: &'a Connection,
    pub(super) topology: &'a Topology,
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
    fn of<T>(answered: Result<lapin::Result<T>, Elapsed>) -> Self {
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
    pub(super) async fn at_alarms(&self, found: &mut Findings) {
        let mut events = Box::pin(self.connection.events_listener());
        let blocked = async {
            while let Some(event) = events.next().await {
                if let Event::ConnectionBlocked(reason) = event {
                    return reason.to_string();
                }
            }
            pending().await
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
    pub(super) async fn at_rights(&self, found: &mut Findings) {
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
    pub(super) async fn at_queues(&self, operations: &[OperationName], found: &mut Findings) {
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
