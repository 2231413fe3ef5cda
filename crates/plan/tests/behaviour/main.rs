//! What is planned for a family, given what the registries hold.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod checker;
mod families;
mod hashing;
mod json;
mod lacking;
mod random;
mod refusals;
mod resume;
mod rolling;
mod shown;
mod world;
