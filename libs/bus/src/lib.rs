//! # bus
//!
//! Typed events and how they travel.
//!
//! - [`events`]: the contract, one type an event. No I/O. A [`CloudEvent`] may be a type of your own, too.
//! - [`Bus`]: publish an event and know that it is durable; consume a [`WorkQueue`], [`Batches`], or listen
//!   to broadcasts ([`Bus::listen`]).
//! - [`Transport`]: the delivery contract. [`amqp`] keeps it over RabbitMQ, [`embedded`] inside one process.
//! - [`Topology`]: what queues there are and what they get, as data.
//!
//! On the wire every event is a [CloudEvent](https://github.com/cloudevents/spec) in JSON, which any AMQP
//! client in any language can read and send.
//!
//! `examples/` shows it at work: a work queue, a chat, scatter and gather, nodes that replicate a counter.

pub mod amqp;
#[cfg(feature = "break-rules")]
pub mod broken;
mod bus;
mod calls;
mod cloud_event;
mod consume;
mod copies;
mod dead_letter;
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
    cloud_event::CloudEvent,
    consume::{BatchError, Batches, Handle, HandleBatch, Hear, Isolation, Item, Slot, Slots, WorkQueue},
    dead_letter::DeadLetter,
    envelope::{AnyEvent, DecodeError, Envelope, Received, data, decode, decode_any, encode, now},
    headers::{
        ATTEMPT, DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME, ORIGINAL_EXCHANGE,
        ORIGINAL_ROUTING_KEY, ROUND,
    },
    message::{Headers, Message},
    outcome::{Cause, Failure, Outcome},
    pattern::Pattern,
    topology::{Binding, Exchange, ExchangeKind, Queue, QueueKind, RETRY_DELAYS, Topology},
    transport::{
        Acknowledge, AcknowledgeError, DEPTH_PATIENCE, Delivery, DepthError, MAX_HELD_BYTES, Owner, PublishError,
        Receipt, Source, Subscription, Transport,
    },
};
