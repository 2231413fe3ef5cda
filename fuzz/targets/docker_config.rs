//! Docker's configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_registry::fuzzing::docker_config(bytes));
