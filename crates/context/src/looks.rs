//! Noticing that a context does not stay as it is while it is used.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, Stat};

/// How things looked when they were looked at, to notice that they do not stay as they are. Paths and looks are kept as
/// hashes: there may be a million.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    seen: Mutex<HashMap<u64, u64>>,
    changes: AtomicU64,
}

impl Looks {
    pub(crate) fn note(&self, what: &str, path: &Path, looks: impl Hash) {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        let key = hash(&|hasher| (what, path).hash(hasher));
        let looks = hash(&|hasher| looks.hash(hasher));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen
            .insert(key, looks)
            .is_some_and(|before| before != looks)
        {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes something that was changed, by what is known of it.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_entry(&self, path: &Path, stat: &Stat) {
        // Of a directory it is the names that count, and those are noted where they are listed.
        let changed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (0, 0),
            _ => (stat.st_ctime, stat.st_ctime_nsec),
        };
        let looks = (stat.st_dev, stat.st_ino, stat.st_mode, changed);
        self.note("entry", path, looks);
    }
}
