//! npm registries: where they are, what they answer, and what npm's version ranges mean.

mod client;
mod config;
mod npmrc;
mod range;

pub use client::{Npm, NpmRetry};
pub use config::{NpmConfig, NpmConfigError, NpmInputs};
pub use range::{Range, RangeError};
