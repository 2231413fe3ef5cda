//! Layers on top of each other: which names are seen in the end, and what became of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::{Entry, Image, Kind};

/// The image as a container sees it.
pub(crate) struct Stacked<'a> {
    /// Every name that is seen, with the layer it comes from.
    pub(crate) visible: BTreeMap<&'a [u8], usize>,
    pub(crate) hidden: Vec<Hidden<'a>>,
    /// The files that are shipped, each once for all of its names; bytes by layer.
    pub(crate) unpacked: Vec<(u64, u64)>,
}

/// A file that no container sees.
pub(crate) struct Hidden<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) layer: usize,
    pub(crate) entry: &'a Entry,
    /// The layer that hides it.
    pub(crate) by: usize,
    /// What stands in its place there; none when it is deleted.
    pub(crate) replaced: Option<&'a Entry>,
    /// What it weighs; 0 when another name of the same file is still in use, or counted.
    pub(crate) bytes: u64,
}

impl<'a> Stacked<'a> {
    pub(crate) fn new(image: &'a Image) -> Self {
        let mut visible: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut hidden = Vec::new();
        for (by, layer) in image.layers.iter().enumerate() {
            for (path, entry) in &layer.entries {
                let path = path.as_slice();
                let mut hide = |path: &'a [u8], layer: usize, replaced: Option<&'a Entry>| {
                    let entry = &image.layers[layer].entries[path];
                    if entry.kind == Kind::File {
                        hidden.push(Hidden {
                            path,
                            layer,
                            entry,
                            by,
                            replaced,
                            bytes: entry.size,
                        });
                    }
                };
                if entry.kind != Kind::Dir || entry.opaque {
                    for (below, layer) in below(&visible, path) {
                        // What this very layer has below an opaque directory comes after it.
                        visible.remove(below);
                        hide(below, layer, None);
                    }
                }
                if let Some(layer) = visible.remove(path) {
                    let is_file = matches!(entry.kind, Kind::File | Kind::Symlink);
                    hide(path, layer, is_file.then_some(entry));
                }
                if entry.kind != Kind::Whiteout {
                    visible.insert(path, by);
                }
            }
        }
        let mut in_use = BTreeSet::new();
        for (path, layer) in &visible {
            if let Some(inode) = image.layers[*layer].entries[*path].inode {
                in_use.insert((*layer, inode));
            }
        }
        for one in &mut hidden {
            if let Some(inode) = one.entry.inode
                && !in_use.insert((one.layer, inode))
            {
                one.bytes = 0;
            }
        }
        Self {
            visible,
            hidden,
            unpacked: image
                .layers
                .iter()
                .map(|layer| unpacked(&layer.entries))
                .collect(),
        }
    }

    /// The files that are seen and came with a layer of the image's own.
    pub(crate) fn own_files(
        &self,
        image: &'a Image,
    ) -> impl Iterator<Item = (&'a [u8], usize, &'a Entry)> {
        self.own(image)
            .filter(|(_, _, entry)| entry.kind == Kind::File)
    }

    /// Everything that is seen and came with a layer of the image's own.
    pub(crate) fn own(
        &self,
        image: &'a Image,
    ) -> impl Iterator<Item = (&'a [u8], usize, &'a Entry)> {
        self.visible
            .iter()
            .filter(|(_, layer)| image.is_own(**layer))
            .map(|(path, layer)| (*path, *layer, &image.layers[*layer].entries[*path]))
    }
}

fn below<'a>(visible: &BTreeMap<&'a [u8], usize>, path: &[u8]) -> Vec<(&'a [u8], usize)> {
    // In a path the byte after '/' is '0'.
    let (start, end) = ([path, b"/"].concat(), [path, b"0"].concat());
    visible
        .range::<[u8], _>((
            Bound::Included(start.as_slice()),
            Bound::Excluded(end.as_slice()),
        ))
        .map(|(path, layer)| (*path, *layer))
        .collect()
}

/// How many files a layer has and what they weigh; names of one file count once.
fn unpacked(entries: &BTreeMap<Vec<u8>, Entry>) -> (u64, u64) {
    let mut seen = BTreeSet::new();
    let (mut files, mut bytes) = (0, 0);
    for entry in entries.values().filter(|entry| entry.kind == Kind::File) {
        files += 1;
        if entry.inode.is_none_or(|inode| seen.insert(inode)) {
            bytes += entry.size;
        }
    }
    (files, bytes)
}
