//! The commands that ask a system that runs, one file each.

pub mod completions;
pub mod dead_letters;
pub mod doctor;
pub mod events;
pub mod objects;
pub mod operations;
pub mod result;
pub mod spam;
pub mod statistics;
pub mod submit;
pub mod totals;
