//! - *Consumes* everything, and every dead letter, in batches, from the queues that one active instance owns.
//! - *Publishes* `OBJECT_FINISHED`, and dead letters that are replayed, through an outbox; fences, to itself.
//! - *Stores* the record: one SQLite file (`DATABASE_URL`) with every object, task, result, total, figure and dead letter.
//!
//! A batch is merged in one transaction and acknowledged after its commit. The merge is a join: any order and any
//! repetition of events gives the same record, so nothing is lost and nothing counts twice.
//!
//! `sqlite3 stats.db "select * from statistics"` shows the headline figures at any moment.

mod backup;
mod config;
mod deadlines;
mod failures;
mod finish;
mod health;
mod http;
mod line;
mod live;
mod on_dead_letters;
mod on_events;
mod outbox;
mod rates;
pub mod record;
mod service;
mod upkeep;
mod waiters;

pub use self::{
    backup::{back_up, bring_back},
    config::{Config, DatabasePath, Retention},
    deadlines::{Clock, Deadlines, SendFence},
    health::Health,
    http::{Api, LongAnswers, router},
    live::{Heard, Live},
    on_dead_letters::OnDeadLetters,
    on_events::{Followers, OnEvents},
    outbox::{Announce, Outbox},
    rates::Rates,
    service::Statistics,
    upkeep::{Keep, Upkeep},
    waiters::Waiters,
};
