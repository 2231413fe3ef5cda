//! A directory → a layer → a blob → a layer in another store: nothing is lost, and the same
//! directory gives the same bytes.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use common::{is_root, layer, snapshot, store, try_layer};
use launchway_oci::{CommitOptions, Compression, Stack, Store};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};

#[derive(Clone, Debug)]
enum Kind {
    File(Vec<u8>),
    Dir,
    Symlink(Vec<u8>),
    /// So many bytes without content, and one at the end.
    Sparse(u64),
    Fifo,
    /// Nothing without its process: it is left out of layers.
    Socket,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
    /// Another name for an earlier file.
    Link(prop::sample::Index),
}

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    /// The part of a second, which layers do not keep.
    nanoseconds: i64,
    /// A program that may bind low ports.
    capable: bool,
    xattrs: BTreeMap<String, Vec<u8>>,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[a-d]{1,2}".prop_map(String::into_bytes),
        1 => "[ -.0-~]{1,40}".prop_map(String::into_bytes),
        1 => "[äöü\u{1F600}]{1,30}".prop_map(String::into_bytes),
        1 => "x{90,250}".prop_map(String::into_bytes),
        1 => vec(128_u8..=255, 1..120),
    ]
    .prop_filter("a name", |name| {
        name.len() <= 255 && name != b"." && name != b".." && !name.starts_with(b".wh.")
    })
}

fn path() -> impl Strategy<Value = PathBuf> {
    vec(name(), 1..5).prop_map(|names| names.into_iter().map(OsString::from_vec).collect())
}

fn node() -> impl Strategy<Value = Node> {
    let kind = prop_oneof![
        4 => vec(any::<u8>(), 0..2000).prop_map(Kind::File),
        1 => Just(Kind::File(vec![7; 300_000])),
        4 => Just(Kind::Dir),
        2 => "[a-z/.]{1,150}".prop_map(|target| Kind::Symlink(target.into_bytes())),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
        1 => (0..20_000_000_u64).prop_map(Kind::Sparse),
        1 => (any::<bool>(), 1..4000_u32, 0..100_000_u32)
            .prop_map(|(block, major, minor)| Kind::Device { block, major, minor }),
        2 => any::<prop::sample::Index>().prop_map(Kind::Link),
    ];
    let id = || prop_oneof![Just(0_u32), 1..70_000_u32, 2_000_000..4_000_000_000_u32];
    let mtime = prop_oneof![
        5 => 0..2_000_000_000_i64,
        1 => -1_000_000..0_i64,
        1 => 8_589_934_590..8_589_934_600_i64,
    ];
    // A capability set of version 2, as the kernel wants it.
    let xattrs = btree_map(
        Just("security.capability".to_owned()),
        (0..256_u32).prop_map(|permitted| {
            let words = [0x0200_0001, permitted, 0, 0, 0];
            words.into_iter().flat_map(u32::to_le_bytes).collect()
        }),
        0..2,
    );
    let fraction = prop_oneof![Just(0_i64), 1..1_000_000_000_i64];
    let capable = prop::bool::weighted(0.2);
    let times = (mtime, fraction);
    (kind, 0..0o10000_u32, (id(), id()), times, capable, xattrs).prop_map(
        |(kind, mode, owner, (mtime, nanoseconds), capable, xattrs)| Node {
            kind,
            mode,
            owner,
            mtime,
            nanoseconds,
            capable,
            xattrs,
        },
    )
}

