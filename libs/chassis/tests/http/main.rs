//! The server from outside: real sockets, and clients that do not behave.
#![allow(clippy::unwrap_used)]

mod answers;
mod kit;
mod limits;
mod operational;
mod problems;
mod shutdown;
