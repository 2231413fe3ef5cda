//! Ignore rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_dockerfile::fuzzing::ignore(bytes));
