//! The index of a layer's paths.

use std::collections::BTreeMap;

/// What a layer has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexedKind {
    File,
    Dir,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    /// The path is removed.
    Whiteout,
}

/// A path of a layer without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPath {
    pub kind: IndexedKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// sha256 of a file's content; empty for everything else. The target of a symbolic link and
    /// the number of a device stand here as they are.
    pub content: Vec<u8>,
    /// sha256 over the extended attributes, empty when there are none.
    pub xattrs: Vec<u8>,
    /// A directory that hides everything below it.
    pub opaque: bool,
}

/// The paths of one layer or of several on top of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathIndex {
    pub paths: BTreeMap<Vec<u8>, IndexedPath>,
}

/// Why two indexes cannot be stacked in any order with the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both have the path, and not the same there.
    Different,
    /// One removes or replaces what the other has paths below.
    Hidden,
}

/// The first path at which two of the indexes disagree; `first` and `second` say which two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub path: Vec<u8>,
    pub first: usize,
    pub second: usize,
    pub why: ConflictKind,
}

/// Why bytes are not an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an index of paths: {0}")]
pub struct IndexError(pub(crate) &'static str);

impl PathIndex {
    /// The canonical bytes: equal indexes give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// # Errors
    /// When the bytes are not what [`encode`](Self::encode) gives.
    pub fn decode(_bytes: &[u8]) -> Result<Self, IndexError> {
        unimplemented!()
    }

    /// The index of layers on top of each other, the bottom one first.
    #[must_use]
    pub fn stacked(_layers: &[&Self]) -> Self {
        unimplemented!()
    }

    /// The first conflict between any two of the indexes, by path; `None` when they can be stacked
    /// in any order.
    #[must_use]
    pub fn conflicts(_indexes: &[&Self]) -> Option<Conflict> {
        unimplemented!()
    }
}
