//! A directory of this machine as the tree a build sees.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use launchway_dockerfile::IgnoreRules;
use launchway_oci::{EntryKind, Tree, TreeEntry};
use rustix::fs::{FileType, Stat};

use crate::missing::Edge;
use crate::root::Root;
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
}

/// How things looked when they were looked at, to notice that they do not stay as they are. Paths and looks are kept as
/// hashes: there may be a million.
#[derive(Debug, Default)]
struct Looks {
    seen: Mutex<HashMap<u64, u64>>,
    changes: AtomicU64,
}

impl Looks {
    fn note(&self, what: &str, path: &Path, looks: impl Hash) {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        let key = hash(&|hasher| (what, path).hash(hasher));
        let looks = hash(&|hasher| looks.hash(hasher));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen
            .insert(key, looks)
            .is_some_and(|before| before != looks)
        {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }
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
        self.looks.changes.load(Ordering::Relaxed)
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

    fn require(&self, path: &Path) -> io::Result<()> {
        match self.stat(path)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Tree for Context {
    fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        let owners = self.keeps_owners;
        let Some(stat) = self.stat(path)? else {
            return Ok(None);
        };
        // Of a directory it is the names that count, and those are noted where they are listed.
        let changed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (0, 0),
            _ => (stat.st_ctime, stat.st_ctime_nsec),
        };
        let looks = (stat.st_dev, stat.st_ino, stat.st_mode, changed);
        self.looks.note("entry", path, looks);
        let found = TreeEntry::of(&stat);
        let kind = match found.kind {
            EntryKind::Socket => EntryKind::File,
            kind => kind,
        };
        Ok(Some(TreeEntry {
            kind,
            uid: if owners { stat.st_uid } else { 0 },
            gid: if owners { stat.st_gid } else { 0 },
            ..found
        }))
    }

    fn children(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.require(path)?;
        let names = self.visible_names(path, false)?;
        self.looks.note("names", path, &names);
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match self.stat(path)? {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {
                File::open("/dev/null")
            }
            Some(_) => self.root.read(path),
        }
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.require(path)?;
        self.root.read_link(path)
    }

    /// Only the file capabilities. What tools leave in `user.*` (where a download came from, for
    /// example) differs from machine to machine and has no place in an image.
    fn xattrs(&self, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        self.require(path)?;
        let name = OsStr::new("security.capability");
        let value = self.root.xattr(path, name)?;
        Ok(value
            .map(|value| (name.to_owned(), value))
            .into_iter()
            .collect())
    }
}

/// A path as the rules know it. Names that are not UTF-8 cannot be matched exactly, and are
/// matched as they are shown.
pub(crate) fn slashed(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use launchway_oci::EntryKind;

    use super::*;

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "keep",
            "secret.pem",
            "node_modules/a/index.js",
            "node_modules/b/index.js",
            "docs/x.md",
            "docs/README.md",
            "logs/deep/x.log",
            "src/main.pyc",
            "src/main.py",
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        symlink("node_modules/a", folder.path().join("linked")).unwrap();
        folder
    }

    fn open(folder: &tempfile::TempDir, rules: &str) -> Context {
        Context::open(
            folder.path(),
            IgnoreRules::parse(rules),
            JunkRules::default(),
        )
        .unwrap()
    }

    const RULES: &str =
        "*.pem\nnode_modules\n!node_modules/b\ndocs/*\n!docs/README.md\nlogs\n!logs/deep/*.txt\n";

    #[test]
    fn what_is_left_out_does_not_exist() {
        let folder = sample();
        let context = open(&folder, RULES);
        for (path, exists) in [
            ("", true),
            ("keep", true),
            ("secret.pem", false),
            ("node_modules", true),
            ("node_modules/a", false),
            ("node_modules/a/index.js", false),
            ("node_modules/b", true),
            ("node_modules/b/index.js", true),
            ("docs", true),
            ("docs/x.md", false),
            ("docs/README.md", true),
            // A rule would take something in again, but there is nothing.
            ("logs", false),
            ("logs/deep", false),
            ("src/main.py", true),
            ("src/main.pyc", false),
            ("linked", true),
            ("linked/index.js", false),
        ] {
            let path = Path::new(path);
            assert_eq!(context.entry(path).unwrap().is_some(), exists, "{path:?}");
            if !exists {
                assert!(context.open(path).is_err(), "{path:?}");
                assert!(context.children(path).is_err(), "{path:?}");
                assert!(context.read_link(path).is_err(), "{path:?}");
                assert!(context.xattrs(path).is_err(), "{path:?}");
            }
        }
        let children = |path: &str| context.children(Path::new(path)).unwrap();
        assert_eq!(
            children(""),
            ["docs", "keep", "linked", "node_modules", "src"]
        );
        assert_eq!(children("node_modules"), ["b"]);
        assert_eq!(children("docs"), ["README.md"]);
    }

