//! Images moved as they are between registries, OCI layouts and archives.
//!
//! This crate owns the names of such places ([`Location`]), the one trait they all answer to
//! ([`Place`]), the walk through an image's documents ([`walk`]), and the copy itself
//! ([`copy()`]). Manifests stay the bytes they came as, so digests stay what they are.
//!
//! It does not know what an image is for, who asked, or how progress is shown; it reads no
//! environment and prints nothing.

mod archive;
mod archive_write;
mod blob;
pub mod codes;
mod copy;
mod docker;
mod document;
mod error;
mod files;
mod index_file;
mod layout;
mod local;
mod location;
mod look;
mod open;
mod place;
mod registry;
mod select;
mod unpacked;
pub mod walk;

pub use copy::{Copied, Copy, Count, Destination, Event, Planned, Verdict, copy, plan};
pub use document::{Body, Document};
pub use error::TransferError;
pub use location::{LocalName, Location, LocationError};
pub use look::{Entry, Image, Inspected, config_bytes, digest, document, inspect};
pub use open::{Opened, Places};
pub use place::{Answer, Blob, Holds, Name, Place, Role};
pub use select::{Choice, platforms_of, resolve};
pub use unpacked::{Unpacked, image, unpacked};
