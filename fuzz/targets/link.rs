//! `Link`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| launchway_registry::fuzzing::link(text));
