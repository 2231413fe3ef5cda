//! The registry from outside: requests as values, requests over sockets, real clients.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod access;
mod blobs;
mod browser;
mod clients;
mod collect;
mod layout;
mod listings;
mod manifests;
mod mirror;
mod pages;
mod secured;
mod serving;
mod support;
mod tls;
mod tokens;
mod uploads;
