//! What the bus promises, against golden files and a real broker.
#![allow(clippy::unwrap_used)]

mod amqp;
mod consumers;
mod envelopes;
mod golden;
mod kit;
