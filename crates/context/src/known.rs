//! What the files of a context are known to hold, so that one that is as it was is not read again.
//!
//! As in git's index: a file is as it was when device, inode, size and both times, to the nanosecond, are. The change time
//! is the kernel's alone, so no program can put it back. A file that was changed shortly before it was read, or after, is
//! not remembered, since another change within the clock's tick would leave the same times.
//!
//! What is remembered is a hint that can be lost at any time. The file it is kept in has a checksum; one that
//! is damaged, cut off or in another form holds nothing.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use launchway_model::{Algorithm, Digest};
use launchway_oci::{FileContent, Hasher};
use rustix::fs::Stat;

/// The first line of the file.
const MAGIC: &[u8] = b"launchway known files 1\n";
/// How long before a build a file must have been left alone. The coarsest clock of a file system in use ticks every two
/// seconds.
const AT_REST: Duration = Duration::from_secs(3);
/// In how many rounds of saving a file may be missed until it is forgotten.
const MOST_MISSED: u8 = 8;
/// The one attribute that a context has.
pub(crate) const CAPABILITY: &str = "security.capability";

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
}

/// Seconds and nanoseconds since 1970.
type Time = (i64, u32);

// The types of these fields differ between architectures.
#[expect(clippy::unnecessary_cast, reason = "needed on other architectures")]
impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }
}

#[derive(Clone, Debug)]
struct Known {
    stamp: Stamp,
    digest: Digest,
    capability: Option<Vec<u8>>,
    missed: u8,
    seen: bool,
}

/// What is known of a context's files.
#[derive(Debug)]
pub(crate) struct KnownFiles {
    /// Files that were touched after this are not remembered.
    at_rest_since: Time,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept_in: Option<PathBuf>,
    files: HashMap<(u64, u64), Known>,
    is_new: bool,
    /// What each path was when its content was last told. Both as hashes: there may be a million.
    told: HashMap<u64, u64>,
    seed: RandomState,
}

impl State {
    fn tell(&mut self, path: &Path, stamp: Stamp) {
        let told = (self.seed.hash_one(path), self.seed.hash_one(stamp));
        self.told.insert(told.0, told.1);
    }

    /// Whether what was told of a path last is this; `None` when nothing was.
    fn was_told(&self, path: &Path, stamp: Stamp) -> Option<bool> {
        let told = self.told.get(&self.seed.hash_one(path))?;
        Some(*told == self.seed.hash_one(stamp))
    }
}

