//! A place for what must not reach a disk.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// A directory in memory that only we can enter, for files that must not reach a disk.
pub(crate) struct SecretDirectory {
    path: PathBuf,
    count: u32,
}

impl SecretDirectory {
    pub(crate) fn create() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        for attempt in 0..1000 {
            let path = parent.join(format!("launchway-{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    fs::set_permissions(&path, Permissions::from_mode(0o700))?;
                    return Ok(Self { path, count: 0 });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(crate) fn file(
        &mut self,
        kind: &str,
        content: &[u8],
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> io::Result<PathBuf> {
        self.count += 1;
        let path = self.path.join(format!("{kind}-{}", self.count));
        fs::write(&path, content)?;
        chown(&path, Some(uid), Some(gid))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(path)
    }
}

impl Drop for SecretDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn secrets_stand_where_nobody_else_can_enter_and_go() {
        let mut directory = SecretDirectory::create().unwrap();
        let own = fs::metadata(&directory.path).unwrap();
        assert_eq!(own.mode() & 0o777, 0o700);
        let owner = (own.uid(), own.gid());
        let first = directory.file("secret", b"one", 0o400, owner).unwrap();
        let second = directory.file("secret", b"two", 0o440, owner).unwrap();
        assert_eq!(fs::read(&first).unwrap(), b"one");
        assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(&second).unwrap().mode() & 0o777, 0o440);
        let path = directory.path.clone();
        drop(directory);
        assert!(!path.exists());
    }
}
