//! # datagen
//!
//! *Consumes* nothing. *Publishes* `OBJECT_CREATED`. *Stores* nothing: an object that it accepted is durable on the
//! bus, and the record is statistics'.
//!
//! The front door: accepts objects over HTTP, and passes on to statistics what only statistics can answer, so that
//! users need one address. Any number of replicas.

mod accept;
mod add_frequencies;
mod backlog;
mod bulk;
mod config;
mod create_object;
mod delete_frequencies;
mod document;
mod door;
mod forward;
mod generate;
mod identity;
mod list_operations;
mod prefer;
mod publish;
mod record;
mod room;
mod service;
mod submission;

pub use self::{generate::text as generated_text, service::Datagen};
