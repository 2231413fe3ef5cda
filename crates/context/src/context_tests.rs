//! What exists in a context, and what is noticed of it.

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
