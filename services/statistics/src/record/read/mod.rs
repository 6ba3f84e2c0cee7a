//! Questions to the record: each one read transaction, so that what it answers belongs together.

mod list;
mod object;
mod statistics;
mod totals;

pub use self::{
    list::{Filter, Listed, Position},
    object::{FoundObject, FoundTask},
    statistics::{Processor, Snapshot, Spread, Summary},
    totals::TopTotals,
};
