//! Removing what nothing leads to, while nobody serves the root.
//!
//! What is kept errs on the side of too much: everything that is named by a digest anywhere in the
//! text of `index.json`, and in that of every small JSON document that is kept for it. So what this
//! program does not understand keeps what it points at all the same.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use launchway_model::{Algorithm, Digest};

use super::blobs::absent_is_none;
use super::{Act as _, Repository, Store, StoreError, blob_path};
use crate::MANIFEST_LIMIT;

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectOptions {
    /// Keep what is younger: its manifest may be about to come.
    pub older_than: Duration,
    /// Only look.
    pub look_only: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Repository and digest of each blob. Blobs that no repository has any more come last, with an
    /// empty name.
    pub blobs: Vec<(String, String)>,
    /// Bytes on the disk that become free; a blob that repositories share is free with the last.
    pub freed: u64,
    /// How many blobs that nothing leads to stay because they are young.
    pub young: usize,
}

impl Store {
    /// Removes what nothing in its repository leads to. A repository whose index cannot be read is
    /// an error, before anything of it is removed.
    pub(crate) fn collect(&self, options: CollectOptions) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        // How many names a file would have lost by now, if this did not only look.
        let mut lost: HashMap<(u64, u64), u64> = HashMap::new();
        let pool = self.root.join("blobs");
        for name in self.names()? {
            let Some(repository) = self.repository(&name)? else {
                continue;
            };
            let kept = reachable(&repository)?;
            for (digest, meta) in blobs_in(&repository.blobs())? {
                if kept.contains(&digest) {
                    continue;
                }
                if is_young(&meta, options.older_than) {
                    collected.young += 1;
                    continue;
                }
                let pooled = absent_is_none(fs::metadata(blob_path(&pool, &digest)))
                    .act("look at a blob")?
                    .is_some_and(|pooled| pooled.ino() == meta.ino());
                let lost = lost.entry((meta.dev(), meta.ino())).or_default();
                if meta.nlink().saturating_sub(*lost) <= 1 + u64::from(pooled) {
                    collected.freed += meta.len();
                }
                if options.look_only {
                    *lost += 1;
                } else {
                    self.blobs.remove(&repository.blobs(), &digest)?;
                }
                collected.blobs.push((name.to_string(), digest.to_string()));
            }
        }
        // Repositories that somebody removed by hand leave their blobs here.
        for (digest, meta) in blobs_in(&pool)? {
            if meta.nlink() > 1 {
                continue;
            }
            if !options.look_only {
                fs::remove_file(blob_path(&pool, &digest)).act("delete a blob")?;
            }
            collected.freed += meta.len();
            collected.blobs.push((String::new(), digest.to_string()));
        }
        Ok(collected)
    }
}

fn is_young(meta: &Metadata, older_than: Duration) -> bool {
    let age = meta
        .modified()
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    // What was changed in the future is young.
    age.is_none_or(|age| age < older_than)
}

/// Everything that the index of a repository leads to.
fn reachable(repository: &Repository) -> Result<HashSet<Digest>, StoreError> {
    const ACT: &str = "read what a repository holds";
    // Fails when the index is none; its text would then lead nowhere.
    repository.snapshot()?;
    let mut kept = HashSet::new();
    let mut open = digests_in(&fs::read(repository.index_path()).act(ACT)?);
    while let Some(digest) = open.pop() {
        if !kept.insert(digest.clone()) {
            continue;
        }
        let text = repository.read_blob(&digest, MANIFEST_LIMIT)?;
        if let Some(text) = text
            && text.trim_ascii_start().starts_with(b"{")
        {
            open.extend(digests_in(&text));
        }
    }
    Ok(kept)
}

/// Every digest that is written out in a text.
fn digests_in(text: &[u8]) -> Vec<Digest> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let length = match algorithm {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        };
        let start = format!("{}:", algorithm.as_str());
        for (at, _) in text.match_indices(&start) {
            let end = at + start.len() + length;
            found.extend(text.get(at..end).and_then(|digest| digest.parse().ok()));
        }
    }
    found
}

/// The blobs below a `blobs` directory, sorted.
fn blobs_in(blobs: &Path) -> Result<Vec<(Digest, Metadata)>, StoreError> {
    const ACT: &str = "list blobs";
    let mut found = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let directory = blobs.join(algorithm.as_str());
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).act(ACT),
        };
        for entry in entries {
            let entry = entry.act(ACT)?;
            let name = entry.file_name();
            let digest = name
                .to_str()
                .and_then(|hex| format!("{}:{hex}", algorithm.as_str()).parse().ok());
            // Other files were put here by somebody else, who may want them.
            if let Some(digest) = digest
                && entry.file_type().act(ACT)?.is_file()
            {
                found.push((digest, entry.metadata().act(ACT)?));
            }
        }
    }
    found.sort_unstable_by(|(one, _), (other, _): &(Digest, _)| one.cmp(other));
    Ok(found)
}
