//! Who publishes and who consumes what.

use std::collections::BTreeSet;

use bus::{Headers, Message, Topology};

use crate::{
    event_types::EVENT_TYPES,
    places::{in_general, places},
};

/// The topic exchange, as everywhere in the documents.
pub(crate) const EXCHANGE: &str = "ebs";
/// What it says of a message that does not say its type.
const NO_TYPE: &str = "not an event";
/// What a broadcast listens by: a queue that goes with its connection.
const OWN_QUEUE: &str = "a queue of its own";

/// Who publishes and who consumes what, by the names that documents use: `ebs.processor.<operation>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// What is published to the topic exchange.
    pub published: BTreeSet<Published>,
    /// Copies of messages that go to one queue by way of another exchange.
    pub copied: BTreeSet<Copied>,
    /// Who takes what out of which queue.
    pub consumed: BTreeSet<Consumed>,
    /// Who listens to which queue: queue and service.
    pub consumers: BTreeSet<(String, &'static str)>,
    /// The headers of each copy, with the queue that it goes to first.
    pub headers_of_copies: Vec<(String, Headers)>,
}

/// That a service publishes events of a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The event's type.
    pub kind: String,
    /// Its routing key, such as `task.created.<operation>`.
    pub routing_key: String,
    /// Who publishes it.
    pub service: &'static str,
}

/// That a service sends copies of messages on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copied {
    /// The type of the message.
    pub kind: String,
    /// The queue that it goes to first.
    pub through: String,
    /// The queue that it is for, or comes from if it is a dead letter.
    pub queue: String,
    /// Who sends it.
    pub service: &'static str,
}

/// That a service gets messages of a type from a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Consumed {
    /// The message's type.
    pub kind: String,
    /// The queue.
    pub queue: String,
    /// Who gets it.
    pub service: &'static str,
}

impl Flow {
    pub(crate) fn publishes(&mut self, service: &'static str, message: &Message) {
        let kind = kind(message);
        if message.exchange == EXCHANGE {
            let routing_key = general_key(&kind, &message.routing_key);
            self.published.insert(Published { kind, routing_key, service });
        } else {
            // The exchanges of retries and of dead letters have the names of their queues.
            let (through, queue) = (general(&message.exchange), general(&message.routing_key));
            self.headers_of_copies.push((through.clone(), message.headers.clone()));
            self.copied.insert(Copied { kind, through, queue, service });
        }
    }

    pub(crate) fn subscribes(&mut self, service: &'static str, queue: Option<&str>) {
        self.consumers.insert((general(queue.unwrap_or(OWN_QUEUE)), service));
    }

    pub(crate) fn consumes(&mut self, service: &'static str, queue: Option<&str>, message: &Message) {
        let queue = general(queue.unwrap_or(OWN_QUEUE));
        self.consumed.insert(Consumed { kind: kind(message), queue, service });
    }

    /// Who gets events of a type, and from which queue, in the order of the flow: queue and service.
    pub fn readers(&self, kind: &str) -> Vec<(&str, &'static str)> {
        let order = places(&Topology::new(EXCHANGE));
        // What was set aside is not the event any more.
        let gets_events = |queue: &str| order.iter().any(|place| place.covers(queue) && !place.patterns.is_empty());
        let mut readers: Vec<_> = self
            .consumed
            .iter()
            .filter(|consumed| consumed.kind == kind && gets_events(&consumed.queue))
            .map(|consumed| (&*consumed.queue, consumed.service))
            .collect();
        readers.sort_by_key(|(queue, _)| order.iter().position(|place| place.name == *queue));
        readers
    }

    /// Who publishes events of a type.
    pub fn writers(&self, kind: &str) -> Vec<&Published> {
        self.published.iter().filter(|published| published.kind == kind).collect()
    }

    /// Who consumes a queue.
    pub fn consumers_of(&self, queue: &str) -> Vec<&'static str> {
        self.consumers.iter().filter(|(name, _)| name == queue).map(|(_, service)| *service).collect()
    }
}

fn kind(message: &Message) -> String {
    message.kind.clone().unwrap_or_else(|| NO_TYPE.to_owned())
}

/// A queue's name as documents write it.
fn general(queue: &str) -> String {
    in_general(&Topology::new(EXCHANGE), queue)
}

/// A routing key as documents write it.
fn general_key(kind: &str, routing_key: &str) -> String {
    match EVENT_TYPES.iter().find(|event| event.name == kind && routing_key.starts_with(event.key)) {
        Some(event) => format!("{}.<operation>", event.key),
        None => routing_key.to_owned(),
    }
}
