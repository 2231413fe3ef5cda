//! A directory of this machine as the tree a build sees.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use launchway_dockerfile::IgnoreRules;
use launchway_oci::{EntryKind, FileContent, Tree, TreeEntry};
use rustix::fs::{FileType, Stat};

use crate::known::{CAPABILITY, KnownFiles, Stamp};
use crate::looks::Looks;
use crate::missing::Edge;
use crate::root::{self, Root};
use crate::select::{cleaned, select_in, select_with_parents_in};
use crate::{ContextError, Filter, JunkRules, Selected};

/// A build context. What the ignore and junk rules leave out does not exist in it; an excluded
/// directory exists as long as something below it is taken in again. Sockets are empty files, as in BuildKit.
///
/// Every entry belongs to root, unless owners are [kept](Self::keeping_owners): who owns a file on the
/// machine that builds says nothing about the image. Files are taken to stay as they are while a context is in use; those
/// that do not are [noticed](Self::changes).
#[derive(Debug)]
pub struct Context {
    path: PathBuf,
    root: Root,
    rules: IgnoreRules,
    junk: JunkRules,
    keeps_owners: bool,
    /// Excluded directories that were searched for something taken in again.
    searched: Mutex<HashMap<PathBuf, bool>>,
    looks: Looks,
    pub(crate) known: KnownFiles,
    stays: bool,
}

/// The ignore rules that hold for a Dockerfile: those of `NAME.dockerignore` beside it, where NAME
/// is the Dockerfile's, otherwise those of `.dockerignore` at the context's root, otherwise none.
pub fn read_ignore_rules(context: &Path, dockerfile: &Path) -> Result<IgnoreRules, ContextError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), context.join(".dockerignore")] {
        match std::fs::read(&path) {
            Ok(bytes) => {
                let rules = IgnoreRules::parse(&String::from_utf8_lossy(&bytes));
                return match rules.problems().first().cloned() {
                    Some((line, text)) => Err(ContextError::IgnoreLine { path, line, text }),
                    None => Ok(rules),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ContextError::Read { path, source }),
        }
    }
    Ok(IgnoreRules::default())
}

/// The same in a tree whose files are not this machine's own: no link leads out of it.
pub fn ignore_rules_in(tree: &dyn Tree, dockerfile: &Path) -> Result<IgnoreRules, ContextError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), PathBuf::from(".dockerignore")] {
        let failed = |source| ContextError::Read {
            path: path.clone(),
            source,
        };
        if let Some(bytes) = read_in(tree, &path).map_err(failed)? {
            let rules = IgnoreRules::parse(&String::from_utf8_lossy(&bytes));
            return match rules.problems().first().cloned() {
                Some((line, text)) => Err(ContextError::IgnoreLine { path, line, text }),
                None => Ok(rules),
            };
        }
    }
    Ok(IgnoreRules::default())
}

