//! Layers that are put together in memory: the same tar and the same files as from a directory, whether the files are
//! made at once or when somebody looks at them.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{layer, snapshot, store};
use launchway_oci::{
    Attributes, CommitOptions, Compression, EntryKind, Files, Flavour, Layer, PlannedLayer, Source,
    Stack, Stop, Store, StoreError, Tree, TreeEntry, walk,
};

fn options() -> CommitOptions {
    CommitOptions {
        compress: Some(Compression::Gzip),
        ..CommitOptions::default()
    }
}

fn stack(layer: &Layer) -> Stack {
    Stack {
        layers: vec![layer.clone()],
    }
}

/// Files of every kind, more than are read at once, and one that is not read ahead.
fn fill(root: &Path) {
    for folder in 0..8 {
        let folder = root.join(format!("folder-{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..20 {
            let path = folder.join(file.to_string());
            fs::write(&path, file.to_string().repeat(file * 40)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        }
    }
    fs::write(root.join("large"), vec![b'x'; 300_001]).unwrap();
    fs::set_permissions(root.join("large"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(root.join("large"), root.join("folder-3/same")).unwrap();
    fs::hard_link(root.join("folder-1/7"), root.join("also")).unwrap();
    symlink("../nowhere", root.join("folder-0/link")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o2770)).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), mode).unwrap();
}

/// A plan that holds all that a tree does.
fn plan<'a>(tree: &'a (dyn Tree + Sync), below: &Stack) -> PlannedLayer<'a> {
    let mut plan = PlannedLayer::new(below).unwrap();
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut directories = Vec::new();
    walk::<io::Error>(tree, Path::new(""), &mut |path, entry| {
        let attributes = Attributes {
            uid: entry.uid,
            gid: entry.gid,
            mode: entry.mode,
            mtime: entry.mtime,
            xattrs: BTreeMap::new(),
        };
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let source = match entry.kind {
            EntryKind::Dir => {
                plan.make_directory(path, 0o700)?;
                directories.push((path.to_owned(), attributes));
                return Ok(());
            }
            EntryKind::File => Source::File {
                tree,
                path: path.to_owned(),
                size: entry.size,
            },
            EntryKind::Symlink => Source::Symlink(tree.read_link(path)?),
            kind => Source::Node(kind, entry.rdev),
        };
        match entry.inode.and_then(|inode| first.get(&inode)) {
            Some(first) => plan.link(first, path)?,
            None => plan.put(path, attributes, source)?,
        }
        if let Some(inode) = entry.inode {
            first.entry(inode).or_insert(path.to_owned());
        }
        Ok(())
    })
    .unwrap();
    for (path, attributes) in directories {
        *plan.attributes(&path).unwrap() = attributes;
    }
    plan
}

#[test]
fn a_plan_gives_the_layer_of_a_directory() {
    let (_folder, from) = store();
    let made = layer(&from, &Stack::default(), fill);
    let source = stack(&made);
    for files in [Files::Now, Files::WhenNeeded] {
        let (_folder, to) = store();
        let below = Stack::default();
        let planned = to
            .commit_planned(plan(&source, &below), &below, &options(), files)
            .unwrap();
        assert_eq!(planned.diff_id, made.diff_id);
        assert_eq!((planned.size, planned.entries), (made.size, made.entries));
        assert_eq!(planned.dir.is_dir(), files == Files::Now);
        let blob = to.compressed(&planned.diff_id, Compression::Gzip).unwrap();
        assert_eq!(
            blob,
            from.compressed(&made.diff_id, Compression::Gzip).unwrap()
        );
        assert_eq!(planned.dir.is_dir(), files == Files::Now, "nobody looked");
        assert_eq!(snapshot(&stack(&planned)), snapshot(&source));
        assert!(planned.dir.is_dir());
    }
}

#[test]
fn what_is_below_already_is_no_change() {
    let (_folder, store) = store();
    let made = layer(&store, &Stack::default(), fill);
    let below = stack(&made);
    let again = store
        .commit_planned(plan(&below, &below), &below, &options(), Files::WhenNeeded)
        .unwrap();
    assert_eq!(again.entries, 0);
    let mut more = plan(&below, &below);
    let attributes = Attributes {
        uid: 1,
        gid: 2,
        mode: 0o600,
        mtime: 5,
        xattrs: BTreeMap::new(),
    };
    let source = Source::Bytes(b"new".to_vec());
    more.put(Path::new("large"), attributes, source).unwrap();
    let changed = store
        .commit_planned(more, &below, &options(), Files::WhenNeeded)
        .unwrap();
    assert_eq!(changed.entries, 1);
}

