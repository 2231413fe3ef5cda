//! Manifests, indexes, configurations.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_oci::fuzzing::manifest(bytes));
