//! Paths, queries and scopes of requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| launchway_registry_server::fuzzing::route(text));
