//! The walk through an image: which documents have to be read to know all of it, and in which order
//! its parts have to be put.
//!
//! Nothing is read here. Whoever walks asks [`Walk::questions`] what to read next, hands in the
//! answers in any order, and gets the [`Graph`] when there are no more questions.

use std::collections::{BTreeMap, BTreeSet};

use launchway_model::Digest;
use launchway_oci::spec::{Descriptor, media};

use crate::Document;
use crate::document::is_foreign;

/// An image with more documents than this is taken for an attack.
const MOST: usize = 20_000;

/// Something to ask the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    Manifest(Digest),
    Referrers(Digest),
}

/// A walk that is under way.
#[derive(Debug)]
pub struct Walk {
    root: Digest,
    referrers: bool,
    documents: BTreeMap<Digest, Document>,
    /// Everything that was asked for, so that nothing is asked twice.
    asked: BTreeSet<Question>,
    next: Vec<Question>,
}

/// The walk would not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it leads to more than {MOST} documents")]
pub struct TooMany;

/// All of an image, and how to put it together again.
#[derive(Clone, Debug)]
pub struct Graph {
    pub root: Digest,
    /// Children before parents: what stands in one level may be put at the same time. The last level
    /// is the root alone.
    pub levels: Vec<Vec<Document>>,
    pub blobs: Vec<BlobNeed>,
    /// Layers that registries need not have and that are left where they are.
    pub foreign: usize,
}

/// A blob that some document needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobNeed {
    pub digest: Digest,
    pub size: u64,
    /// Whether the image itself needs it, and not only what refers to it.
    pub of_image: bool,
}

impl Graph {
    /// The root alone, for where everything else is.
    #[must_use]
    pub fn of_root(root: Document) -> Self {
        Self {
            root: root.digest().clone(),
            levels: vec![vec![root]],
            blobs: Vec::new(),
            foreign: 0,
        }
    }
}

impl Walk {
    #[must_use]
    pub fn from(root: Document, referrers: bool) -> Self {
        let mut walk = Self {
            root: root.digest().clone(),
            referrers,
            documents: BTreeMap::new(),
            asked: BTreeSet::from([Question::Manifest(root.digest().clone())]),
            next: Vec::new(),
        };
        walk.enter(root);
        walk
    }

    /// What has to be asked now. Empty when everything that was asked is answered and nothing is
    /// left, or when answers are outstanding.
    pub fn questions(&mut self) -> Result<Vec<Question>, TooMany> {
        if self.asked.len() > MOST {
            return Err(TooMany);
        }
        Ok(std::mem::take(&mut self.next))
    }

    /// A document that was asked for.
    pub fn manifest(&mut self, document: Document) {
        self.enter(document);
    }

    /// What refers to a document.
    pub fn referrers(&mut self, found: &[Descriptor]) {
        for descriptor in found {
            let known = media::is_index(&descriptor.media_type)
                || media::is_manifest(&descriptor.media_type);
            if let (true, Ok(digest)) = (known, descriptor.digest.parse()) {
                self.ask(Question::Manifest(digest));
            }
        }
    }

    fn enter(&mut self, document: Document) {
        for child in document.children() {
            if let Ok(digest) = child.digest.parse() {
                self.ask(Question::Manifest(digest));
            }
        }
        if self.referrers {
            self.ask(Question::Referrers(document.digest().clone()));
        }
        self.documents.insert(document.digest().clone(), document);
    }

    fn ask(&mut self, question: Question) {
        if self.asked.insert(question.clone()) {
            self.next.push(question);
        }
    }

    /// The whole, once no question is left.
    #[must_use]
    pub fn finish(self) -> Graph {
        let image = self.below_root();
        let mut blobs: BTreeMap<Digest, BlobNeed> = BTreeMap::new();
        let mut foreign = BTreeSet::new();
        for document in self.documents.values() {
            let of_image = image.contains(document.digest());
            for descriptor in document.blobs() {
                let Ok(digest) = descriptor.digest.parse::<Digest>() else {
                    continue;
                };
                if is_foreign(&descriptor.media_type) {
                    foreign.insert(digest);
                    continue;
                }
                let need = blobs.entry(digest.clone()).or_insert(BlobNeed {
                    digest,
                    size: descriptor.size,
                    of_image,
                });
                need.of_image |= of_image;
            }
        }
        let mut heights = BTreeMap::new();
        for digest in self.documents.keys() {
            self.height(digest, &mut heights);
        }
        let mut levels: Vec<Vec<Document>> = Vec::new();
        let mut root = None;
        for (digest, document) in self.documents {
            if digest == self.root {
                root = Some(document);
                continue;
            }
            let height = heights.get(&digest).copied().unwrap_or(0);
            if levels.len() <= height {
                levels.resize_with(height + 1, Vec::new);
            }
            levels[height].push(document);
        }
        levels.retain(|level| !level.is_empty());
        levels.extend(root.map(|root| vec![root]));
        Graph {
            root: self.root,
            levels,
            blobs: blobs.into_values().collect(),
            foreign: foreign.len(),
        }
    }

    /// The root and the documents it leads to.
    fn below_root(&self) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root.clone()];
        while let Some(digest) = open.pop() {
            let document = self.documents.get(&digest);
            if found.insert(digest) {
                let children = document.into_iter().flat_map(Document::children);
                open.extend(children.filter_map(|child| child.digest.parse().ok()));
            }
        }
        found
    }

    /// How many documents stand below one another under this one.
    fn height(&self, digest: &Digest, known: &mut BTreeMap<Digest, usize>) -> usize {
        if let Some(height) = known.get(digest) {
            return *height;
        }
        // A document cannot lead to itself: its digest would have to be in it.
        let children = self.documents.get(digest).into_iter();
        let below: Vec<Digest> = children
            .flat_map(Document::children)
            .filter_map(|child| child.digest.parse().ok())
            .collect();
        let height = below
            .iter()
            .map(|child| self.height(child, known) + 1)
            .max()
            .unwrap_or(0);
        known.insert(digest.clone(), height);
        height
    }
}
