//! Indexes of the paths of a layer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| launchway_oci::fuzzing::path_index(bytes));
