//! # distributor
//!
//! *Consumes* `OBJECT_CREATED`. *Publishes* `TASK_CREATED`, one per part. *Stores* nothing.
//!
//! Splits objects into tasks. Any number of them compete for the objects; what one did and did not acknowledge,
//! another does again, with the same ids and the same bytes.

mod on_object_created;
mod service;

pub use self::service::Distributor;