#[test]
fn a_layer_that_is_not_compressed_has_its_files_at_once() {
    let (_folder, from) = store();
    let source = stack(&layer(&from, &Stack::default(), fill));
    for compress in [None, Some(Compression::Uncompressed)] {
        let (_folder, to) = store();
        let below = Stack::default();
        let commit = CommitOptions {
            compress,
            ..CommitOptions::default()
        };
        let planned = to
            .commit_planned(plan(&source, &below), &below, &commit, Files::WhenNeeded)
            .unwrap();
        assert!(planned.dir.is_dir(), "{compress:?}");
    }
}

#[test]
fn a_packed_layer_is_unpacked_once_however_many_come() {
    let (_folder, from) = store();
    let source = stack(&layer(&from, &Stack::default(), fill));
    let (folder, to) = store();
    let below = Stack::default();
    let packed = to
        .commit_planned(plan(&source, &below), &below, &options(), Files::WhenNeeded)
        .unwrap();
    let want = snapshot(&source);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let again = Store::open(&folder.path().join("store"), Flavour::Trusted).unwrap();
                let layer = again.layer(&packed.diff_id).unwrap();
                assert_eq!(snapshot(&stack(&layer)), want);
            });
        }
    });
    assert!(packed.dir.is_dir());
}

#[test]
fn files_that_are_made_later_join_the_layer() {
    let (_folder, from) = store();
    let source = stack(&layer(&from, &Stack::default(), fill));
    let (_folder, to) = store();
    let below = Stack::default();
    let commit = |files| {
        to.commit_planned(plan(&source, &below), &below, &options(), files)
            .unwrap()
    };
    assert!(!commit(Files::WhenNeeded).dir.exists());
    let whole = commit(Files::Now);
    assert!(whole.dir.is_dir());
    assert_eq!(snapshot(&stack(&whole)), snapshot(&source));
}

/// A store in which a layer was packed alone, in the first boot.
fn packed_in_first_boot() -> (tempfile::TempDir, Layer) {
    let (_folder, from) = store();
    let source = stack(&layer(&from, &Stack::default(), fill));
    let folder = tempfile::tempdir().unwrap();
    let store = boot(&folder, "one");
    let below = Stack::default();
    let packed = store
        .commit_planned(plan(&source, &below), &below, &options(), Files::WhenNeeded)
        .unwrap();
    (folder, packed)
}

fn boot(folder: &tempfile::TempDir, boot: &str) -> Store {
    Store::open_in_boot(&folder.path().join("store"), Flavour::Trusted, boot).unwrap()
}

fn blob(folder: &tempfile::TempDir) -> PathBuf {
    let mut blobs = fs::read_dir(folder.path().join("store/blobs/sha256")).unwrap();
    blobs.next().unwrap().unwrap().path()
}

#[test]
fn a_packed_layer_whose_blob_was_harmed_is_not_there() {
    for harm in [b"".to_vec(), vec![0; 1000]] {
        let (folder, packed) = packed_in_first_boot();
        fs::write(blob(&folder), harm).unwrap();
        assert!(boot(&folder, "two").layer(&packed.diff_id).is_none());
        assert!(!packed.dir.parent().unwrap().exists(), "it makes room");
    }
    let (folder, packed) = packed_in_first_boot();
    fs::remove_file(blob(&folder)).unwrap();
    assert!(boot(&folder, "one").layer(&packed.diff_id).is_none());
}

#[test]
fn files_that_were_unpacked_before_a_loss_of_power_are_looked_at() {
    let (folder, packed) = packed_in_first_boot();
    let second = boot(&folder, "two");
    let layer = second.layer(&packed.diff_id).unwrap();
    layer.unpack().unwrap();
    drop((layer, second));
    fs::write(packed.dir.join("folder-1/9"), "harmed").unwrap();
    assert!(boot(&folder, "three").layer(&packed.diff_id).is_none());
}

#[test]
fn damage_shows_when_a_layer_is_unpacked() {
    let (folder, packed) = packed_in_first_boot();
    let store = boot(&folder, "one");
    let layer = store.layer(&packed.diff_id).unwrap();
    let mut bytes = fs::read(blob(&folder)).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0xff;
    fs::write(blob(&folder), bytes).unwrap();
    assert!(layer.unpack().is_err());
    assert!(!layer.dir.exists());
    assert!(stack(&layer).entry(Path::new("large")).is_err());
}

/// A tree in which a file is not what it was when it was hashed.
struct Changing(Stack, &'static str);

impl Tree for Changing {
    fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        self.0.entry(path)
    }
    fn children(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.children(path)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.0.open(path)
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.read_link(path)
    }
    fn xattrs(&self, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        self.0.xattrs(path)
    }
    fn is_unchanged(&self, path: &Path, _file: &File) -> io::Result<bool> {
        Ok(path != Path::new(self.1))
    }
}

