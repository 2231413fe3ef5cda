//! Safe unpacking.

use std::io::Read;
use std::path::Path;

use crate::UnpackError;

/// How removals are marked in layer directories, which depends on who mounts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The real root: `trusted.overlay.*`.
    Trusted,
    /// Inside a user namespace: `user.overlay.*`.
    User,
}

/// What entries called `.wh.…` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// Removals, as in a layer: they become overlay's marks.
    Overlay(Flavour),
    /// Ordinary files, as in an archive that ADD unpacks.
    Plain,
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct UnpackOptions {
    pub whiteouts: Whiteouts,
    /// Every entry gets this owner instead of its own.
    pub owner: Option<(u32, u32)>,
}

/// Unpacks a tar, plain or compressed with gzip or zstd, into a directory; nothing outside of the
/// directory is touched. Returns the number of entries.
///
/// # Errors
/// When the archive is damaged or an entry leads outside; what was unpacked before stays.
pub fn unpack(
    _archive: impl Read + Send,
    _target: &Path,
    _options: &UnpackOptions,
) -> Result<u64, UnpackError> {
    unimplemented!()
}
