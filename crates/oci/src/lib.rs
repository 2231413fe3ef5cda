//! Layers, manifests and the local store.
//!
//! This crate owns everything between a directory of changed files and a blob a registry takes:
//! the deterministic tar, hashing, compression, safe unpacking, the store that several processes
//! share, the view of stacked layers as one tree, the index of a layer's paths, the choice of
//! an index's image for a platform, and the reading and writing of OCI layouts. It knows no HTTP and no image families.

mod canon;
mod compress;
mod copied;
mod error;
mod export;
mod fuse_marks;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hash;
mod held;
mod implied;
mod index;
mod index_layer;
mod layer;
mod layers;
mod layout;
mod list_layer;
mod mark;
mod pack;
mod packed;
mod pipe;
mod planned;
mod platform;
mod remove;
pub mod spec;
mod stack;
mod store;
mod survey;
mod tar_read;
mod tar_way;
mod tar_write;
mod temp;
mod tree;
mod turn;
mod unpack;
#[cfg(test)]
mod unpack_tests;
mod walk_layer;
mod way_out;
mod whole;
mod xattr;

pub use compress::Compression;
pub use error::{StoreError, UnpackError};
pub use export::{ExportedFiles, Stale, write_files_to_folder, write_files_to_tar};
pub use hash::{Hasher, hash_reader};
pub use held::ShutDoor;
pub use implied::unpack_telling_implied;
pub use index::{Conflict, ConflictKind, IndexError, IndexedKind, IndexedPath, PathIndex};
pub use layer::{CommitOptions, Layer, Stop};
pub use layout::{ArchiveImage, is_layout, read_archive, read_layout, write_archive, write_layout};
pub use list_layer::ListedPath;
pub use planned::{Attributes, Files, PlannedLayer, Source};
pub use platform::{NoSuchPlatform, is_attestation, platform_of, select_platform};
pub use stack::Stack;
pub use store::{Store, blob_name};
pub use survey::{
    BlobContent, Origin, StoredBlob, StoredLayer, StoredName, Survey, disk_usage, image_name,
};
pub use temp::{BlobWriter, TempPath, WorkingLayer};
pub use tree::{EntryKind, FileContent, Tree, TreeEntry, resolve, resolve_by, walk};
pub use turn::Turn;
pub use unpack::{Flavour, UnpackOptions, Whiteouts, unpack};
pub use whole::layer_name;
