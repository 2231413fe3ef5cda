//! Agents of ssh that steps and git may use: forwarded through a socket of our own, which answers
//! two questions only.
//!
//! What is behind a forwarded socket is the user's agent, or the machine's `ssh-agent` with keys
//! that were given as files. This crate knows no Dockerfiles and no sandbox.

mod filter;
mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keys::KeyAgent;
use rustix::fs::FlockOperation;

/// How the directories of forwarded sockets are called.
const PREFIX: &str = "launchway-ssh-";

/// The agents of a build, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Agents(BTreeMap<String, Agent>);

/// Who holds the keys.
#[derive(Clone)]
pub enum Agent {
    /// A running agent.
    Socket(PathBuf),
    /// Private keys without passphrases, as OpenSSH writes them.
    Keys(Vec<Vec<u8>>),
}

/// Why an agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("{0} is not installed")]
    NotInstalled(&'static str),
    #[error("cannot use the key: {0}")]
    Key(String),
    #[error("{act}")]
    Io {
        act: &'static str,
        source: io::Error,
    },
}

impl AgentError {
    fn io(act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { act, source }
    }
}

impl Agents {
    /// Takes one in; tells whether the id was free.
    pub fn insert(&mut self, id: impl Into<String>, agent: Agent) -> bool {
        self.0.insert(id.into(), agent).is_none()
    }

    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.0.get(id)
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => f.debug_tuple("Socket").field(path).finish(),
            Self::Keys(keys) => write!(f, "Keys({} of them)", keys.len()),
        }
    }
}

impl Agent {
    /// Opens a socket that leads to the agent, for this owner. Whoever can connect to it can ask for
    /// the public keys and have things signed, nothing else.
    pub fn forward(&self, owner: (u32, u32), mode: u32) -> Result<Forwarded, AgentError> {
        let (directory, lock) =
            private_directory().map_err(AgentError::io("make a place for a socket"))?;
        let mut forwarded = Forwarded {
            socket: directory.join("agent"),
            directory,
            listener: None,
            thread: None,
            _keys: None,
            _lock: lock,
        };
        let behind = match self {
            Self::Socket(path) => path.clone(),
            Self::Keys(keys) => {
                let agent = KeyAgent::start(&forwarded.directory, keys)?;
                let socket = agent.socket().to_owned();
                forwarded._keys = Some(agent);
                socket
            }
        };
        let listen = || {
            let listener = UnixListener::bind(&forwarded.socket)?;
            chown(&forwarded.socket, Some(owner.0), Some(owner.1))?;
            fs::set_permissions(&forwarded.socket, Permissions::from_mode(mode & 0o777))?;
            Ok((listener.try_clone()?, listener))
        };
        let (ours, theirs) = listen().map_err(AgentError::io("open a socket"))?;
        forwarded.listener = Some(ours);
        forwarded.thread = Some(std::thread::spawn(move || filter::serve(&theirs, &behind)));
        Ok(forwarded)
    }
}

/// A socket that leads to an agent for as long as this lives.
pub struct Forwarded {
    directory: PathBuf,
    socket: PathBuf,
    listener: Option<UnixListener>,
    thread: Option<JoinHandle<()>>,
    _keys: Option<KeyAgent>,
    _lock: File,
}

