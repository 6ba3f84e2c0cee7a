//! # processor
//!
//! *Consumes* `TASK_CREATED` of the operations that it offers. *Publishes* `TASK_STARTED` and `TASK_FINISHED`. *Stores*
//! nothing.
//!
//! Executes tasks. Any number of them compete; one that dies leaves its tasks to the others.

mod command;
mod config;
mod execute;
mod on_task_created;
mod service;
mod stuck;

pub use self::service::Processor;
