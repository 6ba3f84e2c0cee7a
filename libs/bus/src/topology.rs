//! What exchanges and queues there are, and what they get: data, declared by a transport.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::events::{Event, ObjectCreated, ObjectFinished, OperationName, TaskCreated, TaskFinished, TaskStarted};

/// An exchange: where messages are published to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExchangeKind {
    /// By pattern: `*` is one word, `#` any number of words.
    Topic,
    /// Everything to every queue that is bound.
    Fanout,
}

/// What a queue gets: the messages of an exchange whose routing key matches the pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// The exchange.
    pub exchange: Exchange,
    /// A routing key in which `*` is one word and `#` any number of words.
    pub pattern: String,
}

/// A durable queue, shared by whoever consumes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queue {
    /// Its name. What may vary in what a queue is stands in its name: a queue that is declared again
    /// with other properties is refused by the broker.
    pub name: String,
    /// What it is for.
    pub kind: QueueKind,
    /// What it gets.
    pub bindings: Vec<Binding>,
}

/// What a queue is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QueueKind {
    /// Work. What the broker itself gives up (after a million deliveries) goes to this exchange.
    Work {
        /// The exchange of dead letters.
        dead_letters: Exchange,
    },
    /// Messages that are to be tried again. Each stays for the delay and then goes to the queue that its routing key
    /// names; nobody consumes here. One queue a delay, because messages leave in the order in which they came.
    Retry {
        /// How long they stay.
        delay: Duration,
    },
    /// Dead letters: they go nowhere else.
    DeadLetters,
}

/// The waits before a message is tried again, the last one again and again.
pub const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// The exchanges and queues of one system, all named after its topic exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    name: String,
}

impl Topology {
    /// The topology around the topic exchange of this name.
    pub fn new(exchange: impl Into<String>) -> Self {
        Self { name: exchange.into() }
    }

    /// The topic exchange: all events are published to it.
    pub fn events(&self) -> Exchange {
        Exchange { name: self.name.clone(), kind: ExchangeKind::Topic }
    }

    /// The exchange of dead letters.
    pub fn dead_letters_exchange(&self) -> Exchange {
        Exchange { name: format!("{}.dead", self.name), kind: ExchangeKind::Fanout }
    }

    /// Every distributor competes for the objects to split.
    pub fn distributor(&self) -> Queue {
        self.work("distributor", "object.created.#")
    }

    /// Every processor that offers the operation competes for its tasks.
    pub fn processor(&self, operation: &OperationName) -> Queue {
        self.work(&format!("processor.{operation}"), &format!("{}.{operation}", TaskCreated::KEY))
    }

    /// The one active statistics gets everything.
    pub fn statistics(&self) -> Queue {
        self.work("statistics", "#")
    }

    /// The queue that only the one active statistics holds.
    pub fn statistics_owner(&self) -> String {
        format!("{}.statistics.owner", self.name)
    }

    /// The exchange of messages that are to be tried again after `delay`, in whole seconds.
    pub fn retry_exchange(&self, delay: Duration) -> Exchange {
        Exchange { name: format!("{}.retry.{}s", self.name, delay.as_secs()), kind: ExchangeKind::Fanout }
    }

    /// Messages that are to be tried again after `delay`. It has its exchange's name.
    pub fn retry(&self, delay: Duration) -> Queue {
        let exchange = self.retry_exchange(delay);
        Queue {
            name: exchange.name.clone(),
            kind: QueueKind::Retry { delay },
            bindings: vec![Binding { exchange, pattern: String::new() }],
        }
    }

    /// Messages that were set aside.
    pub fn dead_letters(&self) -> Queue {
        let exchange = self.dead_letters_exchange();
        Queue {
            name: exchange.name.clone(),
            kind: QueueKind::DeadLetters,
            bindings: vec![Binding { exchange, pattern: String::new() }],
        }
    }

    /// The work queue of this name, if these events have one.
    pub fn work_queue(&self, name: &str) -> Option<Queue> {
        let role = name.strip_prefix(&self.name)?.strip_prefix('.')?;
        match role.strip_prefix("processor.") {
            Some(operation) => Some(self.processor(&operation.parse().ok()?)),
            None => [self.distributor(), self.statistics()].into_iter().find(|queue| queue.name == name),
        }
    }

    /// The queues that an event must reach.
    ///
    /// A publisher makes sure of them itself: a broker that returns what no queue gets cannot notice
    /// that one is missing, because statistics gets everything.
    pub fn must_reach<E: Event>(&self, operation: &OperationName) -> Vec<Queue> {
        let mut queues = vec![self.statistics()];
        match E::TYPE {
            ObjectCreated::TYPE => queues.push(self.distributor()),
            TaskCreated::TYPE => queues.push(self.processor(operation)),
            TaskStarted::TYPE | TaskFinished::TYPE | ObjectFinished::TYPE => {}
            other => debug_assert!(false, "{other} has no place in the topology"),
        }
        queues
    }

    /// A queue of work, whose consumers compete for what matches the pattern: one of those above, or one of your own around
    /// an exchange of your own.
    pub fn work(&self, role: &str, pattern: &str) -> Queue {
        Queue {
            name: format!("{}.{role}", self.name),
            kind: QueueKind::Work { dead_letters: self.dead_letters_exchange() },
            bindings: vec![Binding { exchange: self.events(), pattern: pattern.to_owned() }],
        }
    }
}
