//! Images copied and looked at by the real program, between registries, layouts and archives, and
//! what other people's tools make of the result.
//!
//! Nothing here needs a network.

mod bad_input;
mod lab;
mod listing;
mod peers;
mod registries;
