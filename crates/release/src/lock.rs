//! One release of a family at a time on a machine.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::FlockOperation;

/// Held for as long as a release runs; the kernel lets it go when the process ends, however it ends.
pub struct ReleaseLock(#[expect(dead_code, reason = "holding the open file is what locks")] File);

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another release of this family is running: {holder}")]
    Held { holder: String },
    #[error("lock the family")]
    Io(#[from] std::io::Error),
}

impl ReleaseLock {
    /// Takes the lock of a family, or says who holds it.
    pub fn take(state: &Path, family: &str, started: &str) -> Result<Self, LockError> {
        let folder = state.join("releases");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{family}.lock"));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Err(LockError::Held {
                    holder: holder.trim().to_owned(),
                });
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "process {}, since {started}", std::process::id())?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let state = tempfile::tempdir().unwrap();
        let first = ReleaseLock::take(state.path(), "f", "12:00").unwrap();
        let second = ReleaseLock::take(state.path(), "f", "12:01");
        assert!(
            matches!(second, Err(LockError::Held { holder }) if holder.contains("since 12:00"))
        );
        assert!(ReleaseLock::take(state.path(), "other", "12:02").is_ok());
        drop(first);
        assert!(ReleaseLock::take(state.path(), "f", "12:03").is_ok());
    }
}
