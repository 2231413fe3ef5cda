//! Manifests as the embedded registry reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_registry_server::fuzzing::document(bytes));
