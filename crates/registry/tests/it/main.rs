//! The client against servers that answer by script, and against a real registry.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

mod auth;
mod faults;
mod limits;
mod lists;
mod logins;
mod manifests;
mod mirrors;
mod pull;
mod push;
mod real_registry;
mod referrers;
mod retries;
mod secrets;
mod streams;
mod support;
mod tls;
mod tls_server;
mod transfers;
mod transport;
mod uploads;
