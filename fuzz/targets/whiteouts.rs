//! Layers on top of each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let scratch = tempfile::tempdir().expect("making a folder");
    launchway_oci::fuzzing::whiteouts(bytes, scratch.path());
});
