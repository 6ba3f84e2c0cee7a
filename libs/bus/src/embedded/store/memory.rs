//! Memory in place of a file.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Commit, Contents, InBacklog, Page, Settled};
use crate::{
    embedded::state::{Number, QueueId},
    topology::{Exchange, Queue},
};

/// Keeps what a bus would keep in a file, as long as there is a clone of it: what one bus left here, also one that was
/// dropped in the middle of its work, another one finds.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    exchanges: BTreeMap<String, Exchange>,
    queues: BTreeMap<QueueId, (Queue, u64)>,
    journal: BTreeMap<u64, Vec<u8>>,
    backlog: BTreeMap<(QueueId, Number), Settled>,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::embedded) fn contents(&self) -> Contents {
        let kept = self.kept();
        let mut backlog: Vec<InBacklog> = Vec::new();
        for ((queue, number), settled) in &kept.backlog {
            match backlog.last_mut().filter(|last| last.queue == *queue) {
                Some(last) => {
                    last.messages += 1;
                    last.last = *number;
                    last.weight += settled.weight;
                }
                None => backlog.push(InBacklog {
                    queue: *queue,
                    messages: 1,
                    first: *number,
                    last: *number,
                    weight: settled.weight,
                }),
            }
        }
        Contents {
            exchanges: kept.exchanges.values().cloned().collect(),
            queues: kept.queues.values().cloned().collect(),
            journal: kept.journal.iter().map(|(sequence, content)| (*sequence, content.clone())).collect(),
            backlog,
        }
    }

    pub(super) fn commit(&self, commit: &Commit) {
        let mut kept = self.kept();
        let kept = &mut *kept;
        for exchange in &commit.exchanges {
            kept.exchanges.insert(exchange.name.clone(), exchange.clone());
        }
        for (id, queue) in &commit.queues {
            kept.queues.entry(*id).or_insert_with(|| (queue.clone(), 0)).0 = queue.clone();
        }
        for (id, window) in &commit.windows {
            if let Some((_, known)) = kept.queues.get_mut(id) {
                *known = *window;
            }
        }
        kept.journal.extend(commit.row.clone());
        for settled in &commit.settled {
            kept.backlog.insert((settled.queue, settled.number), settled.clone());
        }
        if let Some(sequence) = commit.forget_through {
            kept.journal.retain(|other, _| *other > sequence);
        }
        for place in &commit.acknowledged {
            kept.backlog.remove(place);
        }
        for (queue, number, deliveries) in &commit.deliveries {
            if let Some(settled) = kept.backlog.get_mut(&(*queue, *number)) {
                settled.deliveries = *deliveries;
            }
        }
        for (queue, messages) in &commit.delivered_first {
            let first = kept.backlog.range_mut((*queue, 0)..=(*queue, Number::MAX));
            for (_, settled) in first.take(usize::try_from(*messages).unwrap_or(usize::MAX)) {
                settled.deliveries += 1;
            }
        }
    }

    pub(super) fn page(&self, queue: QueueId, from: Number, max: usize) -> Page {
        let kept = self.kept();
        let mut rest = kept.backlog.range((queue, from)..=(queue, Number::MAX)).map(|(_, settled)| settled.clone());
        let messages = rest.by_ref().take(max).collect();
        Page { messages, is_last: rest.next().is_none() }
    }
}
