//! References, digests, platforms.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| launchway_model::fuzzing::reference(text));
