//! The whole system from outside: real processes, a real broker, real faults; as four services and as one process.
//!
//! One file a promise. `make test` starts the broker and builds the services; without them a test fails.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod first_object;
mod kit;
mod operations;
mod order_of_start;
mod restarts;
mod settings;
mod two_statistics;
mod up;
mod word_counts;