    #[test]
    fn what_does_not_stay_as_it_is_is_noticed() {
        let folder = sample();
        let context = open(&folder, "secret.pem");
        let look = || {
            for path in ["", "keep", "docs", "docs/x.md"] {
                context.entry(Path::new(path)).unwrap().unwrap();
            }
            for path in ["", "docs"] {
                context.children(Path::new(path)).unwrap();
            }
            context.changes()
        };
        assert_eq!((look(), look()), (0, 0));
        // What is left out may change, and a directory's time says nothing.
        fs::write(folder.path().join("secret.pem"), "y").unwrap();
        fs::remove_file(folder.path().join("secret.pem")).unwrap();
        assert_eq!(look(), 0);
        let mut changes = 0;
        let path = folder.path().join("keep");
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        let changed: [&dyn Fn(); 4] = [
            // The same length and time.
            &|| {
                fs::write(&path, "y").unwrap();
                fs::File::open(&path).unwrap().set_modified(times).unwrap();
            },
            &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap(),
            &|| fs::write(folder.path().join("docs/new"), "").unwrap(),
            &|| fs::remove_file(folder.path().join("docs/new")).unwrap(),
        ];
        for change in changed {
            // The clock of files stands still for a moment.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            assert!(look() > changes);
            changes = context.changes();
        }
    }

    #[test]
    fn entries_belong_to_root_and_keep_their_modes() {
        let folder = sample();
        let path = folder.path().join("keep");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(&path, folder.path().join("again")).unwrap();
        let context = open(&folder, "");
        let entry = |path: &str| context.entry(Path::new(path)).unwrap().unwrap();
        let (keep, again) = (entry("keep"), entry("again"));
        assert_eq!((keep.kind, keep.mode), (EntryKind::File, 0o4751));
        assert_eq!((keep.uid, keep.gid, keep.size), (0, 0, 1));
        assert!(keep.inode.is_some() && keep.inode == again.inode);
        assert_eq!(entry("src/main.py").inode, None);
        assert_eq!(entry("linked").kind, EntryKind::Symlink);
        assert_eq!(
            context.read_link(Path::new("linked")).unwrap(),
            Path::new("node_modules/a")
        );
    }

    #[test]
    fn only_file_capabilities_are_attributes() {
        use rustix::fs::{XattrFlags, setxattr};
        let folder = sample();
        let path = folder.path().join("keep");
        // CAP_NET_BIND_SERVICE, permitted and effective, in the kernel's second format.
        let capability = [[1_u8, 0, 0, 2], [0, 4, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
        let flags = XattrFlags::empty();
        if let Err(error) = setxattr(&path, "security.capability", &capability, flags) {
            eprintln!("skipped: only root can set file capabilities ({error})");
            return;
        }
        // Not every file system takes this one; it must not show either way.
        let _ = setxattr(&path, "user.origin", b"download", flags);
        let context = open(&folder, "");
        let found = context.xattrs(Path::new("keep")).unwrap();
        let name = OsString::from("security.capability");
        assert_eq!(found, BTreeMap::from([(name, capability)]));
        assert!(context.xattrs(Path::new("linked")).unwrap().is_empty());
    }

    #[test]
    fn sockets_are_empty_files() {
        let folder = sample();
        let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
        let context = open(&folder, "");
        let path = Path::new("socket");
        let entry = context.entry(path).unwrap().unwrap();
        assert_eq!((entry.kind, entry.size), (EntryKind::File, 0));
        let names = context.children(Path::new("")).unwrap();
        assert!(names.contains(&OsString::from("socket")));
        let mut content = Vec::new();
        context
            .open(path)
            .unwrap()
            .read_to_end(&mut content)
            .unwrap();
        assert_eq!(content, b"");
        assert_eq!(context.select("socket", &[]).unwrap().len(), 1);
    }

    #[test]
    fn the_dockerfiles_own_rules_come_first() {
        let folder = sample();
        let root = folder.path();
        let rules = || read_ignore_rules(root, &root.join("docs/Dockerfile.base")).unwrap();
        assert!(rules().is_empty());
        fs::write(root.join(".dockerignore"), "keep\n").unwrap();
        assert!(rules().is_excluded("keep"));
        fs::write(root.join("docs/Dockerfile.base.dockerignore"), "src\n").unwrap();
        assert!(rules().is_excluded("src") && !rules().is_excluded("keep"));
    }

    #[test]
    fn files_of_a_foreign_tree_are_read_inside_it() {
        let folder = sample();
        let root = folder.path();
        symlink("/etc/passwd", root.join(".dockerignore")).unwrap();
        symlink("/keep", root.join("Dockerfile")).unwrap();
        fs::write(root.join("docs/Dockerfile.dockerignore"), "src\n").unwrap();
        let context = open(&folder, "");
        let read = |path: &str| read_in(&context, Path::new(path)).unwrap();
        assert_eq!(read("Dockerfile"), Some(b"x".to_vec()));
        assert_eq!(read("../../keep"), Some(b"x".to_vec()));
        assert_eq!(read("nothing"), None);
        assert_eq!(read(".dockerignore"), None);
        let rules = |path: &str| ignore_rules_in(&context, Path::new(path)).unwrap();
        assert!(rules("Dockerfile").is_empty());
        assert!(rules("docs/Dockerfile").is_excluded("src"));
    }

    #[test]
    fn a_context_that_is_no_directory_is_an_error() {
        let folder = sample();
        for name in ["none", "keep"] {
            let path = folder.path().join(name);
            let opened = Context::open(&path, IgnoreRules::default(), JunkRules::default());
            let error = opened.unwrap_err();
            assert!(matches!(error, ContextError::Open { .. }), "{error}");
        }
    }
}
