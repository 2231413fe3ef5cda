//! The things that are kept.

use std::fmt;

/// What a thing is, as users name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Manifests, configurations and the names they were built or pulled under.
    Images,
    /// What steps gave, by what they were made of.
    Steps,
    /// Unpacked layers and their compressed forms.
    Layers,
    /// What RUN --mount=type=cache keeps.
    CacheMounts,
    /// Files that ADD fetched.
    Downloads,
    /// Copies of git repositories.
    Git,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Images,
        Self::Steps,
        Self::Layers,
        Self::CacheMounts,
        Self::Downloads,
        Self::Git,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Steps => "steps",
            Self::Layers => "layers",
            Self::CacheMounts => "cache-mounts",
            Self::Downloads => "downloads",
            Self::Git => "git",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// The name of a thing: a word and what tells it from others of its sort, `layer sha256:…`. It is also
/// the name under which processes hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(String);

impl ItemId {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is, and its own name.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.0.split_once(' ').unwrap_or((&self.0, ""))
    }

    /// Its own name, without the word before it.
    pub fn name(&self) -> &str {
        self.split().1
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: ItemId,
    pub kind: Kind,
    /// Bytes of the disk that are free once it is removed.
    pub size: u64,
    /// When it was last used by itself, in seconds since 1970.
    pub used: i64,
    /// What made it, or where it came from.
    pub about: String,
    /// What it is of no use without.
    pub needs: Vec<ItemId>,
    /// It goes with the last thing that needs it.
    pub follows: bool,
    /// What it needs is gone, so it is of no use.
    pub is_dead: bool,
    pub is_pinned: bool,
    /// A living process uses it.
    pub is_held: bool,
}
