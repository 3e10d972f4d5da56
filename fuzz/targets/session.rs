//! libFuzzer over one shard.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| multibeam_fuzz::session(bytes));
