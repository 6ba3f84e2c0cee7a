//! What an event is on the wire, against golden files. How events travel is in `conformance`.
#![allow(clippy::unwrap_used)]

mod envelopes;
#[path = "../kit/events.rs"]
mod events;
mod golden;
mod kit;
