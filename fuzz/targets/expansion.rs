//! Words with variables.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_dockerfile::fuzzing::expansion(bytes));
