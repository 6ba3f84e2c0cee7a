//! The queues of the topology, several that differ in one word of their names as one.

use bus::{Queue, RETRY_DELAYS, Topology, events::OperationName};

/// A queue, or several that differ in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As documents name it, such as `ebs.processor.<operation>`.
    pub name: String,
    /// The word that differs, if one does.
    pub parameter: Option<&'static str>,
    /// What that may be, if these are all; for operations it is any.
    pub values: Vec<String>,
    /// What it gets: patterns of the topic exchange as documents write them, such as `task.created.<operation>`. None for a
    /// queue that belongs to an exchange of its own.
    pub patterns: Vec<String>,
    /// One of these queues.
    pub sample: Queue,
}

/// A name that stands for that of any operation.
const ANY_OPERATION: &str = "operation";

impl Place {
    /// Whether a queue of this name is meant.
    pub fn covers(&self, queue: &str) -> bool {
        match (self.parameter, self.name.split_once('<')) {
            (Some(_), Some((prefix, _))) => queue.starts_with(prefix),
            _ => queue == self.name,
        }
    }

    fn of(topology: &Topology, sample: Queue) -> Self {
        let events = topology.events();
        let patterns =
            sample.bindings.iter().filter(|binding| binding.exchange == events).map(|binding| binding.pattern.clone());
        Self { name: sample.name.clone(), parameter: None, values: Vec::new(), patterns: patterns.collect(), sample }
    }

    /// That many queues, of which the sample has `word` where others have another one.
    fn each(self, parameter: &'static str, word: &str, values: Vec<String>) -> Self {
        let general = |text: &String| match text.strip_suffix(word) {
            Some(rest) => format!("{rest}<{parameter}>"),
            None => text.clone(),
        };
        let (name, patterns) = (general(&self.name), self.patterns.iter().map(general).collect());
        Self { name, parameter: Some(parameter), values, patterns, ..self }
    }
}

/// All queues around a topic exchange, in the order of the flow.
pub fn places(topology: &Topology) -> Vec<Place> {
    let any: OperationName = ANY_OPERATION.parse().expect("it is the name of an operation");
    let delays = RETRY_DELAYS.map(|delay| format!("{}s", delay.as_secs()));
    vec![
        Place::of(topology, topology.distributor()),
        Place::of(topology, topology.processor(&any)).each("operation", ANY_OPERATION, Vec::new()),
        Place::of(topology, topology.statistics()),
        Place::of(topology, topology.retry(RETRY_DELAYS[0])).each("delay", &delays[0].clone(), delays.to_vec()),
        Place::of(topology, topology.dead_letters()),
    ]
}

/// The name of a queue, or of the exchange that belongs to it, as documents write it.
pub(crate) fn in_general(topology: &Topology, name: &str) -> String {
    places(topology).into_iter().find(|place| place.covers(name)).map_or_else(|| name.to_owned(), |place| place.name)
}
