//! Discord's and Telegram's events.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::hostile::event(data));
