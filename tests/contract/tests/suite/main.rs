//! The documents say what the code does: the AsyncAPI document of the bus, ARCHITECTURE.md, the README's picture, and what each
//! service says of itself.
#![allow(clippy::unwrap_used)]

mod asyncapi;
mod documents;
mod kit;
mod markdown;
mod schemas;
