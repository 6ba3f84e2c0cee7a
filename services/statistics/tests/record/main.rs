//! The record, on real SQLite files.
#![allow(clippy::unwrap_used)]

mod any_order;
mod file;
mod finishing;
mod http;
mod outbox;
mod service;
mod support;
