//! Copies of a message that travel on in its place: to come again later, to the dead letters, and back from there.
//! Each has the id, the properties and the bytes of the message.

use serde_json::Value;

use crate::{
    headers::{
        ATTEMPT, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY,
        attempt,
    },
    message::Message,
};

/// The longest reason kept, in characters.
const MAX_REASON_CHARS: usize = 2000;

/// A header by which RabbitMQ routes to [more queues](https://www.rabbitmq.com/docs/sender-selected), also on the way out
/// of a retry queue, where every word in it would be taken for a queue's name. It did its work with the original.
const MORE_ROUTING_KEYS: &str = "CC";

/// The copy that comes to `queue` again, as attempt number `attempt`, by way of a retry queue's exchange.
pub(crate) fn next_attempt(message: &Message, queue: &str, attempt: u32, through: &str) -> Message {
    let mut copy = through_retry(message, queue, through, &message.exchange, Some(&message.routing_key));
    copy.headers.insert(ATTEMPT.to_owned(), Value::from(attempt));
    copy
}

/// The copy that says why the message was set aside.
pub(crate) fn dead_letter(message: &Message, queue: &str, reason: &str, exchange: &str) -> Message {
    let mut copy = Message { exchange: exchange.to_owned(), routing_key: queue.to_owned(), ..message.clone() };
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    for (name, value) in [
        (DEAD_REASON, Value::from(reason)),
        (DEAD_QUEUE, Value::from(queue)),
        (DEAD_EXCHANGE, Value::from(message.exchange.as_str())),
        (DEAD_ROUTING_KEY, Value::from(message.routing_key.as_str())),
        (ATTEMPT, Value::from(attempt(message))),
    ] {
        copy.headers.insert(name.to_owned(), value);
    }
    copy
}

/// The queue that a dead letter came from, if it says so.
pub(crate) fn queue_of(dead: &Message) -> Option<&str> {
    dead.headers.get(DEAD_QUEUE).and_then(Value::as_str)
}

/// The copy of a dead letter that comes to `queue` as if it had just been published, by way of a retry queue's
/// exchange. `events` is where it was published if it does not say so.
pub(crate) fn first_again(dead: &Message, queue: &str, through: &str, events: &str) -> Message {
    let said = |name: &str| dead.headers.get(name).and_then(Value::as_str);
    let mut copy = through_retry(dead, queue, through, said(DEAD_EXCHANGE).unwrap_or(events), said(DEAD_ROUTING_KEY));
    for name in [ATTEMPT, DEAD_REASON, DEAD_QUEUE, DEAD_EXCHANGE, DEAD_ROUTING_KEY] {
        copy.headers.remove(name);
    }
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

fn through_retry(
    message: &Message,
    queue: &str,
    through: &str,
    original_exchange: &str,
    original_routing_key: Option<&str>,
) -> Message {
    let mut copy = Message { exchange: through.to_owned(), routing_key: queue.to_owned(), ..message.clone() };
    copy.headers.remove(MORE_ROUTING_KEYS);
    copy.headers.insert(ORIGINAL_EXCHANGE.to_owned(), Value::from(original_exchange));
    if let Some(key) = original_routing_key {
        copy.headers.insert(ORIGINAL_ROUTING_KEY.to_owned(), Value::from(key));
    }
    copy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
    fn a_dead_letter_that_is_redriven_is_the_message_again_and_its_first_attempt() {
        let mut failed = message();
        failed.headers.insert(ATTEMPT.to_owned(), 5.into());
        let dead = dead_letter(&failed, "ebs.work", "no use", "ebs.dead");
        assert_eq!((dead.exchange.as_str(), queue_of(&dead)), ("ebs.dead", Some("ebs.work")));
        assert_eq!(dead.headers[DEAD_REASON], "no use");
        assert_eq!(dead.headers[ATTEMPT], 5);
        let mut again = first_again(&dead, "ebs.work", "ebs.retry.1s", "another");
        assert_eq!((again.exchange.as_str(), again.routing_key.as_str()), ("ebs.retry.1s", "ebs.work"));
        restore(&mut again);
        assert_eq!(again, message());
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

    #[test]
    fn a_reason_of_any_length_is_cut_between_characters() {
        let dead = dead_letter(&message(), "ebs.work", &"é".repeat(3000), "ebs.dead");
        assert_eq!(dead.headers[DEAD_REASON].as_str().unwrap().chars().count(), MAX_REASON_CHARS);
    }
}
