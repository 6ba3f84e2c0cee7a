//! libFuzzer on [`fuzz::create_object`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::create_object(input));
