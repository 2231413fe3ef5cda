//! The rules, each a function from an image to findings.

mod duplicates;
mod leftovers;
mod permissions;
mod secrets;
mod shadowed;
mod superseded;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use duplicates::{MIN_DUPLICATE, duplicates};
pub(crate) use leftovers::leftovers;
pub(crate) use permissions::permissions;
pub(crate) use secrets::secrets;
pub(crate) use shadowed::shadowed;
pub(crate) use superseded::superseded;

/// Waste of less than this in one place is not worth anybody's time, in bytes.
const MIN_WASTE: u64 = 100_000;
