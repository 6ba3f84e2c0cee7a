//! Copies of a message that travel on in its place: to come again later, to the dead letters, and in the next round.
//! Each has the id, the properties and the bytes of the message.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    headers::{
        ATTEMPT, DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME, ORIGINAL_EXCHANGE,
        ORIGINAL_ROUTING_KEY, ROUND, attempt, round,
    },
    message::Message,
    outcome::Failure,
};

/// A header by which RabbitMQ routes to [more queues](https://www.rabbitmq.com/docs/sender-selected), also on the way out
/// of a retry queue, where every word in it would be taken for a queue's name. It did its work with the original.
const MORE_ROUTING_KEYS: &str = "CC";

/// The copy that comes to `queue` again, as attempt number `attempt`, by way of a retry queue's exchange.
pub(crate) fn next_attempt(message: &Message, queue: &str, attempt: u32, through: &str) -> Message {
    let mut copy = to_one_queue(message, queue, through);
    copy.headers.insert(ATTEMPT.to_owned(), Value::from(attempt));
    copy
}

/// The copy that says why and when the message was set aside.
pub(crate) fn dead_letter(message: &Message, queue: &str, failure: &Failure, at: Timestamp, exchange: &str) -> Message {
    let mut copy = Message { exchange: exchange.to_owned(), routing_key: queue.to_owned(), ..message.clone() };
    for (name, value) in [
        (DEAD_REASON, Value::from(failure.reason())),
        (DEAD_CAUSE, Value::from(failure.cause().as_str())),
        (DEAD_TIME, Value::from(at.to_string())),
        (DEAD_QUEUE, Value::from(queue)),
        (DEAD_EXCHANGE, Value::from(message.exchange.as_str())),
        (DEAD_ROUTING_KEY, Value::from(message.routing_key.as_str())),
        (ATTEMPT, Value::from(attempt(message))),
    ] {
        copy.headers.insert(name.to_owned(), value);
    }
    copy
}

/// The copy of a message that comes to `queue`, and to no other, as if it had just been published: in its next round, by way
/// of a retry queue's exchange.
pub(crate) fn next_round(message: &Message, queue: &str, through: &str) -> Message {
    let mut copy = to_one_queue(message, queue, through);
    copy.headers.remove(ATTEMPT);
    copy.headers.insert(ROUND.to_owned(), Value::from(round(message).saturating_add(1)));
    copy
}

/// Gives a message that came by way of a retry queue the address back that it was published to.
pub(crate) fn restore(message: &mut Message) {
    let mut take = |name: &str| match message.headers.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (exchange, routing_key) = (take(ORIGINAL_EXCHANGE), take(ORIGINAL_ROUTING_KEY));
    if let Some(exchange) = exchange {
        message.exchange = exchange;
    }
    if let Some(routing_key) = routing_key {
        message.routing_key = routing_key;
    }
}

/// The message as it goes to `queue`, and to no other, by way of a retry queue's exchange.
pub(crate) fn to_one_queue(message: &Message, queue: &str, through: &str) -> Message {
    let mut copy = Message { exchange: through.to_owned(), routing_key: queue.to_owned(), ..message.clone() };
    copy.headers.remove(MORE_ROUTING_KEYS);
    copy.headers.insert(ORIGINAL_EXCHANGE.to_owned(), Value::from(message.exchange.as_str()));
    copy.headers.insert(ORIGINAL_ROUTING_KEY.to_owned(), Value::from(message.routing_key.as_str()));
    copy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::outcome::Cause;

    fn message() -> Message {
        Message {
            exchange: "ebs".to_owned(),
            routing_key: "task.created.pow".to_owned(),
            id: "an id".to_owned(),
            kind: Some("TASK_CREATED".to_owned()),
            headers: serde_json::from_str(r#"{"cloudEvents:id":"an id","other":[1]}"#).unwrap(),
            body: "{}".into(),
            ..Message::default()
        }
    }

    #[test]
    fn what_was_retried_twice_is_the_message_again_and_its_third_attempt() {
        let mut travelling = message();
        for number in 2..=3 {
            travelling = next_attempt(&travelling, "ebs.work", number, "ebs.retry.1s");
            assert_eq!((travelling.exchange.as_str(), travelling.routing_key.as_str()), ("ebs.retry.1s", "ebs.work"));
            // As the retry queue delivers it.
            travelling.exchange = String::new();
            restore(&mut travelling);
        }
        assert_eq!(attempt(&travelling), 3);
        travelling.headers.remove(ATTEMPT);
        assert_eq!(travelling, message());
    }

    #[test]
    fn the_next_round_of_a_message_is_the_message_again_and_its_first_attempt() {
        let mut failed = message();
        failed.headers.insert(ATTEMPT.to_owned(), 5.into());
        for number in 1..=2 {
            let mut again = next_round(&failed, "ebs.work", "ebs.retry.1s");
            assert_eq!((again.exchange.as_str(), again.routing_key.as_str()), ("ebs.retry.1s", "ebs.work"));
            restore(&mut again);
            assert_eq!((attempt(&again), round(&again)), (1, number));
            failed = again.clone();
            again.headers.remove(ROUND);
            assert_eq!(again, message());
        }
    }

    #[test]
    fn a_dead_letter_says_why_and_from_where_it_comes() {
        let mut failed = message();
        failed.headers.insert(ATTEMPT.to_owned(), 5.into());
        let failure = Failure::new(Cause::Rejected, "no use");
        let dead = dead_letter(&failed, "ebs.work", &failure, Timestamp::UNIX_EPOCH, "ebs.dead");
        assert_eq!((dead.exchange.as_str(), dead.headers[DEAD_QUEUE].as_str()), ("ebs.dead", Some("ebs.work")));
        assert_eq!(dead.headers[DEAD_REASON], "no use");
        assert_eq!(dead.headers[DEAD_CAUSE], "rejected");
        assert_eq!(dead.headers[DEAD_TIME], "1970-01-01T00:00:00Z");
        assert_eq!(dead.headers[ATTEMPT], 5);
    }

    #[test]
    fn an_attempt_that_makes_no_sense_is_the_first() {
        for nonsense in ["null", "0", "-1", "1.5", "4294967296", "\"2\"", "[2]"] {
            let mut message = message();
            message.headers.insert(ATTEMPT.to_owned(), serde_json::from_str(nonsense).unwrap());
            assert_eq!(attempt(&message), 1, "{nonsense}");
        }
        assert_eq!(attempt(&message()), 1);
    }
}