impl Forwarded {
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Ends the waiting for the next connection.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A directory that only we can enter, in memory where there is such a place, and a lock on it by
/// which others see that it is in use.
fn private_directory() -> io::Result<(PathBuf, File)> {
    // No name comes twice: an `ssh-agent` that is told to end removes its socket by name, some time later.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    };
    remove_leftovers(parent);
    for _ in 0..1000 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                let lock = File::open(&path)?;
                rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
                return Ok((path, lock));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes what killed processes of this user left: directories that nobody holds the lock of. A new
/// one is locked a moment after it is made, so those of the last minute are let be.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_old = |metadata: fs::Metadata| {
            let age = metadata.modified().ok()?.elapsed().ok()?;
            Some(metadata.is_dir() && age > Duration::from_secs(60))
        };
        if !ours || entry.metadata().ok().and_then(is_old) != Some(true) {
            continue;
        }
        let free = File::open(entry.path()).is_ok_and(|directory| {
            rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
        });
        if free {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use super::*;

    /// Whether the machine has OpenSSH's programs; says so when not.
    fn lacks_openssh() -> bool {
        let there = Command::new("ssh-keygen")
            .arg("-?")
            .stderr(Stdio::null())
            .output();
        if there.is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "openssh-client is missing"
            );
            eprintln!("skipped: this machine has no openssh-client");
        }
        there.is_err()
    }

    fn new_key(folder: &Path, kind: &str, passphrase: &str) -> (Vec<u8>, String) {
        let path = folder.join(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-C", "test", "-N", passphrase, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        (fs::read(&path).unwrap(), public)
    }

    fn listed(socket: &Path) -> String {
        let output = Command::new("ssh-add")
            .arg("-L")
            .env("SSH_AUTH_SOCK", socket)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn keys_are_listed_and_sign_and_nothing_else_is_allowed() {
        if lacks_openssh() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (first, first_public) = new_key(folder.path(), "ed25519", "");
        let (mut second, second_public) = new_key(folder.path(), "rsa", "");
        // Editors lose the last line's end.
        second.pop();
        let own = fs::metadata(folder.path()).unwrap();
        let owner = (own.uid(), own.gid());
        let forwarded = Agent::Keys(vec![first, second])
            .forward(owner, 0o640)
            .unwrap();
        let socket = forwarded.socket().to_owned();
        let metadata = fs::symlink_metadata(&socket).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        let place = fs::metadata(socket.parent().unwrap()).unwrap();
        assert_eq!(place.mode() & 0o777, 0o700);
        let keys = listed(&socket);
        for public in [&first_public, &second_public] {
            let body = public.split(' ').nth(1).unwrap();
            assert!(keys.contains(body), "{keys}");
        }
        // Signing works, and what it signs is right.
        let message = folder.path().join("message");
        fs::write(&message, "text").unwrap();
        let signed = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", "test", "-f"])
            .arg(folder.path().join("ed25519.pub"))
            .arg(&message)
            .env("SSH_AUTH_SOCK", &socket)
            .output()
            .unwrap();
        assert!(signed.status.success(), "{signed:?}");
        // Removing, adding, locking do not.
        for arguments in [&["-D"][..], &["-d", "ed25519.pub"], &["-q", "ed25519"]] {
            let refused = Command::new("ssh-add")
                .args(arguments)
                .current_dir(folder.path())
                .env("SSH_AUTH_SOCK", &socket)
                .output()
                .unwrap();
            assert!(!refused.status.success(), "{arguments:?}");
        }
        assert_eq!(listed(&socket), keys);
        drop(forwarded);
        assert!(!socket.parent().unwrap().exists());
    }

    #[test]
    fn an_agent_behind_an_agent() {
        if lacks_openssh() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (key, public) = new_key(folder.path(), "ed25519", "");
        let own = fs::metadata(folder.path()).unwrap();
        let owner = (own.uid(), own.gid());
        let first = Agent::Keys(vec![key]).forward(owner, 0o600).unwrap();
        let behind = Agent::Socket(first.socket().to_owned());
        let second = behind.forward(owner, 0o600).unwrap();
        assert!(listed(second.socket()).contains(public.split(' ').nth(1).unwrap()));
    }

    #[test]
    fn keys_that_cannot_be_used() {
        if lacks_openssh() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (locked, _) = new_key(folder.path(), "ed25519", "passphrase");
        for key in [locked, b"no key".to_vec(), Vec::new()] {
            let error = Agent::Keys(vec![key]).forward((0, 0), 0o600).err();
            assert!(matches!(error, Some(AgentError::Key(_))), "{error:?}");
        }
    }

    #[test]
    fn an_agent_that_is_gone_answers_with_a_failure() {
        let own = fs::metadata("/proc/self").unwrap();
        let agent = Agent::Socket("/nonexistent/agent".into());
        let forwarded = agent.forward((own.uid(), own.gid()), 0o600).unwrap();
        let mut client = UnixStream::connect(forwarded.socket()).unwrap();
        client.write_all(&[0, 0, 0, 1, 11]).unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0, 0, 0, 1, 5]);
    }

    /// An agent that ends removes its socket by name, and may do so when the next one is there.
    #[test]
    fn no_socket_has_the_name_of_one_before() {
        let own = fs::metadata("/proc/self").unwrap();
        let agent = Agent::Socket("/nonexistent/agent".into());
        let open = || agent.forward((own.uid(), own.gid()), 0o600).unwrap();
        let first = open().socket().to_owned();
        assert_ne!(open().socket(), first);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            let directory = File::open(&path).unwrap();
            let time = std::time::SystemTime::now() - Duration::from_secs(age);
            directory.set_modified(time).unwrap();
            (path, directory)
        };
        let (dead, _) = make("launchway-ssh-1-0", 100);
        let (fresh, _) = make("launchway-ssh-2-0", 1);
        let (other, _) = make("something-else", 100);
        let (held, lock) = make("launchway-ssh-3-0", 100);
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        remove_leftovers(parent.path());
        assert!(!dead.exists());
        assert!(fresh.exists() && other.exists() && held.exists());
    }

    #[test]
    fn keys_are_not_shown() {
        let agent = Agent::Keys(vec![b"secret".to_vec()]);
        assert_eq!(format!("{agent:?}"), "Keys(1 of them)");
    }
}
