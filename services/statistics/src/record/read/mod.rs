//! Questions to the record: each one read transaction, so that what it answers belongs together.

mod dead_letters;
mod list;
mod object;
mod statistics;
mod totals;

pub(super) use self::statistics::WAITING_BY_CAUSE;
pub use self::{
    dead_letters::{DeadLetterFilter, FoundDeadLetter, Group, ListedDeadLetter},
    list::{Filter, Listed, Order, Position},
    object::{FoundObject, FoundTask},
    statistics::{Processor, Snapshot, Spread, Summary},
    totals::TopTotals,
};