#[test]
fn a_file_that_changed_since_it_was_hashed_makes_no_layer() {
    let (_folder, from) = store();
    let made = layer(&from, &Stack::default(), fill);
    // The first name of the large one.
    for changed in ["folder-3/same", "folder-2/11"] {
        for files in [Files::Now, Files::WhenNeeded] {
            let (folder, to) = store();
            let tree = Changing(stack(&made), changed);
            let below = Stack::default();
            let error = to
                .commit_planned(plan(&tree, &below), &below, &options(), files)
                .unwrap_err();
            assert!(
                matches!(&error, StoreError::Changed(path) if path == Path::new(changed)),
                "{error}"
            );
            assert!(!folder.path().join("store/layers/sha256").exists());
        }
    }
}

#[test]
fn a_file_that_changed_is_not_left_out_as_unchanged() {
    let (_folder, store) = store();
    let below = stack(&layer(&store, &Stack::default(), fill));
    let tree = Changing(below.clone(), "folder-2/11");
    let error = store.commit_planned(plan(&tree, &below), &below, &options(), Files::Now);
    assert!(matches!(error, Err(StoreError::Changed(_))), "{error:?}");
}

#[test]
fn a_file_that_grew_or_shrank_makes_no_layer() {
    let (_folder, from) = store();
    let source = stack(&layer(&from, &Stack::default(), fill));
    for path in ["large", "folder-2/11"] {
        for by in [-1_i64, 1] {
            let mut plan = PlannedLayer::new(&Stack::default()).unwrap();
            let entry = source.entry(Path::new(path)).unwrap().unwrap();
            let attributes = Attributes {
                uid: 0,
                gid: 0,
                mode: 0o644,
                mtime: 0,
                xattrs: BTreeMap::new(),
            };
            let from = Source::File {
                tree: &source,
                path: path.into(),
                size: entry.size.checked_add_signed(by).unwrap(),
            };
            plan.put(Path::new("file"), attributes, from).unwrap();
            let (_folder, to) = store();
            let below = Stack::default();
            let error = to.commit_planned(plan, &below, &options(), Files::Now);
            assert!(
                matches!(error, Err(StoreError::Changed(_))),
                "{path} {by} {error:?}"
            );
        }
    }
}

#[test]
fn what_no_directory_would_take_is_refused() {
    let mut plan = PlannedLayer::new(&Stack::default()).unwrap();
    let path = |depth: usize| PathBuf::from(vec!["d"; depth].join("/"));
    let made = 3584 / 2;
    for depth in 1..=made {
        plan.make_directory(&path(depth), 0o755).unwrap();
    }
    let error = plan.make_directory(&path(made + 1), 0o755).unwrap_err();
    assert_eq!(error.to_string(), "its path is longer than 3584 bytes");
    let (_folder, store) = store();
    let below = Stack::default();
    let layer = store
        .commit_planned(plan, &below, &options(), Files::WhenNeeded)
        .unwrap();
    assert_eq!(layer.entries, made as u64);
    layer.unpack().unwrap();
    assert_eq!(store.list_layer(&layer).unwrap().len(), made);
}

#[test]
fn a_root_that_changes_keeps_its_attributes() {
    let (_folder, store) = store();
    let name = OsString::from("user.note");
    let base = layer(&store, &Stack::default(), |root| {
        fs::set_permissions(root, fs::Permissions::from_mode(0o711)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        let _ = rustix::fs::setxattr(root, "user.note", b"kept", flags);
    });
    let below = stack(&base);
    let root = Path::new("");
    if !below.xattrs(root).unwrap().contains_key(&name) {
        eprintln!("skipped: this file system has no attributes of users");
        return;
    }
    let mut plan = PlannedLayer::new(&below).unwrap();
    plan.make_directory(Path::new("d"), 0o755).unwrap();
    plan.attributes(root).unwrap().mode = 0o750;
    let above = store
        .commit_planned(plan, &below, &options(), Files::WhenNeeded)
        .unwrap();
    let both = Stack {
        layers: vec![base, above],
    };
    assert_eq!(both.entry(root).unwrap().unwrap().mode, 0o750);
    assert!(both.xattrs(root).unwrap().contains_key(&name));
}

#[test]
fn a_layer_can_be_stopped_while_it_is_written() {
    let (_folder, from) = store();
    let source = stack(&layer(&from, &Stack::default(), fill));
    let below = Stack::default();
    for files in [Files::Now, Files::WhenNeeded] {
        let (folder, to) = store();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let commit = CommitOptions {
            stop: Stop::when(move || count.fetch_add(1, Ordering::Relaxed) == 100),
            ..options()
        };
        let error = to.commit_planned(plan(&source, &below), &below, &commit, files);
        assert!(matches!(error, Err(StoreError::Write { .. })), "{error:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 101, "nothing goes on");
        for place in ["layers", "blobs/sha256"] {
            let place = folder.path().join("store").join(place);
            assert_eq!(fs::read_dir(place).unwrap().count(), 0);
        }
    }
}
