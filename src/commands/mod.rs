//! The commands that ask a system that runs, one file each.

pub mod dead_letters;
