//! - *Consumes* everything, in batches, from the queue that one active instance owns.
//! - *Publishes* `OBJECT_FINISHED`, through an outbox.
//! - *Stores* the record: one SQLite file (`DATABASE_URL`) with every object, task, result, total and figure.
//!
//! A batch is merged in one transaction and acknowledged after its commit. The merge is a join: any order and any
//! repetition of events gives the same record, so nothing is lost and nothing counts twice.
//!
//! `sqlite3 stats.db "select * from statistics"` shows the headline figures at any moment.

mod config;
mod finish;
mod health;
mod http;
mod line;
mod on_events;
mod outbox;
mod rates;
pub mod record;
mod service;
mod waiters;

pub use self::{
    config::{Config, DatabasePath},
    health::Health,
    http::{Api, router},
    on_events::OnEvents,
    outbox::{Announce, Outbox},
    rates::Rates,
    service::Statistics,
    waiters::Waiters,
};
