//! Users and their passwords, from an htpasswd file.
//!
//! Passwords are hashed with bcrypt, which is slow on purpose: about 50 ms and one core. So it runs
//! on blocking threads, few at once, and what turned out right is remembered in memory by a keyed
//! hash. The memory of a wrong password is not kept: it costs the same every time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;

/// The largest cost that is accepted: two to this many rounds. 16 takes some seconds.
const MOST: u32 = 16;
/// How many right passwords are remembered.
const REMEMBERED: usize = 4096;

/// The users of an htpasswd file. The file is read again when it changes; if it cannot be used then,
/// what it said before holds. Cloning gives the same users.
#[derive(Clone)]
pub struct Users {
    inner: Arc<Inner>,
}

/// Why an htpasswd file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be used:\n  {}", path.display(), problems.join("\n  "))]
    Lines {
        path: PathBuf,
        /// Each names its line, unless it is about the file as a whole.
        problems: Vec<String>,
    },
}

struct Inner {
    path: PathBuf,
    file: Mutex<FileState>,
    /// Seals of names with their right passwords.
    right: Mutex<HashSet<[u8; 32]>>,
    key: hmac::Key,
    slots: Semaphore,
}

struct FileState {
    stamp: Stamp,
    hashes: Arc<HashMap<String, String>>,
    /// What is wrong with the file as it is now, until somebody took note of it.
    problem: Option<String>,
}

type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Users {
    /// Reads an htpasswd file. Blocks on the disk.
    pub fn open(path: &Path) -> Result<Self, UsersError> {
        let (stamp, hashes) = read(path)?;
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .expect("the operating system gives random bytes");
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                file: Mutex::new(FileState {
                    stamp,
                    hashes: Arc::new(hashes),
                    problem: None,
                }),
                right: Mutex::default(),
                key: hmac::Key::new(hmac::HMAC_SHA256, &key),
                slots: Semaphore::new(cores.div_ceil(2)),
            }),
        })
    }

    /// Whether this is the user's password. A name that is not there takes as long as a wrong
    /// password.
    pub(crate) async fn verify(&self, user: &str, password: &str) -> bool {
        let inner = Arc::clone(&self.inner);
        let hashes = match tokio::task::spawn_blocking(move || inner.hashes()).await {
            Ok(hashes) => hashes,
            Err(_) => return false,
        };
        // Any hash will do where there is none; the outcome is then no.
        let (known, hash) = match hashes.get(user) {
            Some(hash) => (true, hash),
            None => match hashes.values().next() {
                Some(hash) => (false, hash),
                None => return false,
            },
        };
        let seal = self.inner.seal(user, password, hash);
        if known && self.inner.right().contains(&seal) {
            return true;
        }
        let Ok(_slot) = self.inner.slots.acquire().await else {
            return false;
        };
        // Somebody who came with the same at the same time may have been faster.
        if known && self.inner.right().contains(&seal) {
            return true;
        }
        let (password, hash) = (password.to_owned(), hash.clone());
        let check = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let matches = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if matches && known {
            let mut right = self.inner.right();
            if right.len() >= REMEMBERED {
                right.clear();
            }
            right.insert(seal);
        }
        matches && known
    }

    /// What became wrong with the file since it was last asked.
    pub(crate) fn take_problem(&self) -> Option<String> {
        self.inner.file().problem.take()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.inner.path).finish()
    }
}

impl Inner {
    /// The hashes as the file has them now.
    fn hashes(&self) -> Arc<HashMap<String, String>> {
        let mut file = self.file();
        let stamp = fs::metadata(&self.path).map(|meta| stamp(&meta));
        if stamp.as_ref().is_ok_and(|stamp| *stamp == file.stamp) {
            return Arc::clone(&file.hashes);
        }
        match read(&self.path) {
            Ok((stamp, hashes)) => {
                file.stamp = stamp;
                file.hashes = Arc::new(hashes);
                file.problem = None;
            }
            Err(error) => {
                // Not looked at again until it changes again.
                if let Ok(stamp) = stamp {
                    file.stamp = stamp;
                }
                let reason = match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                };
                file.problem = Some(format!("{reason}; the users it had before stay"));
            }
        }
        Arc::clone(&file.hashes)
    }

    /// Stands for a name, a password and the hash they were checked against. With a key that nobody
    /// has, it gives nothing away and cannot be aimed at.
    fn seal(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, password, hash] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut seal = [0; 32];
        seal.copy_from_slice(context.sign().as_ref());
        seal
    }

    fn file(&self) -> MutexGuard<'_, FileState> {
        self.file
            .lock()
            .expect("nothing panics while it holds the users")
    }

    fn right(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.right
            .lock()
            .expect("nothing panics while it holds the seals")
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    (
        meta.dev(),
        meta.ino(),
        meta.size(),
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    )
}

