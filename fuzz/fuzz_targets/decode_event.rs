//! libFuzzer on [`fuzz::decode_event`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::decode_event(input));
