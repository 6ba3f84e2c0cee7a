//! A message that was set aside, as whoever keeps it reads it.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    consume::Item,
    envelope::{AnyEvent, DecodeError, Received, decode_any},
    headers::{
        ATTEMPT, DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME, attempt, round,
    },
    message::Message,
};

/// A message that was set aside. Whatever is in the queue of dead letters can be read as one.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The message as it was in the queue that it came from: its address, properties, headers and bytes.
    pub message: Message,
    /// That queue; none if nobody has set it aside who says so.
    pub queue: Option<String>,
    /// What kind of reason there was: one word.
    pub cause: Option<String>,
    /// The reason, for people.
    pub reason: Option<String>,
    /// When it was set aside.
    pub time: Option<Timestamp>,
    /// In which attempt, from 1.
    pub attempt: u32,
    /// In which round: how often it was replayed before.
    pub round: u32,
    /// The event that it is; none if it is none, or a longer one than is read.
    pub event: Option<Received<AnyEvent>>,
}

impl DeadLetter {
    /// The id of a [fence](crate::Bus::fence), if it is one that came this way, and nothing that was set aside.
    pub fn fence(&self) -> Option<&str> {
        let received = self.event.as_ref().filter(|_| self.queue.is_none())?;
        matches!(received.event, AnyEvent::Fence).then_some(received.envelope.id.as_str())
    }
}

impl Item for DeadLetter {
    /// Never fails: it has been refused once, and there is nowhere else to go.
    fn read(message: &Message, max_event_bytes: usize) -> Result<Self, DecodeError> {
        let mut message = message.clone();
        let (attempt, header_round) = (attempt(&message), round(&message));
        let mut take = |name: &str| match message.headers.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (queue, cause, reason) = (take(DEAD_QUEUE), take(DEAD_CAUSE), take(DEAD_REASON));
        let (time, exchange, routing_key) = (take(DEAD_TIME), take(DEAD_EXCHANGE), take(DEAD_ROUTING_KEY));
        message.headers.remove(ATTEMPT);
        message.exchange = exchange.unwrap_or(message.exchange);
        message.routing_key = routing_key.unwrap_or(message.routing_key);
        let event = decode_any(&message, max_event_bytes).ok();
        let round = match event.as_ref().map(|received| &received.event) {
            Some(AnyEvent::TaskCreated(event)) => header_round.max(event.task.round),
            _ => header_round,
        };
        let time = time.and_then(|time| time.parse().ok());
        Ok(Self { message, queue, cause, reason, time, attempt, round, event })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        copies,
        outcome::{Cause, Failure},
    };

    #[test]
    fn whatever_it_is_it_is_read_as_the_message_that_it_was() {
        let message = Message {
            exchange: "ebs".to_owned(),
            routing_key: "task.created.pow".to_owned(),
            headers: serde_json::from_str(r#"{"other":[1],"ebs-round":3}"#).unwrap(),
            body: vec![0xff, 0].into(),
            ..Message::default()
        };
        let mut failed = message.clone();
        failed.headers.insert(ATTEMPT.to_owned(), 5.into());
        let failure = Failure::new(Cause::Rejected, "no use");
        let dead = copies::dead_letter(&failed, "ebs.processor.pow", &failure, Timestamp::UNIX_EPOCH, "ebs.dead");
        let read = DeadLetter::read(&dead, 1000).unwrap();
        assert_eq!(read.message, message);
        assert_eq!((read.queue.as_deref(), read.reason.as_deref()), (Some("ebs.processor.pow"), Some("no use")));
        assert_eq!((read.cause.as_deref(), read.time), (Some("rejected"), Some(Timestamp::UNIX_EPOCH)));
        assert_eq!((read.attempt, read.round, read.event), (5, 3, None));
    }

    #[test]
    fn what_nobody_has_set_aside_is_one_too() {
        let headers = r#"{"ebs-dead-queue":7,"ebs-dead-time":"yesterday","ebs-round":"x"}"#;
        let message = Message { headers: serde_json::from_str(headers).unwrap(), ..Message::default() };
        let read = DeadLetter::read(&message, 1000).unwrap();
        assert_eq!((&read.queue, read.time, read.round, read.attempt), (&None, None, 0, 1));
        assert_eq!(read.fence(), None);
    }
}