fn read(path: &Path) -> Result<(Stamp, HashMap<String, String>), UsersError> {
    let failed = |source| UsersError::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    // The stamp before the text: what changes in between is read again.
    let stamp = stamp(&file.metadata().map_err(failed)?);
    let text = io::read_to_string(file).map_err(failed)?;
    match parse(&text) {
        Ok(hashes) => Ok((stamp, hashes)),
        Err(problems) => Err(UsersError::Lines {
            path: path.to_owned(),
            problems,
        }),
    }
}

/// From user to bcrypt hash, or everything that is wrong.
fn parse(text: &str) -> Result<HashMap<String, String>, Vec<String>> {
    let mut hashes = HashMap::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let checked = match line.split_once(':') {
            None | Some(("", _)) => Err("a line is NAME:HASH".to_owned()),
            Some((user, hash)) => check(user, hash).map(|()| (user, hash)),
        };
        match checked {
            Ok((user, hash)) => {
                if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                    problems.push(format!("line {number}: {user} is there already"));
                }
            }
            Err(problem) => problems.push(format!("line {number}: {problem}")),
        }
    }
    if hashes.is_empty() && problems.is_empty() {
        problems.push("there is no user in it; add one with `htpasswd -B FILE NAME`".to_owned());
    }
    if problems.is_empty() {
        Ok(hashes)
    } else {
        Err(problems)
    }
}

/// Only bcrypt will do. The hash itself is not repeated: what is wrong may be that it is none.
fn check(user: &str, hash: &str) -> Result<(), String> {
    let known = [
        ("$apr1$", "with MD5, which is far too weak"),
        ("$1$", "with MD5, which is far too weak"),
        ("{SHA}", "with SHA-1 and no salt, which is far too weak"),
        ("{SSHA}", "with SHA-1, which is far too weak"),
        ("$5$", "with SHA-256 crypt"),
        ("$6$", "with SHA-512 crypt"),
        ("$2x$", "with a defective form of bcrypt"),
        ("$argon2", "with Argon2"),
    ];
    let advice = format!("only bcrypt is taken: `htpasswd -B FILE {user}`");
    if let Some((_, how)) = known.iter().find(|(start, _)| hash.starts_with(start)) {
        return Err(format!("the password of {user} is hashed {how}; {advice}"));
    }
    if !["$2y$", "$2b$", "$2a$"]
        .iter()
        .any(|start| hash.starts_with(start))
    {
        return Err(format!(
            "the password of {user} is in plain text, or hashed in a way that is not known; {advice}"
        ));
    }
    let parts: bcrypt::HashParts = hash
        .parse()
        .map_err(|_| format!("the bcrypt hash of {user} is damaged; {advice}"))?;
    match parts.get_cost() {
        4..=MOST => Ok(()),
        cost => Err(format!(
            "the bcrypt hash of {user} has a cost of {cost}; it may be 4 to {MOST}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `secret`, as `htpasswd -nbBC 4` writes it.
    const SECRET: &str = "$2y$04$IiXn/awtkLHT1YnOtML4EurW7zzmhfDg4sBFEwpN7YfN7ebxXNyni";

    #[test]
    fn files_are_read_and_refused_by_the_line() {
        for (text, want) in [
            (format!("ann:{SECRET}\n"), Ok(&["ann"][..])),
            (
                format!(
                    "# people\r\n\r\nann:{SECRET}\r\nbob:{}\r\n",
                    SECRET.replace("2y", "2b")
                ),
                Ok(&["ann", "bob"]),
            ),
            (String::new(), Err("no user")),
            ("\n# nobody\n".into(), Err("no user")),
            (format!("ann:{SECRET}\nbob\n"), Err("line 2: a line is")),
            (format!(":{SECRET}\n"), Err("line 1: a line is")),
            (
                format!("ann:{SECRET}\nann:{SECRET}"),
                Err("line 2: ann is there"),
            ),
            (
                "ann:$apr1$x$y".into(),
                Err("line 1: the password of ann is hashed with MD5"),
            ),
            ("ann:{SHA}x".into(), Err("SHA-1")),
            (
                "\nann:$6$x$y".into(),
                Err("line 2: the password of ann is hashed with SHA-512"),
            ),
            ("ann:hunter2".into(), Err("in plain text")),
            ("ann:$2y$04$short".into(), Err("damaged")),
            (
                format!("ann:{}", SECRET.replace("$04$", "$31$")),
                Err("a cost of 31"),
            ),
        ] {
            match (parse(&text), want) {
                (Ok(hashes), Ok(users)) => {
                    let mut found: Vec<_> = hashes.keys().map(String::as_str).collect();
                    found.sort_unstable();
                    assert_eq!(found, users, "{text}");
                }
                (Err(problems), Err(part)) => {
                    let problems = problems.join("\n");
                    assert!(problems.contains(part), "{text}: {problems}");
                    assert!(!problems.contains("hunter2"), "{problems}");
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        let both = parse("a:x\nb:y\n").unwrap_err();
        assert_eq!(both.len(), 2, "every line is told: {both:?}");
    }
}
