//! What a pusher knows of the registry: what was acknowledged, and what may have happened besides.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    repository: &'static str,
    /// `blobs` or `manifests`.
    kind: &'static str,
    /// A digest or a tag.
    name: String,
}

/// The digest of what is there; nothing when it is not.
pub(super) type Value = Option<String>;

#[derive(Default)]
pub(super) struct World {
    acknowledged: BTreeMap<Key, Value>,
    /// What the request under way would change. All of it or none is allowed to have happened.
    under_way: Vec<(Key, Value)>,
    /// What this round was about.
    touched: BTreeSet<Key>,
}

impl Key {
    pub(super) fn blob(repository: &'static str, digest: &str) -> Self {
        Self::new(repository, "blobs", digest)
    }

    pub(super) fn manifest(repository: &'static str, digest: &str) -> Self {
        Self::new(repository, "manifests", digest)
    }

    pub(super) fn tag(repository: &'static str, tag: &str) -> Self {
        Self::new(repository, "manifests", tag)
    }

    fn new(repository: &'static str, kind: &'static str, name: &str) -> Self {
        Self {
            repository,
            kind,
            name: name.to_owned(),
        }
    }

    pub(super) fn target(&self) -> String {
        format!("/v2/{}/{}/{}", self.repository, self.kind, self.name)
    }
}

impl World {
    pub(super) fn get(&self, key: &Key) -> Value {
        self.acknowledged.get(key).cloned().flatten()
    }

    /// The request that is about to be sent would change this.
    pub(super) fn begin(&mut self, changes: Vec<(Key, Value)>) {
        self.touched
            .extend(changes.iter().map(|(key, _)| key.clone()));
        self.under_way = changes;
    }

    /// The answer came.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledged.extend(self.under_way.drain(..));
    }

    pub(super) fn under_way(&self, key: &Key) -> Option<&Value> {
        let mut changes = self.under_way.iter();
        changes
            .find(|(found, _)| found == key)
            .map(|(_, value)| value)
    }

    /// Compares with what is there, of this round or of all, and takes over what is found.
    pub(super) fn settle(&mut self, all: bool, mut observe: impl FnMut(&Key) -> Value) {
        let keys: Vec<Key> = match all {
            true => self
                .acknowledged
                .keys()
                .chain(&self.touched)
                .cloned()
                .collect(),
            false => self.touched.iter().cloned().collect(),
        };
        // Whether the request under way has happened, as far as its changes tell.
        let mut happened = None;
        for key in keys {
            let before = self.get(&key);
            let found = observe(&key);
            let after = self.under_way(&key).filter(|after| **after != before);
            let Some(after) = after else {
                assert_eq!(found, before, "{key:?} is what was acknowledged last");
                continue;
            };
            let new = found == *after;
            assert!(
                new || found == before,
                "{key:?} is {found:?}, and was neither {before:?} nor to become {after:?}"
            );
            // A tag is in the index or is not; what it names comes before and goes after.
            if key.kind == "manifests" {
                assert!(
                    happened.is_none_or(|happened| happened == new),
                    "{key:?} shows half of {:?}",
                    self.under_way
                );
                happened = Some(new);
            }
            self.acknowledged.insert(key, found);
        }
        self.under_way.clear();
        self.touched.clear();
    }
}
