//! Exchanges, and who gets what is published to them.

use std::collections::HashMap;

use super::state::{ListenerId, QueueId};
use crate::{
    pattern::Pattern,
    topology::{Binding, Exchange, ExchangeKind},
};

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Queue(QueueId),
    Listener(ListenerId),
}

/// All exchanges and their bindings.
#[derive(Debug, Default)]
pub(super) struct Router(HashMap<String, Bindings>);

#[derive(Debug)]
struct Bindings {
    kind: ExchangeKind,
    patterns: Vec<(Pattern, Target)>,
}

impl Router {
    /// Adds an exchange; whether it is new.
    pub(super) fn declare(&mut self, exchange: &Exchange) -> Result<bool, String> {
        match self.0.get(&exchange.name) {
            Some(known) if known.kind == exchange.kind => Ok(false),
            Some(known) => Err(format!("exchange {} is {:?} and not {:?}", exchange.name, known.kind, exchange.kind)),
            None => {
                self.0.insert(exchange.name.clone(), Bindings { kind: exchange.kind, patterns: Vec::new() });
                Ok(true)
            }
        }
    }

    /// Binds a target; its exchange was declared.
    pub(super) fn bind(&mut self, binding: &Binding, target: Target) {
        if let Some(bindings) = self.0.get_mut(&binding.exchange.name) {
            let bound = (Pattern::new(&binding.pattern), target);
            if !bindings.patterns.contains(&bound) {
                bindings.patterns.push(bound);
            }
        }
    }

    pub(super) fn unbind(&mut self, target: Target) {
        for bindings in self.0.values_mut() {
            bindings.patterns.retain(|(_, bound)| *bound != target);
        }
    }

    /// Each target that gets it, once.
    pub(super) fn route(&self, exchange: &str, routing_key: &str) -> Vec<Target> {
        let mut targets = Vec::new();
        let Some(bindings) = self.0.get(exchange) else { return targets };
        for (pattern, target) in &bindings.patterns {
            let matches = bindings.kind == ExchangeKind::Fanout || pattern.matches(routing_key);
            if matches && !targets.contains(target) {
                targets.push(*target);
            }
        }
        targets
    }
}
