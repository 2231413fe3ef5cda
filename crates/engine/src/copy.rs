//! COPY, ADD and WORKDIR: putting files into a new layer.
//!
//! The new layer is a plain directory that is filled without mounting anything. Destinations are
//! resolved in the merged view of the layers below and the new one, so symbolic links inside the
//! image are followed inside the image. The rules for what lands where are BuildKit's (the copy
//! package of tonistiigi/fsutil): they are checked against it by the differential tests.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::Cancellation;
pub(crate) use crate::copy_options::CopyOptions;
use crate::upper::{Put, Upper};
use launchway_context::Verdict;
use launchway_oci::{EntryKind, PlannedLayer, Stack, Tree, TreeEntry};

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
pub(crate) struct LayerBuilder<'a> {
    pub(crate) upper: Upper<'a>,
    /// (device, inode) of a source file with several names → where its first name was copied.
    links: HashMap<(u64, u64), PathBuf>,
    /// The directories being walked that come along only when something in them is taken.
    waiting: Vec<Waiting>,
    /// Asked before each entry.
    pub(crate) cancellation: Cancellation,
}

/// Where one entry comes from and goes to.
pub(crate) struct Way<'p> {
    pub(crate) source: &'p Path,
    /// Its path below the entry that was selected.
    pub(crate) relative: &'p Path,
    pub(crate) target: &'p Path,
    /// The directory around the target was made for this: nothing can be in the way.
    pub(crate) is_free: bool,
}

impl<'a> LayerBuilder<'a> {
    /// Fills the directory `upper`, which is empty or holds an earlier part of the same layer.
    pub(crate) fn new(upper: &Path, below: &Stack) -> Self {
        Self::over(Upper::directory(upper, below))
    }

    /// Fills a layer in memory, as if nothing but `seen` were below.
    pub(crate) fn planned(below: &Stack, seen: &Stack) -> Result<Self> {
        let upper = Upper::planned(below, seen).map_err(failed("look at", Path::new("/")))?;
        Ok(Self::over(upper))
    }

    fn over(upper: Upper<'a>) -> Self {
        Self {
            upper,
            links: HashMap::new(),
            waiting: Vec::new(),
            cancellation: Cancellation::default(),
        }
    }

    /// What was filled, when it was planned.
    pub(crate) fn plan(self) -> Option<PlannedLayer<'a>> {
        match self.upper {
            Upper::Planned { layer, .. } => Some(layer),
            Upper::Directory { .. } => None,
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
        tree: &'a (dyn Tree + Sync),
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
        let way = Way::to(source, &target);
        self.copy_entry(tree, &way, &source_entry, false, options)
    }

    /// Copies a folder. Other than one of COPY, what comes to be at the destination is the folder
    /// itself, with its mode and time.
    pub(crate) fn copy_folder(
        &mut self,
        tree: &'a (dyn Tree + Sync),
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
        self.copy_entry(tree, &Way::to(source, &target), &entry, false, options)
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
        self.upper
            .put_bytes(&target, content, owner, options.mode_of(0o644, false))
            .map_err(failed("write", &target))
    }

    fn resolve(&self, path: &str) -> Result<PathBuf> {
        let relative = path.trim_start_matches('/');
        let resolved = self.upper.resolve(Path::new(relative));
        resolved.map_err(failed("resolve", Path::new(path)))
    }

    pub(crate) fn entry(&self, path: &Path) -> Result<Option<TreeEntry>> {
        self.upper.entry(path).map_err(failed("look up", path))
    }

