//! A journal's segments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::hostile::journal(data));
