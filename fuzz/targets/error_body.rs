//! Bodies of errors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_registry::fuzzing::error_body(bytes));
