//! libFuzzer over the codec.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| multibeam_fuzz::chunked_decoder(bytes));
