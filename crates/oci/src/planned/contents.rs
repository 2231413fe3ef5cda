//! The contents of files in the order in which they are packed, read ahead by several threads. With many small
//! files most of the time goes into opening them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Leaf, Source};
use crate::compress::threads;
use crate::error::At;
use crate::xattr::Xattrs;
use crate::{StoreError, Tree};

/// What is longer is not read ahead.
const SMALL: u64 = 128 * 1024;
/// How many files a thread reads before it tells of them.
const AT_ONCE: usize = 16;
/// How many such portions are waiting at most.
const AHEAD: usize = 8;

/// The content of one file.
pub(super) enum Content {
    Whole(Vec<u8>, Xattrs),
    /// Too long to be held.
    Open(File, Xattrs),
}

/// Reads the files while `consume` works; it has to take them in their order, each once.
pub(super) fn read_ahead<T>(
    files: &[&Leaf<'_>],
    consume: impl FnOnce(&mut Contents<'_, '_>) -> T,
) -> T {
    let ahead = Ahead {
        files,
        next: AtomicUsize::new(0),
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    if files.len() < 2 * AT_ONCE {
        return consume(&mut Contents {
            ahead: &ahead,
            at: 0,
            direct: true,
            portion: Vec::new().into_iter(),
        });
    }
    std::thread::scope(|scope| {
        for _ in 0..threads().clamp(1, 4) {
            scope.spawn(|| ahead.run());
        }
        consume(&mut Contents {
            ahead: &ahead,
            at: 0,
            direct: false,
            portion: Vec::new().into_iter(),
        })
    })
}

type Portion = Vec<Result<Content, StoreError>>;

struct Ahead<'f, 'a> {
    files: &'f [&'f Leaf<'a>],
    next: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By their numbers.
    portions: BTreeMap<usize, Portion>,
    taken: usize,
    is_over: bool,
}

impl Ahead<'_, '_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // A thread that panics would leave the others waiting.
        let _end = EndOnPanic(self);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let start = number * AT_ONCE;
            if start >= self.files.len() {
                return;
            }
            let mut state = self.state();
            while !state.is_over && number >= state.taken + AHEAD {
                state = self.wait(state);
            }
            if state.is_over {
                return;
            }
            drop(state);
            let end = (start + AT_ONCE).min(self.files.len());
            let portion = self.files[start..end].iter().map(|leaf| read(leaf));
            let portion = portion.collect();
            self.state().portions.insert(number, portion);
            self.changed.notify_all();
        }
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }
}

struct EndOnPanic<'s, 'f, 'a>(&'s Ahead<'f, 'a>);

impl Drop for EndOnPanic<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// Where contents are taken from.
pub(super) struct Contents<'s, 'f> {
    ahead: &'s Ahead<'f, 'f>,
    /// The number of the next portion, or of the next file when nothing is read ahead.
    at: usize,
    direct: bool,
    portion: std::vec::IntoIter<Result<Content, StoreError>>,
}

impl Contents<'_, '_> {
    pub(super) fn next(&mut self) -> Result<Content, StoreError> {
        if self.direct {
            let leaf = self.ahead.files[self.at];
            self.at += 1;
            return read(leaf);
        }
        loop {
            if let Some(content) = self.portion.next() {
                return content;
            }
            self.portion = self.next_portion()?.into_iter();
        }
    }

    fn next_portion(&mut self) -> Result<Portion, StoreError> {
        let mut state = self.ahead.state();
        loop {
            if let Some(portion) = state.portions.remove(&self.at) {
                self.at += 1;
                state.taken = self.at;
                drop(state);
                self.ahead.changed.notify_all();
                return Ok(portion);
            }
            if state.is_over {
                return Err(StoreError::Read {
                    what: "files of a layer",
                    source: io::Error::other("a reading thread ended early"),
                });
            }
            state = self.ahead.wait(state);
        }
    }
}

impl Drop for Contents<'_, '_> {
    fn drop(&mut self) {
        self.ahead.end();
    }
}

fn read(leaf: &Leaf<'_>) -> Result<Content, StoreError> {
    match &leaf.source {
        Source::File { tree, path, size } => {
            let (mut file, xattrs) = tree.open_with_xattrs(path).at("open", path)?;
            if *size > SMALL {
                return Ok(Content::Open(file, xattrs));
            }
            // Room for one byte more, which nobody expects.
            let mut bytes = vec![0; usize::try_from(*size).unwrap_or(0) + 1];
            let length = fill_known(&mut file, &mut bytes).at("read", path)?;
            bytes.truncate(length);
            check(*tree, path, &file, length as u64 == *size)?;
            Ok(Content::Whole(bytes, xattrs))
        }
        Source::Bytes(bytes) => Ok(Content::Whole(bytes.clone(), Xattrs::new())),
        Source::Symlink(_) | Source::Node(..) => Ok(Content::Whole(Vec::new(), Xattrs::new())),
    }
}

/// Reads a file that should be one byte shorter than the buffer. A read that stops there has come to the end.
fn fill_known(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length + 1 == buffer.len() {
            break;
        }
    }
    Ok(length)
}

/// Refuses a file that is not what its digest was made of.
pub(super) fn check(
    tree: &dyn Tree,
    path: &Path,
    file: &File,
    has_size: bool,
) -> Result<(), StoreError> {
    if has_size && tree.is_unchanged(path, file).at("look at", path)? {
        Ok(())
    } else {
        Err(StoreError::Changed(path.to_owned()))
    }
}
