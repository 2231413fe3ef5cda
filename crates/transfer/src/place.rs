//! The one trait for everywhere images can be.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use launchway_model::{Digest, Repository};
use launchway_oci::spec::Descriptor;
use launchway_registry::{BlobBody, PushOutcome, RawManifest};

use crate::{Document, TransferError};

/// What a document is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Tag(String),
    Digest(Digest),
    /// The only image there is; registries have no such thing.
    Only,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::Only => f.write_str("image"),
        }
    }
}

/// A blob that is to be put somewhere.
#[derive(Clone, Debug)]
pub struct Blob {
    pub digest: Digest,
    pub size: u64,
    /// Where its bytes come from, as often as they are asked for. Nothing is read before that.
    pub body: BlobBody,
    /// A repository that has it, for places that can take it from there by themselves.
    pub sibling: Option<Repository>,
}

/// What a document is put as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// Another document leads to it, or it refers to one.
    Part,
    /// What was asked for, under its digest alone.
    Root,
    /// What was asked for; the tag stands for it from now on.
    Tagged(&'a str),
}

/// What a place can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Any documents and blobs, as a registry does.
    Anything,
    /// One image of one platform.
    OneImage,
}

/// The result of asking a place.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, TransferError>>;

/// Somewhere images are or can be put: a repository of a registry, a layout, an archive.
///
/// Documents and blobs go by their digests, and content is checked against them by whoever takes
/// it in. Calls may be made at the same time.
pub trait Place: fmt::Debug + Send + Sync {
    /// For people.
    fn shown(&self) -> String;

    /// The digest a name stands for, if it is there.
    fn probe<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<Digest>>;

    /// A document, byte for byte. That it is not there is an error, which says what is.
    fn manifest<'a>(&'a self, name: &'a Name) -> Answer<'a, RawManifest>;

    /// A blob's bytes, to be read when they are wanted.
    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBody, TransferError>;

    fn has_blob<'a>(&'a self, digest: &'a Digest, size: u64) -> Answer<'a, bool>;

    /// What refers to a document, of all kinds.
    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<Descriptor>>;

    /// Brings a blob here, unless it is here.
    fn put_blob<'a>(&'a self, blob: &'a Blob) -> Answer<'a, PushOutcome>;

    /// Puts a document; everything it leads to is here.
    fn put_manifest<'a>(&'a self, document: &'a Document, role: Role<'a>) -> Answer<'a, ()>;

    /// Nothing more will be put: what was put is to be seen by others.
    fn finish(&self) -> Answer<'_, ()>;

    /// The copy failed: what nobody can use is taken away before this returns.
    fn give_up(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn holds(&self) -> Holds {
        Holds::Anything
    }

    /// The repository this is, for others on the same registry to take blobs from.
    fn repository(&self) -> Option<&Repository> {
        None
    }
}
