//! The registry's root as files: nothing but what belongs there, and every byte what its name says.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use launchway_testkit::sha256;
use serde_json::Value;

pub(super) struct Layout {
    root: PathBuf,
    /// Files whose bytes were hashed already, by inode and time of their last change. A name is
    /// given to a file once.
    hashed: HashSet<(PathBuf, u64, i64, i64)>,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            hashed: HashSet::new(),
        }
    }

    /// Fails the test when something is not as it should be.
    pub(super) fn check(&mut self) {
        let mut blobs: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        let mut layouts = BTreeSet::new();
        for path in files(&self.root) {
            let shown = path.display();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let parent = path.parent().unwrap_or(&path);
            if parent.ends_with("blobs/sha256") {
                let owner = parent.ancestors().nth(2).unwrap_or(parent);
                let digest = format!("sha256:{name}");
                self.hash(&path, &digest);
                blobs.entry(owner.to_owned()).or_default().insert(digest);
            } else if name == "index.json" {
                layouts.insert(parent.to_owned());
            } else {
                assert_eq!(name, "oci-layout", "{shown} does not belong here");
                let text = fs::read(&path).expect("reading a layout's marker");
                let marker: Value = serde_json::from_slice(&text).expect("a marker is JSON");
                assert_eq!(marker["imageLayoutVersion"], "1.0.0", "{shown}");
            }
        }
        let pool = blobs.remove(&self.root).unwrap_or_default();
        for digest in &pool {
            let held = blobs.values().any(|held| held.contains(digest));
            assert!(held, "no repository has {digest}, which is in the pool");
        }
        let nothing = BTreeSet::new();
        for layout in layouts {
            assert!(layout.join("oci-layout").is_file(), "{}", layout.display());
            check_index(&layout, blobs.get(&layout).unwrap_or(&nothing));
        }
    }

    fn hash(&mut self, path: &Path, digest: &str) {
        let meta = fs::metadata(path).expect("looking at a blob");
        let seen = (path.to_owned(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        if self.hashed.insert(seen) {
            let bytes = fs::read(path).expect("reading a blob");
            assert_eq!(sha256(&bytes), digest, "{}", path.display());
        }
    }
}

/// Everything that the index names is there, whole and with all that it needs.
fn check_index(layout: &Path, blobs: &BTreeSet<String>) {
    let shown = layout.display();
    let text = fs::read(layout.join("index.json")).expect("reading an index");
    let index: Value = serde_json::from_slice(&text).expect("an index is JSON");
    assert_eq!(index["schemaVersion"], 2, "{shown}");
    let mut tags = BTreeSet::new();
    for entry in list(&index["manifests"]) {
        if let Some(tag) = entry["annotations"]["org.opencontainers.image.ref.name"].as_str() {
            assert!(tags.insert(tag), "{shown} has {tag} twice");
        }
        let digest = entry["digest"].as_str().expect("an entry has a digest");
        assert!(blobs.contains(digest), "{shown} lacks {digest}");
        let path = layout.join("blobs").join(digest.replacen(':', "/", 1));
        let bytes = fs::read(path).expect("reading a manifest");
        assert_eq!(entry["size"], bytes.len(), "{shown} {digest}");
        let manifest: Value = serde_json::from_slice(&bytes).expect("a manifest is JSON");
        for needed in list(&manifest["layers"])
            .iter()
            .chain([&manifest["config"]])
        {
            let needed = needed["digest"].as_str().expect("an entry has a digest");
            assert!(blobs.contains(needed), "{shown} {digest} lacks {needed}");
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("listing a folder") {
            let path = entry.expect("listing a folder").path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found
}
