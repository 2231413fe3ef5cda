//! What living processes use, so that nobody removes it under them.
//!
//! Before a process uses a thing of the store, or makes it, it writes its name into the lock file of
//! its session, and that is good for as long as the process lives. Who removes things shuts the
//! door first: then nobody can begin to use anything, and what the living have written is all there
//! is. No clock is asked, and a dead process holds nothing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::StoreError;
use crate::error::At;
use crate::turn::open_lock;

/// The things that this process holds.
#[derive(Debug)]
pub(crate) struct Held {
    state: Mutex<State>,
    log: PathBuf,
    door: PathBuf,
}

#[derive(Debug)]
struct State {
    /// By name; whether this process has found the thing to be whole.
    names: HashMap<String, bool>,
    log: File,
    door: File,
}

impl Held {
    /// `log` is the locked file of the session.
    pub(crate) fn new(log_path: PathBuf, log: File, door: PathBuf) -> Result<Self, StoreError> {
        let file = open_lock(&door).at("open the door", &door)?;
        Ok(Self {
            state: Mutex::new(State {
                names: HashMap::new(),
                log,
                door: file,
            }),
            log: log_path,
            door,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a thing from being removed while this process lives, whether it is there yet or not.
    /// Says whether this process has found it to be whole before.
    pub(crate) fn hold(&self, name: &str) -> Result<bool, StoreError> {
        debug_assert!(!name.contains('\n'));
        let mut state = self.state();
        if let Some(whole) = state.names.get(name) {
            return Ok(*whole);
        }
        lock(&state.door, FlockOperation::LockShared).at("pass the door", &self.door)?;
        let line = format!("{name}\n");
        let written = state.log.write_all(line.as_bytes());
        let opened = flock(&state.door, FlockOperation::Unlock);
        written.at("write what is used to", &self.log)?;
        opened.at("pass the door", &self.door)?;
        state.names.insert(name.to_owned(), false);
        Ok(false)
    }

    /// Remembers that a thing was found to be whole.
    pub(crate) fn is_whole(&self, name: &str) {
        self.state().names.insert(name.to_owned(), true);
    }
}

/// The door, shut: nobody begins to use anything of the store until this is dropped. To be held for
/// a moment only, and by a thread that does not use the store itself meanwhile.
#[derive(Debug)]
pub struct ShutDoor {
    held: HashSet<String>,
    _door: File,
}

impl ShutDoor {
    pub(crate) fn shut(door: &Path, sessions: &Path) -> Result<Self, StoreError> {
        let file = open_lock(door).at("open the door", door)?;
        lock(&file, FlockOperation::LockExclusive).at("shut the door", door)?;
        let mut held = HashSet::new();
        for entry in fs::read_dir(sessions).at("list", sessions)? {
            let path = entry.at("list", sessions)?.path().join("lock");
            let Ok(lock) = File::open(&path) else {
                continue;
            };
            // A dead process's lock can be had.
            if flock(&lock, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK) {
                continue;
            }
            let names = fs::read_to_string(&path).at("read what is used in", &path)?;
            held.extend(names.lines().map(str::to_owned));
        }
        Ok(Self { held, _door: file })
    }

    /// Whether a living process uses the thing of this name, this process included.
    #[must_use]
    pub fn is_held(&self, name: &str) -> bool {
        self.held.contains(name)
    }
}

fn lock(file: &File, how: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match flock(file, how) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
