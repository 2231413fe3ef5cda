//! Where cache mounts live, and who gets which directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use launchway_dockerfile::RunMount;
use launchway_model::{ContentHasher, InputHash};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cache::touch;
use crate::claim::wait_for;
use crate::collect::cache_mount_name;
use crate::native::Build;
use crate::{Cancellation, EngineError};

/// Where the directories of a cache mount are. One that is asked for with an owner or a mode is another one than that of
/// the same id without, as with BuildKit: who asks for a directory of their own may write to it. So is one that begins
/// with files of a `from`, and another one again when they change: `content` is what they are.
pub(crate) fn cache_root(state: &Path, mount: &RunMount, content: Option<&InputHash>) -> PathBuf {
    let RunMount::Cache {
        id, mode, uid, gid, ..
    } = mount
    else {
        unreachable!("only caches have a place");
    };
    let mut name = ContentHasher::new("launchway/cache-mount/1");
    name.text("id", id);
    if let Some(content) = content {
        name.field("from", content.as_bytes());
    }
    if mode.is_some() || uid.is_some() || gid.is_some() {
        let (mode, uid, gid) = (mode.unwrap_or(0o755), uid.unwrap_or(0), gid.unwrap_or(0));
        name.text("owner", &format!("{mode:o} {uid}:{gid}"));
    }
    state.join("cache-mounts").join(name.finish().to_string())
}

/// Holds a cache mount, so that nobody removes it, and notes that it is used now.
pub(crate) fn use_cache(build: &Build<'_>, root: &Path, id: &str) -> Result<(), EngineError> {
    let hash = root.file_name().unwrap_or_default().to_string_lossy();
    build.engine.store.hold(&cache_mount_name(&hash))?;
    fs::create_dir_all(root).map_err(EngineError::io("create a cache mount"))?;
    let about = root.join("about");
    if about.exists() {
        touch(&about);
        return Ok(());
    }
    fs::write(about, format!("{id}\n")).map_err(EngineError::io("create a cache mount"))
}

/// Takes the first directory of a cache mount, for one step alone or beside others that share it. `None`
/// while a step has it that does not share it, or any step where it is wanted alone.
pub(crate) fn try_first(root: &Path, alone: bool) -> io::Result<Option<File>> {
    let file = lock_file(root, 0)?;
    let how = match alone {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    Ok(try_lock(&file, how)?.then_some(file))
}

/// Picks a directory of a cache mount that no other step has, and takes it.
pub(crate) fn take_free(root: &Path) -> io::Result<(u64, File)> {
    let mut slot = 0;
    loop {
        let file = lock_file(root, slot)?;
        if try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok((slot, file));
        }
        slot += 1;
    }
}

fn lock_file(root: &Path, slot: u64) -> io::Result<File> {
    File::create(root.join(format!("{slot}.lock")))
}

fn try_lock(file: &File, how: FlockOperation) -> io::Result<bool> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the directory of a cache mount unless it is there. Steps that come at once, of this process
/// or of another, wait for the first: all of them shall write to the same one.
pub(crate) fn make_once(
    directory: &Path,
    cancellation: &Cancellation,
    fill: impl FnOnce(&Path) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    if directory.exists() {
        return Ok(());
    }
    let failed = || EngineError::io("create a cache mount");
    let with = |extension| directory.with_extension(extension);
    let door = File::create(with("new.lock")).map_err(failed())?;
    let enter = || {
        let entered = try_lock(&door, FlockOperation::NonBlockingLockExclusive);
        entered
            .map(|entered| entered.then_some(()))
            .map_err(failed())
    };
    wait_for(cancellation, enter, || {})?;
    if directory.exists() {
        return Ok(());
    }
    // What is there under this name is of a process that died.
    let fresh = with("new");
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    fs::create_dir(&fresh).map_err(failed())?;
    fill(&fresh)?;
    fs::rename(&fresh, directory).map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_which_directory() {
        let folder = tempfile::tempdir().unwrap();
        let private = || take_free(folder.path()).unwrap();
        let first = |alone| try_first(folder.path(), alone).unwrap();
        let (zero, held) = private();
        let (one, also_held) = private();
        assert_eq!((zero, one), (0, 1));
        assert!(first(false).is_none() && first(true).is_none());
        drop(held);
        // What is free again is used again, so that caches stay warm.
        assert_eq!(private().0, 0);
        drop(also_held);
        let shared = (first(false).unwrap(), first(false).unwrap());
        assert!(first(true).is_none(), "it is not had alone");
        assert_eq!(private().0, 1, "who wants one alone gets another");
        drop(shared);
        let _locked = first(true).unwrap();
        assert!(first(false).is_none(), "locked is locked for all");
    }

    #[test]
    fn steps_that_come_at_once_get_one_directory() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("0");
            let start = std::sync::Barrier::new(4);
            let made = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let (directory, start, made) = (&directory, &start, &made);
                    scope.spawn(move || {
                        start.wait();
                        make_once(directory, &Cancellation::default(), |_| {
                            made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            Ok(())
                        })
                        .unwrap();
                        fs::write(directory.join(number.to_string()), "").unwrap();
                    });
                }
            });
            assert_eq!(made.into_inner(), 1);
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
        }
    }

    #[test]
    fn what_a_dead_process_left_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("0");
        fs::create_dir(folder.path().join("0.new")).unwrap();
        fs::write(folder.path().join("0.new/half"), "").unwrap();
        make_once(&directory, &Cancellation::default(), |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn who_waits_for_another_to_make_it_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let door = File::create(folder.path().join("0.new.lock")).unwrap();
        assert!(try_lock(&door, FlockOperation::NonBlockingLockExclusive).unwrap());
        let cancellation = Cancellation::default();
        cancellation.cancel();
        let made = make_once(&folder.path().join("0"), &cancellation, |_| Ok(()));
        assert!(matches!(made, Err(EngineError::Cancelled)));
    }
}
