//! Who publishes and who consumes what.

use std::{collections::BTreeSet, fmt};

use bus::{Headers, Message, Topology};

use crate::{
    event_types::EVENT_TYPES,
    places::{Place, in_general, places},
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
    pub fn readers(&self, kind: &str) -> Vec<(String, &'static str)> {
        let order = places(&Topology::new(EXCHANGE));
        // What was set aside is not the event any more.
        let gets_events = |queue: &str| order.iter().any(|place| place.covers(queue) && !place.patterns.is_empty());
        let mut readers: Vec<_> = self
            .consumed
            .iter()
            .filter(|consumed| consumed.kind == kind && gets_events(&consumed.queue))
            .map(|consumed| (consumed.queue.clone(), consumed.service))
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

    fn row_of(&self, place: &Place) -> [String; 3] {
        let gets = if place.patterns.is_empty() { "copies".to_owned() } else { place.patterns.join(", ") };
        let consumers = self.consumers_of(&place.name);
        let consumers = if consumers.is_empty() { "nobody".to_owned() } else { consumers.join(", ") };
        [place.name.clone(), gets, format!("→ {consumers}")]
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

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Events, on the topic exchange {EXCHANGE}:\n")?;
        let mut rows = Vec::new();
        for event in EVENT_TYPES {
            for (number, published) in self.writers(event.name).into_iter().enumerate() {
                let readers = self.readers(event.name);
                for (place, (queue, service)) in readers.iter().enumerate() {
                    let first = place == 0;
                    let name = if first && number == 0 { event.name } else { "" };
                    let key = if first { published.routing_key.as_str() } else { "" };
                    let from = if first { format!("{} →", published.service) } else { "→".to_owned() };
                    rows.push([name.to_owned(), key.to_owned(), from, format!("{queue} →"), (*service).to_owned()]);
                }
            }
        }
        table(f, &rows)?;
        writeln!(f, "\nWhoever else wants some binds a queue of their own.\n\nQueues:\n")?;
        let rows = places(&Topology::new(EXCHANGE)).into_iter().map(|place| self.row_of(&place)).collect::<Vec<_>>();
        table(f, &rows)?;
        writeln!(f, "\nCopies, each for one queue or from it:\n")?;
        let rows = self.copied.iter().map(|copied| {
            let way = if self.consumers_of(&copied.through).is_empty() { "for" } else { "from" };
            let queue = format!("{way} {}", copied.queue);
            [copied.kind.clone(), format!("{} → {}", copied.service, copied.through), queue]
        });
        table(f, &rows.collect::<Vec<_>>())
    }
}

/// Writes rows, their columns below each other. An arrow at the end of a cell stands at the end of its column.
fn table<const COLUMNS: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; COLUMNS]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let filling = " ".repeat(width - cell.chars().count());
            match cell.strip_suffix('→') {
                Some(text) => line += &format!("  {text}{filling}→"),
                None => line += &format!("  {cell}{filling}"),
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
