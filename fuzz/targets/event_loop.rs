//! libFuzzer over the scripted kernel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| multibeam_fuzz::event_loop(bytes));
