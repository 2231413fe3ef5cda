//! `Retry-After` and `RateLimit-…`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| launchway_registry::fuzzing::waits(text));
