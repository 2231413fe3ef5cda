//! The description of an image.

use std::collections::BTreeMap;

use crate::Hit;

/// What an entry of a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    /// A device or a fifo.
    Special,
    /// The path is removed.
    Whiteout,
}

/// What a layer has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a file; 0 for everything else.
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// A directory that hides what the layers below have in it.
    pub opaque: bool,
    /// Equal for the names of one file in one layer; none for a file with one name.
    pub inode: Option<u64>,
    /// A digest of the content, where it is known.
    pub content: Option<Vec<u8>>,
    /// What a look at the content found.
    pub hits: Vec<Hit>,
}

impl Entry {
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            target: Vec::new(),
            opaque: false,
            inode: None,
            content: None,
            hits: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// For people and programs: the diff id.
    pub digest: String,
    /// As it travels, in bytes.
    pub size: u64,
    /// What made it, as [`instructions`](crate::instructions) gives it.
    pub instruction: Option<String>,
    /// By path, relative to the root, without the root itself.
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

/// What of an image's configuration matters here.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    pub volumes: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// What each line of the history says, empty layers too.
    pub history: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The bottom one first.
    pub layers: Vec<Layer>,
    /// How many of them came with the base. What is in these is not this image's to mend.
    pub inherited: usize,
    pub config: Config,
    /// Paths where something will be mounted at run time.
    pub mounts: Vec<String>,
}

impl Image {
    /// The layers of the image's own, with their numbers.
    pub(crate) fn own(&self) -> impl Iterator<Item = (usize, &Layer)> {
        self.layers.iter().enumerate().skip(self.inherited)
    }

    /// Whether a layer is the image's own.
    pub(crate) fn is_own(&self, layer: usize) -> bool {
        layer >= self.inherited
    }

    /// How many of the layers are an operating system that somebody else made, as far as can be told
    /// from the layers alone: the first one, when it holds one and there are others.
    #[must_use]
    pub fn guess_inherited(layers: &[Layer]) -> usize {
        let is_system = layers.first().is_some_and(|first| {
            ["etc/os-release", "usr/lib/os-release"]
                .iter()
                .any(|path| first.entries.contains_key(path.as_bytes()))
        });
        usize::from(is_system && layers.len() > 1)
    }
}

/// A path as people write it.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
