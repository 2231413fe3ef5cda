//! Freeing what is kept: layers, blobs, steps, cache mounts, downloads.
//!
//! Looking (`inventory`), deciding (`decide`, which is pure) and removing (`remove`) are apart. Everything
//! kept can be made or fetched again, so losing some of it costs time only; but nothing is removed
//! that a living process uses, that somebody has pinned, or that something needs which stays.

mod decide;
mod inventory;
mod item;
mod pins;
mod remove;
#[cfg(test)]
mod tests;
mod verify;

pub use decide::{Policy, Reason, Removal, decide};
pub use inventory::{Inventory, inventory};
pub(crate) use inventory::{
    cache_mount_name, download_name, know_files, save_known_files, step_name,
};
pub use item::{Item, ItemId, Kind};
pub use pins::{Pin, PinError, pin, pins, unpin};
pub use remove::{Freed, remove};
pub use verify::{Verified, verify};
