//! # Hostile input
//!
//! What must hold for any bytes that somebody sends: a message on the bus ([`decode_event`]), a request at the front door
//! ([`create_object`]). Each is a function of bytes that panics if it does not hold; `fuzz_targets/` lets libFuzzer look
//! for such bytes, beginning with those in `seeds/`.
//!
//! An input is text as far as possible, so that a seed can be read and written by people: some lines with what is said of a
//! body, then the body.

mod create_object;
mod decode_event;

pub use self::{create_object::create_object, decode_event::decode_event};

/// The next line of an input, and what comes after it.
fn line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}