/// `cap_net_bind_service=ep`, as `setcap` writes it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Makes the tree; what cannot be made at a path (because a file is in the way) is passed over.
fn build(root: &Path, nodes: &[(PathBuf, Node)]) {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made: Vec<(PathBuf, &Node)> = Vec::new();
    for (path, node) in nodes {
        let full = root.join(path);
        if full.symlink_metadata().is_ok() {
            continue;
        }
        let parent = full.parent().unwrap();
        if has_link_inside(root, path) || fs::create_dir_all(parent).is_err() {
            continue;
        }
        let ok = match &node.kind {
            Kind::File(content) => fs::write(&full, content).is_ok(),
            Kind::Sparse(length) => fs::File::create(&full).is_ok_and(|file| {
                std::os::unix::fs::FileExt::write_at(&file, b"x", *length).is_ok()
            }),
            Kind::Dir => fs::create_dir(&full).is_ok(),
            Kind::Symlink(target) => symlink(OsString::from_vec(target.clone()), &full).is_ok(),
            Kind::Socket => mknodat(CWD, &full, FileType::Socket, Mode::RUSR, 0).is_ok(),
            Kind::Fifo => mknodat(CWD, &full, FileType::Fifo, Mode::RUSR, 0).is_ok(),
            Kind::Device {
                block,
                major,
                minor,
            } => {
                let kind = if *block {
                    FileType::BlockDevice
                } else {
                    FileType::CharacterDevice
                };
                mknodat(CWD, &full, kind, Mode::RUSR, makedev(*major, *minor)).is_ok()
            }
            Kind::Link(index) => {
                !files.is_empty() && fs::hard_link(index.get(&files), &full).is_ok()
            }
        };
        if !ok {
            continue;
        }
        if matches!(node.kind, Kind::File(_) | Kind::Sparse(_)) {
            files.push(full.clone());
        }
        made.push((full, node));
    }
    for (full, node) in &made {
        let is_symlink = matches!(node.kind, Kind::Symlink(_));
        rustix::fs::chownat(
            CWD,
            full,
            Some(rustix::fs::Uid::from_raw(node.owner.0)),
            Some(rustix::fs::Gid::from_raw(node.owner.1)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        if !is_symlink {
            fs::set_permissions(full, fs::Permissions::from_mode(node.mode)).unwrap();
        }
        if matches!(node.kind, Kind::File(_)) {
            for (name, value) in &node.xattrs {
                // Not every file system has them; then there is nothing to lose.
                let _ = lsetxattr(full, name.as_str(), value, XattrFlags::empty());
            }
        }
        if node.capable && matches!(node.kind, Kind::File(_)) {
            // Changing the owner would take it away, so it comes last.
            let _ = lsetxattr(
                full,
                "security.capability",
                &CAPABILITY,
                XattrFlags::empty(),
            );
        }
    }
    for (full, node) in made.iter().rev() {
        let time = Timespec {
            tv_sec: node.mtime,
            tv_nsec: node.nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, full, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What stands in a directory, as a layer is to keep it: no sockets, whole seconds.
fn plain(root: &Path) -> BTreeMap<PathBuf, Plain> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        if kind.is_socket() {
            continue;
        }
        if kind.is_dir() {
            let names = fs::read_dir(&full).unwrap();
            waiting.extend(names.map(|entry| path.join(entry.unwrap().file_name())));
        }
        if path.as_os_str().is_empty() {
            continue;
        }
        let content = if kind.is_file() {
            launchway_oci::Hasher::digest(&fs::read(&full).unwrap()).to_string()
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(&full).unwrap())
        } else {
            String::new()
        };
        let is_device = kind.is_block_device() || kind.is_char_device();
        let mut capability = [0; 64];
        let length = rustix::fs::lgetxattr(&full, "security.capability", &mut capability[..]);
        let plain = Plain {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            mtime: metadata.mtime(),
            device: if is_device { metadata.rdev() } else { 0 },
            links: if kind.is_dir() { 0 } else { metadata.nlink() },
            capability: capability[..length.unwrap_or(0)].to_vec(),
            content,
        };
        found.insert(path, plain);
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
struct Plain {
    /// With the kind.
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    device: u64,
    links: u64,
    capability: Vec<u8>,
    content: String,
}

fn has_link_inside(root: &Path, path: &Path) -> bool {
    let mut here = root.to_owned();
    path.iter().any(|name| {
        here.push(name);
        here.is_symlink()
    })
}

fn import(from: &Store, into: &Store, diff_id: &launchway_model::Digest, c: Compression) -> Stack {
    let blob = from.compressed(diff_id, c).unwrap();
    let digest = blob.digest.parse().unwrap();
    into.copy_blob(&from.blob_path(&digest), &digest).unwrap();
    let layer = into
        .import_layer(&digest, &blob.media_type, diff_id)
        .unwrap();
    Stack {
        layers: vec![layer],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn unpacking_gives_back_what_was_packed(nodes in vec((path(), node()), 0..40)) {
        if !is_root() {
            eprintln!("skipped: owners and devices need root");
            return Ok(());
        }
        let ((_d1, first), (_d2, second)) = (store(), store());
        let mut source = BTreeMap::new();
        let committed = layer(&first, &Stack::default(), |upper| {
            build(upper, &nodes);
            source = plain(upper);
        });
        prop_assert_eq!(&plain(&committed.dir), &source);
        let again = layer(&second, &Stack::default(), |upper| build(upper, &nodes));
        // Unlinked times of implied directories are those of the test, so only the content of a
        // tree whose directories are all given is the same both times.
        let one = Stack { layers: vec![committed.clone()] };
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (_d3, third) = store();
            let other = import(&first, &third, &committed.diff_id, compression);
            prop_assert_eq!(snapshot(&one), snapshot(&other));
            prop_assert_eq!(&plain(&other.layers[0].dir), &source);
            prop_assert_eq!(committed.entries, other.layers[0].entries);
            prop_assert_eq!(committed.size, other.layers[0].size);
            // An unpacked layer of our own making can be packed again to the same bytes.
            let blob = first.compressed(&committed.diff_id, compression).unwrap();
            let digest = blob.digest.parse().unwrap();
            fs::remove_file(third.blob_path(&digest)).unwrap();
            prop_assert_eq!(third.compressed(&committed.diff_id, compression).unwrap(), blob);
            prop_assert_eq!(
                third.path_index(&committed.diff_id).unwrap(),
                first.path_index(&committed.diff_id).unwrap()
            );
        }
        prop_assert_eq!(committed.entries, again.entries);
    }
}

fn fill(upper: &Path) {
    for (path, content) in [("b/two", "2"), ("a/one", "1"), ("a-b", "x"), ("a.b", "y")] {
        let full = upper.join(path);
        let parent = full.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&full, content).unwrap();
        fs::set_permissions(&full, fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::hard_link(upper.join("a/one"), upper.join("b/one")).unwrap();
}

/// The recorded digest stands for: no change to the encoding goes unnoticed.
#[test]
fn one_tree_has_one_tar() {
    let options = CommitOptions {
        clamp_mtime: Some(1_700_000_000),
        compress: Some(Compression::Gzip),
        ..CommitOptions::default()
    };
    let (_d, store) = store();
    let fill_owned = |upper: &Path| {
        fill(upper);
        if is_root() {
            chown(upper.join("a-b"), Some(3_000_000), Some(33)).unwrap();
        }
    };
    let one = try_layer(&store, &Stack::default(), &options, fill_owned).unwrap();
    let two = try_layer(&store, &Stack::default(), &options, fill_owned).unwrap();
    assert_eq!(one.diff_id, two.diff_id);
    assert_eq!(one.entries, 7);
    if is_root() {
        assert_eq!(
            one.diff_id.to_string(),
            "sha256:7be21bd5de1f7e782004d1a2a7375f5a080084cb95c1b4f11284681d215d02df"
        );
    }
    let times = snapshot(&Stack { layers: vec![one] });
    assert!(times.values().all(|seen| seen.entry.mtime == 1_700_000_000));
}

#[test]
fn a_layer_without_changes_is_the_empty_tar() {
    let (_d, store) = store();
    let layer = layer(&store, &Stack::default(), |_| {});
    assert_eq!(layer.entries, 0);
    assert_eq!(
        layer.diff_id.to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
}

/// Python and GNU tar read names, links and attributes as they were meant.
#[test]
fn other_programs_list_the_same_entries() {
    let (_d, store) = store();
    let long = "ä".repeat(100);
    let layer = layer(&store, &Stack::default(), |upper| {
        fill(upper);
        fs::write(upper.join(&long), "x").unwrap();
    });
    let blob = store.compressed(&layer.diff_id, Compression::Gzip).unwrap();
    let path = store.blob_path(&blob.digest.parse().unwrap());
    let script =
        "import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.name, m.linkname)";
    let mut programs = vec![
        ("python3", vec!["-c".to_owned(), script.to_owned()]),
        (
            "tar",
            vec!["--quoting-style=literal".to_owned(), "-tzf".to_owned()],
        ),
    ];
    for (program, arguments) in &mut programs {
        arguments.push(path.display().to_string());
        let Ok(output) = std::process::Command::new(*program)
            .args(&*arguments)
            .output()
        else {
            eprintln!("skipped: {program} is not installed");
            continue;
        };
        assert!(output.status.success(), "{program}");
        let text = String::from_utf8(output.stdout).unwrap();
        let names: Vec<_> = text
            .lines()
            .map(|line| line.split(' ').next().unwrap().trim_end_matches('/'))
            .collect();
        let want = ["a", "a-b", "a/one", "a.b", "b", "b/one", "b/two", &long];
        assert_eq!(sorted(&names), sorted(&want), "{program}");
        if *program == "python3" {
            assert!(text.contains("b/one a/one"), "{text}");
        }
    }
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}
