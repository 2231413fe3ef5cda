//! COPY, ADD and WORKDIR: putting files into a new layer.
//!
//! The new layer is a plain directory that is filled without mounting anything. Destinations are
//! resolved in the merged view of the layers below and the new one, so symbolic links inside the
//! image are followed inside the image. The rules for what lands where are BuildKit's (the copy
//! package of tonistiigi/fsutil): they are checked against it by the differential tests.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::Cancellation;
pub(crate) use crate::copy_options::CopyOptions;
use crate::over::Over;
use launchway_context::Verdict;
use launchway_oci::{EntryKind, Stack, Tree, TreeEntry, resolve};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

/// Who owns what is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// As in the source: files of another stage.
    Keep,
    /// One owner for all.
    Set(u32, u32),
}

/// Why something cannot be put where it should go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("/{0} is not a directory, so nothing can be put below it")]
    NotADirectory(String),
    #[error("/{0} is a directory and cannot be replaced by a file")]
    IsADirectory(String),
    #[error("interrupted")]
    Cancelled,
    #[error("{act} {path}")]
    Io {
        act: &'static str,
        path: String,
        source: io::Error,
    },
}

pub(crate) type Result<T> = std::result::Result<T, CopyError>;

pub(crate) fn failed<'a>(
    act: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> CopyError + 'a {
    move |source| CopyError::Io {
        act,
        path: path.display().to_string(),
        source,
    }
}

/// A directory that comes to be when something below it is copied.
struct Waiting {
    target: PathBuf,
    /// Once it was needed: whether it is new.
    made: Option<bool>,
}

/// A layer being filled.
pub(crate) struct LayerBuilder {
    upper: PathBuf,
    /// The layers below and, on top, the new one.
    pub(crate) view: Over,
    /// (device, inode) of a source file with several names → where its first name was copied.
    links: HashMap<(u64, u64), PathBuf>,
    /// The directories being walked that come along only when something in them is taken.
    waiting: Vec<Waiting>,
    /// Asked before each entry.
    pub(crate) cancellation: Cancellation,
}

impl LayerBuilder {
    /// Fills the directory `upper`, which is empty or holds an earlier part of the same layer.
    pub(crate) fn new(upper: &Path, below: &Stack) -> Self {
        Self {
            upper: upper.to_owned(),
            view: Over::new(upper, below.clone()),
            links: HashMap::new(),
            waiting: Vec::new(),
            cancellation: Cancellation::default(),
        }
    }

    /// Makes a directory and its missing parents, all with this owner and mode.
    pub(crate) fn make_directories(
        &mut self,
        path: &str,
        owner: (u32, u32),
        mode: u32,
    ) -> Result<()> {
        let path = self.resolve(path)?;
        self.mkdir_all(&path, Some(owner), mode)
    }

    /// Copies one selected source (`COPY source destination`); `name` is the last part of the
    /// source as selected, which a file takes inside a directory.
    pub(crate) fn copy(
        &mut self,
        tree: &dyn Tree,
        source: &Path,
        name: &Path,
        destination: &str,
        options: &CopyOptions,
    ) -> Result<()> {
        self.links.clear();
        self.waiting.clear();
        let source_entry = self.source_entry(tree, source)?;
        let parent_mode = options.parent_mode();
        let owner = match options.owner {
            Ownership::Keep => None,
            Ownership::Set(uid, gid) => Some((uid, gid)),
        };
        // A destination that ends with a slash is a directory and comes to be as one.
        if destination.ends_with('/') || destination.ends_with("/.") {
            let directory = self.resolve(destination)?;
            self.mkdir_all(&directory, owner, parent_mode)?;
        }
        let mut target = self.resolve(destination)?;
        let existing = self.entry(&target)?;
        let is_directory = |entry: &Option<TreeEntry>| {
            entry
                .as_ref()
                .is_some_and(|entry| entry.kind == EntryKind::Dir)
        };
        let source_is_directory = source_entry.kind == EntryKind::Dir;
        if !source_is_directory && (is_directory(&existing) || target.as_os_str().is_empty()) {
            target.push(name.file_name().unwrap_or_default());
        }
        if source_is_directory && existing.is_none() {
            self.mkdir_all(&target, owner, parent_mode)?;
        } else if let Some(parent) = target.parent() {
            let parent = parent.to_owned();
            self.mkdir_all(&parent, owner, parent_mode)?;
        }
        self.copy_entry(
            tree,
            source,
            Path::new(""),
            &target,
            &source_entry,
            false,
            options,
        )
    }

