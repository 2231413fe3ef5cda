//! `Range`, and `Content-Range` of a chunk.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| launchway_registry_server::fuzzing::range(text));
