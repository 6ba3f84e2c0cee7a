//! An event as it came: understood for the record, and its own bytes for those who look on.

use std::sync::Arc;

use bus::{AnyEvent, DecodeError, Envelope, Item, Message, Received, data, decode_any};
use bytes::Bytes;

use crate::record::Fact;

/// What an event takes beside its texts: allocations, lengths.
const OVERHEAD_BYTES: usize = 256;

/// An event that was received.
#[derive(Debug)]
pub struct Heard {
    event: AnyEvent,
    told: Arc<Told>,
}

/// What those who look on are told of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) envelope: Envelope,
    pub(crate) routing_key: String,
    /// The event's own JSON; of an event of another type it may be anything.
    pub(crate) data: Bytes,
}

impl Item for Heard {
    fn read(message: &Message, max_event_bytes: usize) -> Result<Self, DecodeError> {
        let Received { envelope, event, .. } = decode_any(message, max_event_bytes)?;
        let mut data = data(message);
        if data.len() < message.body.len() / 2 {
            // It is a piece of the body, and would keep all of that.
            data = Bytes::copy_from_slice(&data);
        }
        let told = Told { envelope, routing_key: message.routing_key.clone(), data };
        Ok(Self { event, told: Arc::new(told) })
    }
}

impl Fact for Heard {
    fn envelope(&self) -> &Envelope {
        &self.told.envelope
    }

    fn event(&self) -> &AnyEvent {
        &self.event
    }
}

impl Heard {
    pub(super) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }
}

impl Told {
    /// What it takes in memory, more or less.
    pub(super) fn bytes(&self) -> usize {
        let Envelope { id, source, kind, subject, time: _, correlation_id, causation_id, traceparent } = &self.envelope;
        let options = [subject, correlation_id, causation_id, traceparent];
        let options: usize = options.into_iter().flatten().map(String::len).sum();
        OVERHEAD_BYTES + self.data.len() + self.routing_key.len() + id.len() + source.len() + kind.len() + options
    }
}

/// An event of another type with so many bytes of data.
#[cfg(test)]
pub(super) fn of_bytes(data_bytes: usize) -> Heard {
    let envelope = Envelope {
        id: "id".to_owned(),
        source: "/test".to_owned(),
        kind: "TEST".to_owned(),
        subject: None,
        time: bus::now(),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    };
    let told = Told { envelope, routing_key: "a.b".to_owned(), data: vec![b'1'; data_bytes].into() };
    Heard { event: AnyEvent::Unknown, told: Arc::new(told) }
}