/// A file of a tree, links followed inside it; `None` when there is none.
pub fn read_in(tree: &dyn Tree, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = launchway_oci::resolve(tree, path, true)?;
    if tree.entry(&path)?.is_none() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    tree.open(&path)?.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

impl Context {
    pub fn open(root: &Path, rules: IgnoreRules, junk: JunkRules) -> Result<Self, ContextError> {
        let path = root.to_owned();
        match Root::open(root) {
            Ok(root) => Ok(Self {
                path,
                root,
                rules,
                junk,
                keeps_owners: false,
                searched: Mutex::new(HashMap::new()),
                looks: Looks::default(),
                known: KnownFiles::new(SystemTime::now()),
                stays: false,
            }),
            Err(source) => Err(ContextError::Open { path, source }),
        }
    }

    /// The rules of `.dockerignore`, without those for junk.
    pub fn ignore_rules(&self) -> &IgnoreRules {
        &self.rules
    }

    /// The same with owners as they are on disk: for files that were unpacked from an archive.
    #[must_use]
    pub fn keeping_owners(mut self) -> Self {
        self.keeps_owners = true;
        self
    }

    pub fn keeps_owners(&self) -> bool {
        self.keeps_owners
    }

    /// How often something was found to be another than when it was looked at before. As long as the number stays, what
    /// was hashed is what was read after that.
    pub fn changes(&self) -> u64 {
        self.looks.changes()
    }

    /// The same, of a folder that will be there for other builds, too.
    #[must_use]
    pub fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    pub fn stays(&self) -> bool {
        self.stays
    }

    /// Keeps from one build to the next what files hold, in this file, so that those that nobody touched are not read
    /// again.
    pub fn know_files_by(&self, file: PathBuf) {
        self.known.keep_in(file);
    }

    /// Writes down what was read for the first time, where [`know_files_by`](Self::know_files_by) said. `put` writes a file
    /// at once or not at all.
    ///
    /// # Errors
    /// What `put` fails with. Nothing but time is lost then.
    pub fn save_known_files(&self, put: &dyn Fn(&Path, &[u8]) -> io::Result<()>) -> io::Result<()> {
        self.known.save(put)
    }

    /// The directory as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a COPY source names; see [`select`](crate::select). A source that is left out by the
    /// rules is told apart from one that does not exist, and a symlink that leaves the context
    /// from one that dangles.
    pub fn select(
        &self,
        pattern: &str,
        excludes: &[String],
    ) -> Result<Vec<Selected>, ContextError> {
        select_in(self, pattern, &Filter::excluding(excludes), Edge::Context)
            .map_err(|error| self.told_apart(error))
    }

    /// What a source of `COPY --parents` names; see
    /// [`select_with_parents`](crate::select_with_parents).
    pub fn select_with_parents(
        &self,
        source: &str,
        excludes: &[String],
    ) -> Result<Vec<Selected>, ContextError> {
        select_with_parents_in(self, source, excludes, Edge::Context)
            .map_err(|error| self.told_apart(error))
    }

    fn told_apart(&self, error: ContextError) -> ContextError {
        match error {
            ContextError::Missing { pattern, .. } if self.is_on_disk(&pattern) => {
                ContextError::Excluded { pattern }
            }
            other => other,
        }
    }

    fn is_on_disk(&self, pattern: &str) -> bool {
        let names: PathBuf = cleaned(pattern).into_iter().collect();
        matches!(self.root.stat(&names), Ok(Some(_)))
    }

    fn is_visible(&self, path: &Path, kind: FileType) -> io::Result<bool> {
        if path.as_os_str().is_empty() || path == Path::new(".") {
            return Ok(true);
        }
        if self.junk.is_junk(path) {
            return Ok(false);
        }
        let name = slashed(path);
        if !self.rules.is_excluded(&name) {
            return Ok(true);
        }
        if kind != FileType::Directory || !self.rules.may_reinclude_below(&name) {
            return Ok(false);
        }
        self.has_visible_child(path)
    }

    fn has_visible_child(&self, directory: &Path) -> io::Result<bool> {
        let known = |searched: &Mutex<HashMap<PathBuf, bool>>| {
            let searched = searched.lock().unwrap_or_else(PoisonError::into_inner);
            searched.get(directory).copied()
        };
        if let Some(found) = known(&self.searched) {
            return Ok(found);
        }
        let found = !self.visible_names(directory, true)?.is_empty();
        self.searched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(directory.to_owned(), found);
        Ok(found)
    }

    /// The names below a directory that exist in the context, or only the first of them.
    fn visible_names(&self, directory: &Path, only_first: bool) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for listed in self.root.list(directory)? {
            let path = directory.join(&listed.name);
            let kind = match listed.kind {
                FileType::Unknown => match self.root.stat(&path)? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                known => known,
            };
            if self.is_visible(&path, kind)? {
                names.push(listed.name);
                if only_first {
                    break;
                }
            }
        }
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let Some(stat) = self.root.stat(path)? else {
            return Ok(None);
        };
        let visible = self.is_visible(path, FileType::from_raw_mode(stat.st_mode))?;
        Ok(visible.then_some(stat))
    }

    /// The entry of what is visible.
    fn shown(&self, path: &Path, stat: &Stat) -> TreeEntry {
        self.looks.note_entry(path, stat);
        let owners = self.keeps_owners;
        let found = TreeEntry::of(stat);
        let kind = match found.kind {
            EntryKind::Socket => EntryKind::File,
            kind => kind,
        };
        TreeEntry {
            kind,
            uid: if owners { stat.st_uid } else { 0 },
            gid: if owners { stat.st_gid } else { 0 },
            ..found
        }
    }

    /// A regular file, unless the rules leave it out. A socket is an empty one.
    fn open_file(&self, path: &Path) -> io::Result<File> {
        if !self.is_visible(path, FileType::RegularFile)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.root
            .read(path)
            .or_else(|error| match self.stat(path)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {
                    File::open("/dev/null")
                }
                _ => Err(error),
            })
    }

    fn require(&self, path: &Path) -> io::Result<()> {
        match self.stat(path)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Tree for Context {
    fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        Ok(self.stat(path)?.map(|stat| self.shown(path, &stat)))
    }

    fn children(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.require(path)?;
        let names = self.visible_names(path, false)?;
        self.looks.note("names", path, &names);
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.open_file(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.require(path)?;
        self.root.read_link(path)
    }

    /// Only the file capabilities. What tools leave in `user.*` (where a download came from, for
    /// example) differs from machine to machine and has no place in an image.
    fn xattrs(&self, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        self.require(path)?;
        let name = OsStr::new(CAPABILITY);
        let value = self.root.xattr(path, name)?;
        Ok(value
            .map(|value| (name.to_owned(), value))
            .into_iter()
            .collect())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, TreeEntry)>> {
        self.require(path)?;
        let mut found = Vec::new();
        for (name, stat) in self.root.list_with_stats(path)? {
            let kind = FileType::from_raw_mode(stat.st_mode);
            let child = path.join(&name);
            if self.is_visible(&child, kind)? {
                found.push((name, self.shown(&child, &stat)));
            }
        }
        let names: Vec<&OsString> = found.iter().map(|(name, _)| name).collect();
        self.looks.note("names", path, &names);
        Ok(found)
    }

    fn open_with_xattrs(&self, path: &Path) -> io::Result<(File, BTreeMap<OsString, Vec<u8>>)> {
        let file = self.open_file(path)?;
        let name = OsStr::new(CAPABILITY);
        let value = root::xattr_of(&file, name)?;
        let xattrs = value.map(|value| (name.to_owned(), value));
        Ok((file, xattrs.into_iter().collect()))
    }

    fn known_content(&self, path: &Path) -> io::Result<Option<FileContent>> {
        let Some(stat) = self.stat(path)? else {
            return Ok(None);
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file
            .then(|| self.known.get(path, Stamp::of(&stat)))
            .flatten())
    }

    fn begin_to_hash(&self, path: &Path, file: &File) -> io::Result<()> {
        if let Some(stat) = regular(file)? {
            self.known.begin(path, Stamp::of(&stat));
        }
        Ok(())
    }

    fn end_of_hash(&self, path: &Path, file: &File, content: &FileContent) -> io::Result<bool> {
        let stat = regular(file)?;
        Ok(stat.is_none_or(|stat| self.known.put(path, Stamp::of(&stat), content)))
    }

    /// What was changed is taken as it is, and [told](Context::changes).
    fn is_unchanged(&self, path: &Path, file: &File) -> io::Result<bool> {
        if let Some(stat) = regular(file)? {
            self.looks.note_entry(path, &stat);
            if !self.known.is_unchanged(path, Stamp::of(&stat)) {
                self.looks.note_change();
            }
        }
        Ok(true)
    }
}

/// What a file is, unless it stands for a socket.
fn regular(file: &File) -> io::Result<Option<Stat>> {
    let stat = rustix::fs::fstat(file)?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat))
}

/// A path as the rules know it. Names that are not UTF-8 cannot be matched exactly, and are
/// matched as they are shown.
pub(crate) fn slashed(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
