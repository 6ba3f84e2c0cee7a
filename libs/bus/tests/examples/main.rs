//! The examples, run as a user runs them: as processes, over RabbitMQ and on the embedded bus.
//!
//! `cargo test -p bus` builds them; with `--test examples` alone they are as they were built last. `make test` starts the
//! broker and builds the services that one of them works with; without these a test fails.
#![allow(clippy::unwrap_used)]

mod chat;
mod kit;
mod likes;
mod scatter_gather;
mod work_queue;
