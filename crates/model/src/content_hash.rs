//! The encoding behind every content hash.
//!
//! Each field is written as `length of name (u64 LE), name, length of value (u64 LE), value`, so no
//! two different lists of fields give the same bytes: content cannot move across a boundary
//! unseen. Lists are written as their length and then their items.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The hash of all inputs of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputHash([u8; 32]);

/// Why a text is not an input hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an input hash has 64 lower-case hexadecimal digits")]
pub struct InputHashError;

impl InputHash {
    /// Wraps a finished sha256, as the older recipes produce it.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve digits: what stands in a content tag.
    pub fn short(&self) -> String {
        crate::digest::hex(&self.0[..6])
    }
}

impl fmt::Display for InputHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::digest::hex(&self.0))
    }
}

impl fmt::Debug for InputHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InputHash {
    type Err = InputHashError;

    fn from_str(text: &str) -> Result<Self, InputHashError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InputHashError),
        };
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(InputHashError);
        }
        let mut hash = [0; 32];
        for (at, pair) in bytes.chunks_exact(2).enumerate() {
            hash[at] = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(hash))
    }
}

/// Collects framed fields and hashes them.
pub struct ContentHasher(Sha256);

impl ContentHasher {
    /// Starts a hash for one kind of thing. `kind` names the recipe and its version, for example
    /// `launchway/node/1`; changing what goes in means changing the kind.
    pub fn new(kind: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.frame(kind.as_bytes());
        hasher
    }

    pub fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.frame(name.as_bytes());
        self.frame(value);
        self
    }

    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.field(name, value.as_bytes())
    }

    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.field(name, &value.to_le_bytes())
    }

    /// A list in the order given; an absent value is an empty list, which differs from a list of
    /// one empty text.
    pub fn list<I, T>(&mut self, name: &str, items: I) -> &mut Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: ExactSizeIterator,
        T: AsRef<[u8]>,
    {
        let items = items.into_iter();
        self.frame(name.as_bytes());
        self.0.update((items.len() as u64).to_le_bytes());
        for item in items {
            self.frame(item.as_ref());
        }
        self
    }

    pub fn finish(self) -> InputHash {
        InputHash(self.0.finalize().into())
    }

    fn frame(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> InputHash {
        let mut hasher = ContentHasher::new("test/1");
        for (name, value) in fields {
            hasher.text(name, value);
        }
        hasher.finish()
    }

    #[test]
    fn content_cannot_move_across_a_boundary() {
        assert_ne!(of(&[("a", "xy"), ("b", "")]), of(&[("a", "x"), ("b", "y")]));
        assert_ne!(of(&[("a", "b")]), of(&[("ab", "")]));
        let list = |items: &[&str]| {
            let mut hasher = ContentHasher::new("test/1");
            hasher.list("l", items.iter().map(|item| item.as_bytes()));
            hasher.finish()
        };
        assert_ne!(list(&[]), list(&[""]));
        assert_ne!(list(&["ab"]), list(&["a", "b"]));
    }

    #[test]
    fn reads_back_what_it_prints() {
        let hash = of(&[("a", "b")]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.short(), hash.to_string()[..12]);
        assert_eq!("zz".parse::<InputHash>(), Err(InputHashError));
    }
}