impl KnownFiles {
    pub(crate) fn new(now: SystemTime) -> Self {
        let since = now
            .checked_sub(AT_REST)
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self {
            at_rest_since: (seconds, since.subsec_nanos()),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what was kept in a file, where [`save`](Self::save) keeps it again. Only the first file counts.
    pub(crate) fn keep_in(&self, file: PathBuf) {
        let mut state = self.state();
        if state.kept_in.is_some() {
            return;
        }
        let kept = fs::read(&file).ok().and_then(|bytes| decode(&bytes));
        for known in kept.unwrap_or_default() {
            let id = (known.stamp.device, known.stamp.inode);
            state.files.entry(id).or_insert(known);
        }
        state.kept_in = Some(file);
    }

    /// What is known of the file at a path that has this stamp now.
    pub(crate) fn get(&self, path: &Path, stamp: Stamp) -> Option<FileContent> {
        let mut state = self.state();
        let known = state.files.get_mut(&(stamp.device, stamp.inode))?;
        if known.stamp != stamp {
            return None;
        }
        known.seen = true;
        let content = known.content();
        state.tell(path, stamp);
        Some(content)
    }

    /// Told what a file is before it is read.
    pub(crate) fn begin(&self, path: &Path, stamp: Stamp) {
        self.state().tell(path, stamp);
    }

    /// Remembers what was read from a file that has this stamp now. Says whether it had it when the reading began.
    pub(crate) fn put(&self, path: &Path, stamp: Stamp, content: &FileContent) -> bool {
        let mut state = self.state();
        if state.was_told(path, stamp) != Some(true) {
            return false;
        }
        let rests = stamp.changed < self.at_rest_since && stamp.modified < self.at_rest_since;
        let id = (stamp.device, stamp.inode);
        match Known::of(stamp, content).filter(|_| rests) {
            Some(known) => {
                state.is_new = true;
                state.files.insert(id, known);
            }
            None => state.is_new |= state.files.remove(&id).is_some(),
        }
        true
    }

    /// Whether the file at a path has still the stamp that it had when its content was told.
    pub(crate) fn is_unchanged(&self, path: &Path, stamp: Stamp) -> bool {
        self.state().was_told(path, stamp) != Some(false)
    }

    /// Keeps what is new, by `put`, which writes a file at once or not at all. What several builds keep at once is what
    /// the last one knew.
    pub(crate) fn save(&self, put: &dyn Fn(&Path, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state();
        let Some(file) = state.kept_in.clone().filter(|_| state.is_new) else {
            return Ok(());
        };
        state.is_new = false;
        let kept = state.files.values_mut().filter_map(|known| {
            known.missed = if known.seen {
                0
            } else {
                known.missed.saturating_add(1)
            };
            (known.missed < MOST_MISSED).then_some(&*known)
        });
        let bytes = encode(kept);
        fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        put(&file, &bytes)
    }
}

impl Known {
    /// `None` for what has attributes that are not kept.
    fn of(stamp: Stamp, content: &FileContent) -> Option<Self> {
        let mut capability = None;
        for (name, value) in &content.xattrs {
            if name != CAPABILITY || value.len() > usize::from(u8::MAX) {
                return None;
            }
            capability = Some(value.clone());
        }
        if content.digest.algorithm() != Algorithm::Sha256 {
            return None;
        }
        Some(Self {
            stamp,
            digest: content.digest.clone(),
            capability,
            missed: 0,
            seen: true,
        })
    }

    fn content(&self) -> FileContent {
        let capability = self.capability.iter();
        FileContent {
            digest: self.digest.clone(),
            size: self.stamp.size,
            xattrs: capability
                .map(|value| (CAPABILITY.into(), value.clone()))
                .collect(),
        }
    }
}

fn encode<'a>(files: impl Iterator<Item = &'a Known>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for known in files {
        let stamp = &known.stamp;
        for number in [stamp.device, stamp.inode, stamp.size] {
            out.extend(number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
            out.extend(seconds.to_le_bytes());
            out.extend(nanoseconds.to_le_bytes());
        }
        out.extend(known.digest.hex().as_bytes());
        out.push(known.missed);
        let capability = known.capability.as_deref().unwrap_or_default();
        out.push(u8::try_from(capability.len()).unwrap_or(0));
        out.extend(capability);
    }
    let sum = Hasher::digest(&out);
    out.extend(sum.hex().as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Known>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(64)?)?;
    if Hasher::digest(body).hex().as_bytes() != sum {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (device, inode, size) = (u64(&mut rest)?, u64(&mut rest)?, u64(&mut rest)?);
        let modified = time(&mut rest)?;
        let changed = time(&mut rest)?;
        let digest = std::str::from_utf8(take::<64>(&mut rest)?).ok()?;
        let digest = format!("sha256:{digest}").parse().ok()?;
        let [missed, length] = *take::<2>(&mut rest)?;
        let (capability, after) = rest.split_at_checked(length.into())?;
        rest = after;
        files.push(Known {
            stamp: Stamp {
                device,
                inode,
                size,
                modified,
                changed,
            },
            digest,
            capability: (!capability.is_empty()).then(|| capability.to_vec()),
            missed,
            seen: false,
        });
    }
    Some(files)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(head)
}

fn u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(|bytes| u64::from_le_bytes(*bytes))
}

fn time(rest: &mut &[u8]) -> Option<Time> {
    let seconds = i64::from_le_bytes(*take(rest)?);
    Some((seconds, u32::from_le_bytes(*take(rest)?)))
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
