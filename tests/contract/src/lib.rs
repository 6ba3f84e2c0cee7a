//! # contract
//!
//! What travels on the bus, and from whom to whom, written down from the code:
//!
//! - [`flow()`] runs the four services for some seconds and notes who publishes and who consumes what: `make flow` draws it.
//! - [`asyncapi()`] is the bus as an [AsyncAPI](https://www.asyncapi.com/docs/reference/specification/v3.1.0) document, made of
//!   the events' types, of the topology and of that flow: `make asyncapi` writes it to `asyncapi.json`.
//!
//! The tests hold the document, ARCHITECTURE.md, the README and the services' own documentation against them.

mod asyncapi;
mod event_types;
mod examples;
mod flow;
mod headers;
mod picture;
mod places;
mod recorder;
mod run;

pub use self::{
    asyncapi::asyncapi,
    event_types::{EVENT_TYPES, EventType, schemas},
    examples::{Example, examples},
    flow::{Consumed, Copied, Flow, Published},
    places::{Place, places},
    run::flow,
};
