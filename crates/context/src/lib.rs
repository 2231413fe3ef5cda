//! The build context: which files of a directory a build sees, which of them a COPY source names,
//! and the digest of what it takes.
//!
//! [`Context`] is a directory as a [`Tree`](launchway_oci::Tree), without what `.dockerignore` and
//! the junk rules leave out; no symlink leads out of it, because every file is opened beneath one
//! directory handle and without following links. [`select`] and [`digest`] work on any tree, so
//! that `COPY --from` means the same as COPY. The older content-hash recipes are in [`recipe`].
//!
//! This crate knows no Dockerfile instruction, no engine and no registry.

pub mod codes;
mod context;
mod digest;
mod error;
mod filter;
mod junk;
mod known;
mod looks;
mod missing;
pub mod recipe;
mod root;
mod select;

pub use context::{Context, ignore_rules_in, read_ignore_rules, read_in};
pub use digest::{ContextDigest, digest, digest_until};
pub use error::ContextError;
pub use filter::{Filter, Verdict};
pub use junk::JunkRules;
pub use select::{Selected, Walked, select, select_with_parents, walk};
