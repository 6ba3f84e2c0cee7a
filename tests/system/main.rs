//! The whole system from outside: real processes, a real broker, real faults; as four services and as one process.
//!
//! One file a promise. `make test` starts the broker and builds the services; without them a test fails.
#![allow(clippy::unwrap_used)]

mod add_frequencies;
mod backup;
mod bad_input;
mod bounds;
mod broker_trouble;
mod bulk;
mod command_line;
mod compression;
mod crashing;
mod dead_letters;
mod deadlines;
mod doctor;
mod events;
mod failures;
mod features;
mod first_object;
mod foreign;
mod frozen;
mod full_disks;
mod kit;
mod lists;
mod logs;
mod openapi;
mod operations;
mod operations_file;
mod order_of_start;
mod partitions;
mod prefer_wait;
mod restarts;
mod secrets;
mod settings;
mod spam;
mod tokens;
mod two_statistics;
mod up;
mod word_counts;