    /// Copies a folder. Other than one of COPY, what comes to be at the destination is the folder
    /// itself, with its mode and time.
    pub(crate) fn copy_folder(
        &mut self,
        tree: &dyn Tree,
        source: &Path,
        destination: &str,
        options: &CopyOptions,
    ) -> Result<()> {
        if destination.ends_with('/') {
            return self.copy(tree, source, source, destination, options);
        }
        self.links.clear();
        self.waiting.clear();
        let target = self.resolve(destination)?;
        let owner = match options.owner {
            Ownership::Keep => None,
            Ownership::Set(uid, gid) => Some((uid, gid)),
        };
        if let Some(parent) = target.parent() {
            self.mkdir_all(parent, owner, options.parent_mode())?;
        }
        let entry = self.source_entry(tree, source)?;
        let top = Path::new("");
        self.copy_entry(tree, source, top, &target, &entry, false, options)
    }

    /// Writes a file from memory (a heredoc of COPY).
    pub(crate) fn write_file(
        &mut self,
        name: &str,
        content: &[u8],
        destination: &str,
        options: &CopyOptions,
    ) -> Result<()> {
        let owner = match options.owner {
            Ownership::Keep => (0, 0),
            Ownership::Set(uid, gid) => (uid, gid),
        };
        if destination.ends_with('/') {
            let directory = self.resolve(destination)?;
            self.mkdir_all(&directory, Some(owner), options.parent_mode())?;
        }
        let mut target = self.resolve(destination)?;
        if self
            .entry(&target)?
            .is_some_and(|entry| entry.kind == EntryKind::Dir)
        {
            target.push(name);
        }
        if let Some(parent) = target.parent() {
            let parent = parent.to_owned();
            self.mkdir_all(&parent, Some(owner), options.parent_mode())?;
        }
        self.clear_for_file(&target, false)?;
        let real = self.upper.join(&target);
        fs::write(&real, content).map_err(failed("write", &target))?;
        self.set_owner_and_mode(&target, owner, options.mode_of(0o644, false), false)
    }

    fn resolve(&self, path: &str) -> Result<PathBuf> {
        let relative = path.trim_start_matches('/');
        resolve(&self.view, Path::new(relative), true).map_err(failed("resolve", Path::new(path)))
    }

    pub(crate) fn entry(&self, path: &Path) -> Result<Option<TreeEntry>> {
        self.view.entry(path).map_err(failed("look up", path))
    }

    fn source_entry(&self, tree: &dyn Tree, path: &Path) -> Result<TreeEntry> {
        tree.entry(path)
            .and_then(|entry| entry.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(failed("look up", path))
    }

    /// Makes every missing directory of a resolved path. Directories that exist below are taken
    /// over as they are; the finished layer leaves them out where nothing in them changed.
    pub(crate) fn mkdir_all(
        &self,
        path: &Path,
        owner: Option<(u32, u32)>,
        mode: u32,
    ) -> Result<()> {
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            so_far.push(name);
            match self.entry(&so_far)? {
                Some(entry) if entry.kind == EntryKind::Dir => self.take_over(&so_far, &entry)?,
                Some(_) => return Err(CopyError::NotADirectory(so_far.display().to_string())),
                None => {
                    fs::create_dir(self.upper.join(&so_far))
                        .map_err(failed("make directory", &so_far))?;
                    self.set_owner_and_mode(&so_far, owner.unwrap_or((0, 0)), mode, false)?;
                }
            }
        }
        Ok(())
    }

