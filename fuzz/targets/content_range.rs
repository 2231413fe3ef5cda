//! `Content-Range` of an answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| launchway_registry::fuzzing::content_range(text));
