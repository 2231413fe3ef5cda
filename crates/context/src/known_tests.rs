//! What is known of files must never be said of others.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use launchway_dockerfile::IgnoreRules;
use launchway_oci::{Flavour, Store, Tree as _};

use super::*;
use crate::{Context, JunkRules, digest};

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), Flavour::Trusted).unwrap();
        let place = Self { folder, store };
        fs::create_dir(place.root()).unwrap();
        fs::write(place.root().join("file"), "one").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("known/files")
    }

    /// A context that is opened long after everything was written, with what was kept.
    fn open(&self) -> Context {
        self.open_at(SystemTime::now() + Duration::from_secs(60))
    }

    fn open_at(&self, now: SystemTime) -> Context {
        let rules = IgnoreRules::default();
        let mut context = Context::open(&self.root(), rules, JunkRules::default()).unwrap();
        context.known = KnownFiles::new(now);
        context.know_files_by(self.index());
        context
    }

    /// The digest by what is known and, of a context that knows nothing, by what is there.
    fn both(&self) -> (String, String) {
        let of = |context: &Context| {
            let all = context.select("/", &[]).unwrap();
            digest(context, &all).unwrap().hash.to_string()
        };
        let knowing = self.open();
        let found = of(&knowing);
        self.save(&knowing).unwrap();
        let rules = IgnoreRules::default();
        let fresh = Context::open(&self.root(), rules, JunkRules::default()).unwrap();
        (found, of(&fresh))
    }

    fn save(&self, context: &Context) -> io::Result<()> {
        context.save_known_files(&|path, bytes| {
            let put = self.store.put_file(path, bytes);
            put.map_err(io::Error::other)
        })
    }

    fn knows(&self, context: &Context) -> bool {
        context.known_content(Path::new("file")).unwrap().is_some()
    }
}

#[test]
fn a_file_that_was_left_alone_is_known() {
    let place = Place::new();
    assert!(!place.knows(&place.open()));
    let (known, fresh) = place.both();
    assert_eq!(known, fresh);
    assert!(place.knows(&place.open()));
    let content = place.open().known_content(Path::new("file")).unwrap();
    assert_eq!(content.unwrap().digest, Hasher::digest(b"one"));
}

#[test]
fn no_change_goes_unseen() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("other bytes", |path| fs::write(path, "four").unwrap()),
        ("as many bytes and the old time", |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            fs::write(path, "two").unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        }),
        ("a byte in place and the old time", |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            let mut file = fs::File::options().write(true).open(path).unwrap();
            file.write_all(b"x").unwrap();
            file.set_modified(time).unwrap();
        }),
        ("another file in its place, of its size and time", |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            let other = path.with_file_name("other");
            fs::write(&other, "two").unwrap();
            let file = fs::File::options().write(true).open(&other).unwrap();
            file.set_modified(time).unwrap();
            fs::rename(&other, path).unwrap();
        }),
        ("removed and made again, of its size and time", |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, "two").unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        }),
        ("a mode", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }),
    ];
    for (what, change) in changes {
        let place = Place::new();
        let before = place.both();
        assert_eq!(before.0, before.1, "{what}");
        change(&place.root().join("file"));
        let after = place.both();
        assert_eq!(after.0, after.1, "{what}");
        assert_ne!(after.0, before.0, "{what}");
        let again = place.both();
        assert_eq!(again, after, "{what}");
    }
}

#[test]
fn what_was_touched_a_moment_ago_is_not_remembered() {
    let place = Place::new();
    let now = || place.open_at(SystemTime::now());
    let context = now();
    digest(&context, &context.select("/", &[]).unwrap()).unwrap();
    place.save(&context).unwrap();
    assert!(!place.knows(&now()) && !place.knows(&place.open()));
}

#[test]
fn a_damaged_index_knows_nothing() {
    let place = Place::new();
    let want = place.both();
    let good = fs::read(place.index()).unwrap();
    let mut damaged: Vec<Vec<u8>> =
        vec![Vec::new(), b"nonsense".to_vec(), [&good[..], b"x"].concat()];
    for at in [0, 30, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        damaged.push(bytes);
        damaged.push(good[..at].to_vec());
    }
    for bytes in damaged {
        fs::write(place.index(), bytes).unwrap();
        assert!(!place.knows(&place.open()));
        assert_eq!(place.both(), want);
        assert!(place.knows(&place.open()), "it is written anew");
    }
    fs::remove_file(place.index()).unwrap();
    fs::create_dir(place.index()).unwrap();
    assert!(place.save(&place.open()).is_ok(), "nothing was new");
    let context = place.open();
    digest(&context, &context.select("/", &[]).unwrap()).unwrap();
    assert!(place.save(&context).is_err());
}

#[test]
fn files_that_are_gone_are_forgotten_in_the_end() {
    let place = Place::new();
    place.both();
    let size = || fs::metadata(place.index()).unwrap().len();
    let one = size();
    for round in 0..u32::from(MOST_MISSED) + 2 {
        fs::remove_file(place.root().join("file")).unwrap();
        fs::write(place.root().join("file"), round.to_string()).unwrap();
        place.both();
    }
    assert!(size() <= one * (u64::from(MOST_MISSED) + 2));
    let entries = decode(&fs::read(place.index()).unwrap()).unwrap();
    assert!(entries.len() <= usize::from(MOST_MISSED) + 1);
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_refused() {
    let place = Place::new();
    let context = place.open();
    let path = Path::new("file");
    let file = context.open(path).unwrap();
    context.begin_to_hash(path, &file).unwrap();
    let content = FileContent {
        digest: Hasher::digest(b"one"),
        size: 3,
        xattrs: Default::default(),
    };
    assert!(context.end_of_hash(path, &file, &content).unwrap());
    assert!(context.is_unchanged(path, &file).unwrap());
    let inode = fs::metadata(place.root().join("file")).unwrap().ino();
    fs::write(place.root().join("file"), "two").unwrap();
    assert_eq!(
        fs::metadata(place.root().join("file")).unwrap().ino(),
        inode
    );
    // Until the kernel's clock has ticked.
    let now = || Stamp::of(&rustix::fs::fstat(&file).unwrap());
    while context.known.is_unchanged(path, now()) {
        fs::write(place.root().join("file"), "two").unwrap();
    }
    assert!(!context.end_of_hash(path, &file, &content).unwrap());
    assert_eq!(context.changes(), 0);
    assert!(context.is_unchanged(path, &file).unwrap());
    assert!(context.changes() > 0, "it is taken, and told");
}

#[test]
fn builds_that_save_at_once_leave_a_whole_index() {
    let place = Place::new();
    for number in 0..50 {
        fs::write(place.root().join(number.to_string()), number.to_string()).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let context = place.open();
                    digest(&context, &context.select("/", &[]).unwrap()).unwrap();
                    let _ = place.save(&context);
                }
            });
        }
    });
    let (known, fresh) = place.both();
    assert_eq!(known, fresh);
    assert!(place.knows(&place.open()));
}
