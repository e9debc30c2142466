//! Records of every kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::hostile::record(data));