    /// Puts a directory of the layers below into the new layer, unchanged.
    fn take_over(&self, path: &Path, entry: &TreeEntry) -> Result<()> {
        let real = self.upper.join(path);
        let parent = real.parent().unwrap_or(&self.upper);
        // Nothing is new in the parent, so its time has to stay.
        let time_of_parent = fs::symlink_metadata(parent)
            .map_err(failed("look at", path))?
            .mtime();
        match fs::create_dir(&real) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(failed("make directory", path)(error)),
        }
        set_mtime(parent, time_of_parent).map_err(failed("set the time of", path))?;
        let xattrs = self
            .view
            .below
            .xattrs(path)
            .map_err(failed("read attributes of", path))?;
        self.set_owner_and_mode(path, (entry.uid, entry.gid), entry.mode, false)?;
        set_xattrs(&real, &xattrs).map_err(failed("set attributes of", path))?;
        set_mtime(&real, entry.mtime).map_err(failed("set the time of", path))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one recursive step; a struct would only rename them"
    )]
    fn copy_entry(
        &mut self,
        tree: &dyn Tree,
        source: &Path,
        relative: &Path,
        target: &Path,
        entry: &TreeEntry,
        nested: bool,
        options: &CopyOptions,
    ) -> Result<()> {
        if self.cancellation.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        let is_directory = entry.kind == EntryKind::Dir;
        let verdict = options
            .filter
            .verdict(&relative.to_string_lossy(), is_directory);
        if verdict == Verdict::LeftOut {
            return Ok(());
        }
        let (uid, gid) = match options.owner {
            Ownership::Keep => (entry.uid, entry.gid),
            Ownership::Set(uid, gid) => (uid, gid),
        };
        if is_directory {
            if options.implied.contains(source) {
                return self.copy_implied(tree, source, relative, target, entry, options);
            }
            if options.replaces && !target.as_os_str().is_empty() {
                self.give_way(target, true)?;
            }
            let made = if verdict == Verdict::OnTheWay {
                self.waiting.push(Waiting {
                    target: target.to_owned(),
                    made: None,
                });
                self.copy_children(tree, source, relative, target, options)?;
                match self.waiting.pop().and_then(|waiting| waiting.made) {
                    Some(true) => true,
                    // One that was there takes the mode of the source and nothing else.
                    Some(false) => {
                        let real = self.upper.join(target);
                        let mode = fs::Permissions::from_mode(entry.mode & 0o7777);
                        fs::set_permissions(&real, mode)
                            .map_err(failed("set the mode of", target))?;
                        false
                    }
                    None => false,
                }
            } else {
                self.make_waiting()?;
                let fresh = self.enter_directory(target)?;
                self.copy_children(tree, source, relative, target, options)?;
                // The outermost directory keeps what it was when it existed before, but for the
                // time, which is the source's.
                if !fresh && !nested && !target.as_os_str().is_empty() {
                    set_mtime(&self.upper.join(target), entry.mtime)
                        .map_err(failed("set the time of", target))?;
                }
                fresh || nested
            };
            if made {
                self.finish(tree, source, target, entry, (uid, gid), options)?;
            }
            return Ok(());
        }
        self.make_waiting()?;
        if options.replaces {
            self.give_way(target, false)?;
        }
        self.clear_for_file(target, options.replaces)?;
        let real = self.upper.join(target);
        match entry.kind {
            EntryKind::File => {
                if let Some(first) = entry.inode.and_then(|inode| self.links.get(&inode)) {
                    return fs::hard_link(first, &real).map_err(failed("link", target));
                }
                let mut from = tree.open(source).map_err(failed("open", source))?;
                let mut to = fs::File::create(&real).map_err(failed("create", target))?;
                io::copy(&mut from, &mut to).map_err(failed("copy", target))?;
                if let Some(inode) = entry.inode {
                    self.links.insert(inode, real);
                }
            }
            EntryKind::Symlink => {
                let to = tree
                    .read_link(source)
                    .map_err(failed("read link", source))?;
                std::os::unix::fs::symlink(to, &real).map_err(failed("create link", target))?;
            }
            EntryKind::Fifo
            | EntryKind::Socket
            | EntryKind::CharDevice
            | EntryKind::BlockDevice => {
                let kind = match entry.kind {
                    EntryKind::Fifo => rustix::fs::FileType::Fifo,
                    EntryKind::Socket => rustix::fs::FileType::Socket,
                    EntryKind::CharDevice => rustix::fs::FileType::CharacterDevice,
                    _ => rustix::fs::FileType::BlockDevice,
                };
                rustix::fs::mknodat(CWD, &real, kind, Mode::from_raw_mode(0o600), entry.rdev)
                    .map_err(io::Error::from)
                    .map_err(failed("make node", target))?;
            }
            EntryKind::Dir => unreachable!("directories were handled above"),
        }
        self.finish(tree, source, target, entry, (uid, gid), options)
    }

    pub(crate) fn copy_children(
        &mut self,
        tree: &dyn Tree,
        source: &Path,
        relative: &Path,
        target: &Path,
        options: &CopyOptions,
    ) -> Result<()> {
        for name in tree.children(source).map_err(failed("list", source))? {
            let child = source.join(&name);
            let entry = self.source_entry(tree, &child)?;
            let relative = relative.join(&name);
            let target = target.join(&name);
            self.copy_entry(tree, &child, &relative, &target, &entry, true, options)?;
        }
        Ok(())
    }

    /// Makes the directories on the way to something that is taken.
    fn make_waiting(&mut self) -> Result<()> {
        for at in 0..self.waiting.len() {
            if self.waiting[at].made.is_none() {
                let fresh = self.enter_directory(&self.waiting[at].target)?;
                self.waiting[at].made = Some(fresh);
            }
        }
        Ok(())
    }

    /// Makes the target of a directory, or finds that it is one. Tells whether it is new.
    fn enter_directory(&self, target: &Path) -> Result<bool> {
        if target.as_os_str().is_empty() {
            return Ok(false);
        }
        match self.entry(target)? {
            Some(existing) if existing.kind == EntryKind::Dir => {
                self.enter_parent(target)?;
                self.take_over(target, &existing)?;
                Ok(false)
            }
            Some(_) => Err(CopyError::NotADirectory(target.display().to_string())),
            None => {
                self.enter_parent(target)?;
                fs::create_dir(self.upper.join(target))
                    .map_err(failed("make directory", target))?;
                Ok(true)
            }
        }
    }

    /// Puts the directory that something goes into into the new layer, where mostly it is already: to ask for each on
    /// the way to it, of each layer, would cost more than the copying.
    fn enter_parent(&self, target: &Path) -> Result<()> {
        let parent = target.parent().unwrap_or(Path::new(""));
        let is_there = fs::symlink_metadata(self.upper.join(parent));
        if is_there.is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        self.mkdir_all(parent, None, 0o755)
    }

    /// Removes what is not of the kind that comes; what is below is hidden by what is put there.
    fn give_way(&self, target: &Path, for_directory: bool) -> Result<()> {
        let real = self.upper.join(target);
        let Some(existing) = self.entry(target)? else {
            return Ok(());
        };
        if (existing.kind == EntryKind::Dir) == for_directory {
            return Ok(());
        }
        let removed = match existing.kind {
            EntryKind::Dir => fs::remove_dir_all(&real),
            _ => fs::remove_file(&real),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace", target)(error));
            }
            _ => {}
        }
        if !for_directory {
            return Ok(());
        }
        self.enter_parent(target)?;
        fs::create_dir(&real).map_err(failed("make directory", target))
    }

    /// Makes room for something that is no directory.
    fn clear_for_file(&self, target: &Path, replaces: bool) -> Result<()> {
        if !replaces
            && self
                .entry(target)?
                .is_some_and(|entry| entry.kind == EntryKind::Dir)
        {
            return Err(CopyError::IsADirectory(target.display().to_string()));
        }
        match fs::remove_file(self.upper.join(target)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("replace", target)(error)),
        }
    }

    /// Owner, mode, extended attributes and time, in the order that keeps all of them: a change of
    /// owner clears set-user-id bits and capabilities.
    pub(crate) fn finish(
        &self,
        tree: &dyn Tree,
        source: &Path,
        target: &Path,
        entry: &TreeEntry,
        owner: (u32, u32),
        options: &CopyOptions,
    ) -> Result<()> {
        let symlink = entry.kind == EntryKind::Symlink;
        let mode = options.mode_of(entry.mode, entry.kind == EntryKind::Dir);
        self.set_owner_and_mode(target, owner, mode, symlink)?;
        let real = self.upper.join(target);
        let xattrs = tree
            .xattrs(source)
            .map_err(failed("read attributes of", source))?;
        set_xattrs(&real, &xattrs).map_err(failed("set attributes of", target))?;
        set_mtime(&real, entry.mtime).map_err(failed("set the time of", target))
    }

    fn set_owner_and_mode(
        &self,
        path: &Path,
        (uid, gid): (u32, u32),
        mode: u32,
        symlink: bool,
    ) -> Result<()> {
        let real = self.upper.join(path);
        std::os::unix::fs::lchown(&real, Some(uid), Some(gid))
            .map_err(failed("set the owner of", path))?;
        if !symlink {
            fs::set_permissions(&real, fs::Permissions::from_mode(mode & 0o7777))
                .map_err(failed("set the mode of", path))?;
        }
        Ok(())
    }
}

fn set_xattrs(
    path: &Path,
    xattrs: &std::collections::BTreeMap<OsString, Vec<u8>>,
) -> io::Result<()> {
    for (name, value) in xattrs {
        match rustix::fs::lsetxattr(path, name.as_bytes(), value, XattrFlags::empty()) {
            Ok(()) => {}
            // BuildKit goes on where the file system takes no such attribute; so do we.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn set_mtime(path: &Path, mtime: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
