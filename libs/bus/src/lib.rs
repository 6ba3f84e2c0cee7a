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
pub mod embedded;
mod envelope;
pub mod events;
mod message;
mod outcome;
mod topology;
mod transport;

pub use self::{
    bus::{Bus, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, PATIENCE, Settings},
    consume::{Batches, Handle, HandleBatch, Hear, WorkQueue},
    envelope::{AnyEvent, DecodeError, Envelope, Received, decode, decode_any, encode, now},
    message::{Headers, Message},
    outcome::Outcome,
    topology::{Binding, Exchange, ExchangeKind, Queue, QueueKind, RETRY_DELAYS, Topology},
    transport::{Acknowledge, AcknowledgeError, Delivery, PublishError, Receipt, Source, Subscription, Transport},
};
