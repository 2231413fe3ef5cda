//! Helpers of the integration tests.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses some of them"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use launchway_oci::{
    CommitOptions, EntryKind, Flavour, Hasher, Layer, Stack, Store, StoreError, Tree, TreeEntry,
    walk,
};

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store"), Flavour::Trusted).unwrap();
    (directory, store)
}

/// Makes a layer of what `fill` puts into its directory.
pub fn layer(store: &Store, below: &Stack, fill: impl FnOnce(&Path)) -> Layer {
    try_layer(store, below, &CommitOptions::default(), fill).unwrap()
}

pub fn try_layer(
    store: &Store,
    below: &Stack,
    options: &CommitOptions,
    fill: impl FnOnce(&Path),
) -> Result<Layer, StoreError> {
    let working = store.new_layer_on(below).unwrap();
    fill(working.upper());
    store.commit_layer(working, below, options)
}

/// Everything about an entry that a layer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub entry: TreeEntry,
    pub content: String,
    pub xattrs: BTreeMap<std::ffi::OsString, Vec<u8>>,
    /// The first path of the same file, when it has several.
    pub same_as: Option<PathBuf>,
}

pub fn snapshot(tree: &dyn Tree) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut first = BTreeMap::new();
    walk::<std::io::Error>(tree, Path::new(""), &mut |path, entry| {
        if path == Path::new("") {
            return Ok(());
        }
        let content = match entry.kind {
            EntryKind::File => {
                let mut bytes = Vec::new();
                tree.open(path)?.read_to_end(&mut bytes)?;
                Hasher::digest(&bytes).to_string()
            }
            EntryKind::Symlink => tree.read_link(path)?.display().to_string(),
            _ => String::new(),
        };
        let same_as = entry.inode.map(|inode| {
            first
                .entry(inode)
                .or_insert_with(|| path.to_owned())
                .clone()
        });
        let seen_entry = Seen {
            entry: TreeEntry {
                inode: None,
                ..*entry
            },
            content,
            xattrs: tree.xattrs(path)?,
            same_as,
        };
        seen.insert(path.to_owned(), seen_entry);
        Ok(())
    })
    .unwrap();
    seen
}

/// The paths of a layer's index, one per line, with a letter for the kind.
pub fn listing(store: &Store, layer: &Layer) -> Vec<String> {
    use launchway_oci::IndexedKind as K;
    let index = store.path_index(&layer.diff_id).unwrap();
    index
        .paths
        .iter()
        .map(|(path, indexed)| {
            let kind = match indexed.kind {
                K::File => 'f',
                K::Dir if indexed.opaque => 'o',
                K::Dir => 'd',
                K::Symlink => 'l',
                K::Fifo => 'p',
                K::CharDevice => 'c',
                K::BlockDevice => 'b',
                K::Whiteout => 'w',
            };
            format!("{kind} {}", String::from_utf8_lossy(path))
        })
        .collect()
}