    fn source_entry(&self, tree: &dyn Tree, path: &Path) -> Result<TreeEntry> {
        tree.entry(path)
            .and_then(|entry| entry.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(failed("look up", path))
    }

    /// Makes every missing directory of a resolved path. Directories that exist below are taken
    /// over as they are; the finished layer leaves them out where nothing in them changed.
    pub(crate) fn mkdir_all(
        &mut self,
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
                    self.make_directory(&so_far)?;
                    self.upper
                        .set_owner_and_mode(&so_far, owner.unwrap_or((0, 0)), mode)
                        .map_err(failed("set owner and mode of", &so_far))?;
                }
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> Result<()> {
        let made = self.upper.make_directory(path);
        made.map_err(failed("make directory", path))
    }

    /// Puts a directory of the layers below into the new layer, unchanged.
    fn take_over(&mut self, path: &Path, entry: &TreeEntry) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        // Nothing is new in the parent, so its time has to stay.
        let time_of_parent = self.upper.mtime(parent).map_err(failed("look at", path))?;
        match self.upper.make_directory(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return self.set_mtime(parent, time_of_parent);
            }
            Err(error) => return Err(failed("make directory", path)(error)),
        }
        self.set_mtime(parent, time_of_parent)?;
        let xattrs = self.upper.below().xattrs(path);
        let xattrs = xattrs.map_err(failed("read attributes of", path))?;
        let put = Put {
            owner: (entry.uid, entry.gid),
            mode: entry.mode,
            mtime: entry.mtime,
        };
        self.upper
            .finish_directory(path, put, xattrs)
            .map_err(failed("set the attributes of", path))
    }

    fn set_mtime(&mut self, path: &Path, mtime: i64) -> Result<()> {
        let set = self.upper.set_mtime(path, mtime);
        set.map_err(failed("set the time of", path))
    }

    fn copy_entry(
        &mut self,
        tree: &'a (dyn Tree + Sync),
        way: &Way<'_>,
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
            .verdict(&way.relative.to_string_lossy(), is_directory);
        if verdict == Verdict::LeftOut {
            return Ok(());
        }
        let put = Put {
            owner: match options.owner {
                Ownership::Keep => (entry.uid, entry.gid),
                Ownership::Set(uid, gid) => (uid, gid),
            },
            mode: options.mode_of(entry.mode, is_directory),
            mtime: entry.mtime,
        };
        let target = way.target;
        if is_directory {
            if options.implied.contains(way.source) {
                return self.copy_implied(tree, way, entry, options);
            }
            if options.replaces && !target.as_os_str().is_empty() {
                self.give_way(target, true)?;
            }
            let made = if verdict == Verdict::OnTheWay {
                self.waiting.push(Waiting {
                    target: target.to_owned(),
                    made: None,
                });
                self.copy_children(tree, way, false, options)?;
                match self.waiting.pop().and_then(|waiting| waiting.made) {
                    Some(true) => true,
                    // One that was there takes the mode of the source and nothing else.
                    Some(false) => {
                        self.upper
                            .set_mode(target, entry.mode)
                            .map_err(failed("set the mode of", target))?;
                        false
                    }
                    None => false,
                }
            } else {
                self.make_waiting()?;
                let fresh = if way.is_free {
                    self.make_directory(target)?;
                    true
                } else {
                    self.enter_directory(target)?
                };
                self.copy_children(tree, way, fresh, options)?;
                // The outermost directory keeps what it was when it existed before, but for the
                // time, which is the source's.
                if !fresh && !nested && !target.as_os_str().is_empty() {
                    self.set_mtime(target, entry.mtime)?;
                }
                fresh || nested
            };
            if made {
                let xattrs = tree
                    .xattrs(way.source)
                    .map_err(failed("read attributes of", way.source))?;
                self.upper
                    .finish_directory(target, put, xattrs)
                    .map_err(failed("set the attributes of", target))?;
            }
            return Ok(());
        }
        self.make_waiting()?;
        if !way.is_free {
            if options.replaces {
                self.give_way(target, false)?;
            }
            self.clear_for_file(target, options.replaces)?;
        }
        let inode = entry.inode.filter(|_| entry.kind == EntryKind::File);
        if let Some(first) = inode.and_then(|inode| self.links.get(&inode)) {
            return self
                .upper
                .link(first, target)
                .map_err(failed("link", target));
        }
        self.upper
            .put(target, tree, way.source, entry, put)
            .map_err(failed("copy", target))?;
        if let Some(inode) = inode {
            self.links.insert(inode, target.to_owned());
        }
        Ok(())
    }

    pub(crate) fn copy_children(
        &mut self,
        tree: &'a (dyn Tree + Sync),
        way: &Way<'_>,
        is_free: bool,
        options: &CopyOptions,
    ) -> Result<()> {
        let source = way.source;
        for (name, entry) in tree.list(source).map_err(failed("list", source))? {
            let way = Way {
                source: &source.join(&name),
                relative: &way.relative.join(&name),
                target: &way.target.join(&name),
                is_free,
            };
            self.copy_entry(tree, &way, &entry, true, options)?;
        }
        Ok(())
    }

    /// Makes the directories on the way to something that is taken.
    fn make_waiting(&mut self) -> Result<()> {
        for at in 0..self.waiting.len() {
            if self.waiting[at].made.is_none() {
                let target = self.waiting[at].target.clone();
                let fresh = self.enter_directory(&target)?;
                self.waiting[at].made = Some(fresh);
            }
        }
        Ok(())
    }

    /// Makes the target of a directory, or finds that it is one. Tells whether it is new.
    fn enter_directory(&mut self, target: &Path) -> Result<bool> {
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
                self.make_directory(target)?;
                Ok(true)
            }
        }
    }

    /// Puts the directory that something goes into into the new layer, where mostly it is already: to ask for each on
    /// the way to it, of each layer, would cost more than the copying.
    fn enter_parent(&mut self, target: &Path) -> Result<()> {
        let parent = target.parent().unwrap_or(Path::new(""));
        if self.upper.has_directory(parent) {
            return Ok(());
        }
        self.mkdir_all(parent, None, 0o755)
    }

    /// Removes what is not of the kind that comes; what is below is hidden by what is put there.
    fn give_way(&mut self, target: &Path, for_directory: bool) -> Result<()> {
        let Some(existing) = self.entry(target)? else {
            return Ok(());
        };
        let is_directory = existing.kind == EntryKind::Dir;
        if is_directory == for_directory {
            return Ok(());
        }
        let removed = self.upper.remove(target, is_directory);
        removed.map_err(failed("replace", target))?;
        if !for_directory {
            return Ok(());
        }
        self.enter_parent(target)?;
        self.make_directory(target)
    }

    /// Makes room for something that is no directory.
    fn clear_for_file(&mut self, target: &Path, replaces: bool) -> Result<()> {
        if !replaces
            && self
                .entry(target)?
                .is_some_and(|entry| entry.kind == EntryKind::Dir)
        {
            return Err(CopyError::IsADirectory(target.display().to_string()));
        }
        self.upper
            .remove_file(target)
            .map_err(failed("replace", target))
    }
}

impl<'p> Way<'p> {
    fn to(source: &'p Path, target: &'p Path) -> Self {
        Self {
            source,
            relative: Path::new(""),
            target,
            is_free: false,
        }
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
