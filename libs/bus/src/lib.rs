//! # bus
//!
//! Typed events and how they travel.
//!
//! - [`events`]: the contract, one type an event. No I/O.
//! - [`Bus`]: publish an event and know that it is durable; consume a [`WorkQueue`], [`Batches`], or listen
//!   to broadcasts ([`Bus::listen`]).
//! - [`Transport`]: the delivery contract. [`amqp`] keeps it over RabbitMQ, [`embedded`] inside one process.
//! - [`Topology`]: what queues there are and what they get, as data.
//!
//! On the wire every event is a [CloudEvent](https://github.com/cloudevents/spec) in JSON, which any AMQP
//! client in any language can read and send.

pub mod amqp;
mod bus;
mod consume;
mod copies;
pub mod embedded;
mod envelope;
pub mod events;
mod headers;
mod message;
mod outcome;
mod pattern;
mod topology;
mod transport;

pub use self::{
    bus::{Bus, PATIENCE, Settings},
    consume::{Batches, Handle, HandleBatch, Hear, Slot, Slots, WorkQueue},
    envelope::{AnyEvent, DecodeError, Envelope, Received, decode, decode_any, encode, now},
    headers::{
        ATTEMPT, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY,
    },
    message::{Headers, Message},
    outcome::Outcome,
    pattern::Pattern,
    topology::{Binding, Exchange, ExchangeKind, Queue, QueueKind, RETRY_DELAYS, Topology},
    transport::{Acknowledge, AcknowledgeError, Delivery, PublishError, Receipt, Source, Subscription, Transport},
};
