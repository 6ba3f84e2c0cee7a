//! The record, on real SQLite files.
#![allow(clippy::unwrap_used)]

mod any_order;
mod dead_letters;
mod dead_letters_http;
mod deadlines;
mod events;
mod file;
mod finishing;
mod http;
mod opening;
mod outbox;
mod retention;
mod service;
mod support;
mod versions;
mod write_ahead_log;
