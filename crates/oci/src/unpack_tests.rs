//! Unpacking: what archives may do, and what they may not.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::tar_write::{BLOCK, TarHeader, TarKind, write_header};
use crate::unpack::{Flavour, UnpackOptions, Whiteouts, unpack};
use crate::xattr::{self, Xattrs};
use crate::{StoreError, UnpackError};

/// An archive under construction.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, kind: TarKind, path: &str, link: &str, body: &str) -> Self {
        let mode = if kind == TarKind::Dir { 0o755 } else { 0o644 };
        self.header(kind, path, link, mode, body.len() as u64, &Xattrs::new());
        self.0.extend_from_slice(body.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn header(
        &mut self,
        kind: TarKind,
        path: &str,
        link: &str,
        mode: u32,
        size: u64,
        xattrs: &Xattrs,
    ) {
        let header = TarHeader {
            path: path.as_bytes(),
            kind,
            mode,
            uid: own_id().0,
            gid: own_id().1,
            size,
            mtime: 1_000_000_000,
            link: link.as_bytes(),
            device: (0, 0),
            xattrs,
        };
        write_header(&mut self.0, &header).unwrap();
    }

    fn file(self, path: &str, body: &str) -> Self {
        self.add(TarKind::File, path, "", body)
    }

    fn dir(self, path: &str) -> Self {
        self.add(TarKind::Dir, path, "", "")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.add(TarKind::Symlink, path, target, "")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.add(TarKind::Link, path, target, "")
    }
}

/// Other owners than one's own need root.
fn own_id() -> (u32, u32) {
    let me = fs::metadata("/proc/self").unwrap();
    (me.uid(), me.gid())
}

fn is_root() -> bool {
    let root = own_id().0 == 0;
    if !root {
        eprintln!("skipped in part: removals and devices need root");
    }
    root
}

const PLAIN: UnpackOptions = UnpackOptions {
    whiteouts: Whiteouts::Plain,
    owner: None,
};

const LAYER: UnpackOptions = UnpackOptions {
    whiteouts: Whiteouts::Overlay(Flavour::Trusted),
    owner: None,
};

/// A directory `in` to unpack into, beside things that must stay as they are.
fn playground() -> (tempfile::TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir(outer.path().join("in")).unwrap();
    fs::create_dir(outer.path().join("victim")).unwrap();
    fs::write(outer.path().join("victim/file"), "untouched").unwrap();
    let inner = outer.path().join("in");
    (outer, inner)
}

fn assert_untouched(outer: &Path) {
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(outer), ["in", "victim"]);
    assert_eq!(names(&outer.join("victim")), ["file"]);
    let file = outer.join("victim/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 1);
}

#[test]
fn nothing_gets_out() {
    let (sample, _) = playground();
    let absolute = |outer: &Path| outer.join("victim").display().to_string();
    let victim = absolute(sample.path());
    for (what, tar, refused_entry) in [
        (
            "dots",
            Tar::default().file("../victim/new", "x"),
            "../victim/new",
        ),
        (
            "dots inside",
            Tar::default().dir("a").file("a/../../victim/new", "x"),
            "a/../../victim/new",
        ),
        ("dots as directory", Tar::default().dir(".."), "../"),
        ("link out", Tar::default().link("l", "../victim/file"), "l"),
        (
            "link out through a symbolic link",
            Tar::default().symlink("s", "../victim").link("l", "s/file"),
            "l",
        ),
        (
            "through a relative link",
            Tar::default()
                .symlink("s", "../victim")
                .file("s/file", "evil"),
            "s/file",
        ),
        (
            "through an absolute link",
            Tar::default().symlink("s", &victim).file("s/file", "evil"),
            "s/file",
        ),
        (
            "through two links",
            Tar::default()
                .symlink("a", "..")
                .symlink("b", "a/victim")
                .file("b/new", "x"),
            "b/new",
        ),
        (
            "through a link that was a directory",
            Tar::default()
                .dir("d")
                .file("d/x", "")
                .symlink("d", "../victim")
                .file("d/new", "x"),
            "d/new",
        ),
        (
            "through a magic link",
            Tar::default()
                .symlink("p", "/proc/self/cwd")
                .file("p/new", "x"),
            "p/new",
        ),
        (
            "a removal of the parent",
            Tar::default().dir("d").file("d/.wh...", ""),
            "d/.wh...",
        ),
        (
            "a removal of nothing",
            Tar::default().file(".wh.", ""),
            ".wh.",
        ),
        (
            "a hard link to itself",
            Tar::default().file("f", "x").link("f", "f"),
            "f",
        ),
        ("a hard link to nothing", Tar::default().link("l", "f"), "l"),
        ("a file without a name", Tar::default().file("", "x"), ""),
    ] {
        let (outer, inner) = playground();
        let result = unpack(&tar.0[..], &inner, &LAYER);
        assert_untouched(outer.path());
        match result {
            Err(UnpackError::Refused { entry, .. } | UnpackError::Entry { entry, .. }) => {
                assert_eq!(entry, refused_entry, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_untouched(sample.path());
}

#[test]
fn links_of_a_layer_are_followed_as_if_the_directory_were_the_root() {
    let (outer, inner) = playground();
    let tar = Tar::default()
        .dir("run")
        .dir("var")
        .symlink("var/run", "/run")
        .file("var/run/a", "1")
        .symlink("deep", "../../../../run")
        .file("deep/b", "2")
        .file("/abs", "3")
        .link("hard", "/var/run/a");
    assert_eq!(unpack(&tar.0[..], &inner, &LAYER).unwrap(), 8);
    assert_untouched(outer.path());
    for (path, want) in [("run/a", "1"), ("run/b", "2"), ("abs", "3"), ("hard", "1")] {
        assert_eq!(fs::read_to_string(inner.join(path)).unwrap(), want);
    }
}

#[test]
fn links_that_climb_out_are_refused_in_what_add_unpacks() {
    let climbing = |target: &str| Tar::default().dir("d").symlink("d/s", target);
    for (target, path) in [
        ("../..", "d/s/f"),
        ("../..", "d/s/new/f"),
        ("../../d", "d/s/f"),
        ("../d/../../in", "d/s/f"),
    ] {
        let (outer, inner) = playground();
        let tar = climbing(target).file(path, "x");
        let error = unpack(&tar.0[..], &inner, &PLAIN).unwrap_err();
        assert!(
            matches!(error, UnpackError::Refused { .. }),
            "{target} {error:?}"
        );
        assert!(!inner.join("f").exists() && !inner.join("new").exists());
        assert_untouched(outer.path());
        let tar = Tar::default()
            .file("f", "x")
            .symlink("s", "..")
            .link("l", "s/f");
        unpack(&tar.0[..], &inner, &PLAIN).unwrap_err();
    }
    // Nothing goes through it.
    let (_outer, inner) = playground();
    unpack(&climbing("../..").0[..], &inner, &PLAIN).unwrap();
    // Links from the root, and up to the root, are those of any Debian.
    let tar = climbing("..")
        .dir("usr")
        .dir("usr/bin")
        .symlink("bin", "usr/bin")
        .symlink("lib", "/usr/lib")
        .symlink("var", "/../usr/./var")
        .file("bin/a", "1")
        .file("lib/b", "2")
        .file("var/c", "3")
        .file("d/s/e", "4");
    let (outer, inner) = playground();
    fs::create_dir_all(inner.join("usr/lib")).unwrap();
    fs::create_dir_all(inner.join("usr/var")).unwrap();
    unpack(&tar.0[..], &inner, &PLAIN).unwrap();
    assert_untouched(outer.path());
    for (path, want) in [
        ("usr/bin/a", "1"),
        ("usr/lib/b", "2"),
        ("usr/var/c", "3"),
        ("e", "4"),
    ] {
        assert_eq!(
            fs::read_to_string(inner.join(path)).unwrap(),
            want,
            "{path}"
        );
    }
}

#[test]
fn what_has_no_name_is_passed_over_by_add_alone() {
    let tar = Tar::default().file("", "none").file("f", "x");
    let (_outer, inner) = playground();
    unpack(&tar.0[..], &inner, &PLAIN).unwrap();
    assert_eq!(fs::read_to_string(inner.join("f")).unwrap(), "x");
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    unpack(&tar.0[..], &inner, &LAYER).unwrap_err();
    let root = Tar::default().file("/", "none");
    unpack(&root.0[..], &inner, &PLAIN).unwrap_err();
}

#[test]
fn later_entries_take_the_place_of_earlier_ones() {
    let (_outer, inner) = playground();
    let tar = Tar::default()
        .file("f", "old")
        .file("f", "new")
        .dir("d")
        .file("d/x", "kept")
        .dir("d")
        .dir("was-dir")
        .file("was-dir/x", "gone")
        .file("was-dir", "file")
        .file("was-file", "gone")
        .file("was-file/below", "here")
        .symlink("s", "d")
        .file("s", "no link any more");
    unpack(&tar.0[..], &inner, &PLAIN).unwrap();
    for (path, want) in [
        ("f", "new"),
        ("d/x", "kept"),
        ("was-dir", "file"),
        ("was-file/below", "here"),
        ("s", "no link any more"),
    ] {
        assert_eq!(
            fs::read_to_string(inner.join(path)).unwrap(),
            want,
            "{path}"
        );
    }
    assert!(!inner.join("s").is_symlink());
}

#[test]
fn metadata_survive_what_comes_after() {
    let (_outer, inner) = playground();
    let mut tar = Tar::default().dir("d");
    let attributes = Xattrs::from([
        ("user.colour".into(), b"green\0".to_vec()),
        ("trusted.overlay.redirect".into(), b"/etc".to_vec()),
        ("user.overlay.opaque".into(), b"y".to_vec()),
    ]);
    tar.header(TarKind::File, "d/s", "", 0o6755, 0, &attributes);
    let tar = tar.file("implied/f", "x");
    unpack(&tar.0[..], &inner, &PLAIN).unwrap();
    let file = inner.join("d/s");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o6755
    );
    assert_eq!(fs::metadata(&file).unwrap().mtime(), 1_000_000_000);
    assert_eq!(
        fs::metadata(inner.join("d")).unwrap().mtime(),
        1_000_000_000
    );
    assert_eq!(fs::metadata(inner.join("implied")).unwrap().mtime(), 0);
    let names = xattr::names_at(&file).unwrap();
    assert!(
        !names
            .iter()
            .any(|name| name.as_encoded_bytes().ends_with(b"redirect"))
    );
    assert!(
        !names
            .iter()
            .any(|name| name.as_encoded_bytes().ends_with(b"opaque"))
    );
    if names.is_empty() {
        eprintln!("skipped in part: no user attributes on this file system");
    } else {
        let colour = xattr::value_at(&file, "user.colour".as_ref()).unwrap();
        assert_eq!(colour, Some(b"green\0".to_vec()));
        assert!(xattr::read_at(&file).unwrap().is_empty());
    }
}

#[test]
fn removals_hide_what_is_below_and_never_their_own_layer() {
    if !is_root() {
        return;
    }
    let (_outer, inner) = playground();
    let tar = Tar::default()
        .dir("d")
        .file("d/.wh.gone", "")
        .file("d/both", "stays")
        .file("d/.wh.both", "")
        .file("d/.wh.later", "")
        .dir("d/later")
        .dir("o")
        .file("o/x", "stays")
        .file("o/.wh..wh..opq", "")
        .file("missing/.wh..wh..opq", "")
        .file(".wh..wh.plnk", "");
    unpack(&tar.0[..], &inner, &LAYER).unwrap();
    let gone = fs::symlink_metadata(inner.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read_to_string(inner.join("d/both")).unwrap(), "stays");
    assert_eq!(fs::read_to_string(inner.join("o/x")).unwrap(), "stays");
    let opaque = |path: &str| {
        let directory = fs::File::open(inner.join(path)).unwrap();
        xattr::is_opaque(directory, Flavour::Trusted.opaque()).unwrap()
    };
    assert!(opaque("d/later") && opaque("o") && opaque("missing"));
    assert!(!opaque("d"));
    assert!(!inner.join(".wh..wh.plnk").exists());
    // An archive of files means no removals.
    let (_outer, inner) = playground();
    unpack(&Tar::default().file(".wh.x", "plain").0[..], &inner, &PLAIN).unwrap();
    assert_eq!(fs::read_to_string(inner.join(".wh.x")).unwrap(), "plain");
}

#[test]
fn compressed_archives_are_recognised() {
    use std::io::Write as _;
    let tar = Tar::default().file("f", &"content ".repeat(9000)).0;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (head, tail) = tar.split_at(5000);
    let members = [gzip(head), gzip(tail)].concat();
    let frames = [
        zstd::encode_all(head, 1).unwrap(),
        zstd::encode_all(tail, 1).unwrap(),
    ]
    .concat();
    for (what, bytes) in [("plain", tar.clone()), ("gzip", members), ("zstd", frames)] {
        let (_outer, inner) = playground();
        assert_eq!(unpack(&bytes[..], &inner, &PLAIN).unwrap(), 1, "{what}");
        assert_eq!(fs::metadata(inner.join("f")).unwrap().len(), 72_000);
    }
    for bytes in [&b"BZh91AY"[..], b"\xfd7zXZ\0..", b"no tar at all"] {
        let (_outer, inner) = playground();
        assert!(unpack(bytes, &inner, &PLAIN).is_err());
    }
}

/// What GNU tar itself writes, in the formats it has.
#[test]
fn archives_of_gnu_tar_are_read() {
    let (_outer, inner) = playground();
    let source = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(200));
    fs::create_dir(source.path().join("d".repeat(90))).unwrap();
    fs::write(source.path().join(&long), "x").unwrap();
    std::os::unix::fs::symlink("t".repeat(180), source.path().join("link")).unwrap();
    fs::hard_link(source.path().join(&long), source.path().join("other")).unwrap();
    for format in ["gnu", "pax", "oldgnu"] {
        let target = inner.join(format);
        fs::create_dir(&target).unwrap();
        let output = std::process::Command::new("tar")
            .args(["-c", "--format", format, "-C"])
            .arg(source.path())
            .arg(".")
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: tar is not installed");
            return;
        };
        unpack(&output.stdout[..], &target, &PLAIN).unwrap();
        assert_eq!(
            fs::read_to_string(target.join(&long)).unwrap(),
            "x",
            "{format}"
        );
        let link = fs::read_link(target.join("link")).unwrap();
        assert_eq!(link.as_os_str().len(), 180);
        assert_eq!(fs::metadata(target.join("other")).unwrap().nlink(), 2);
    }
    let file = fs::File::create(source.path().join("sparse")).unwrap();
    file.set_len(1 << 22).unwrap();
    for format in ["gnu", "pax"] {
        let output = std::process::Command::new("tar")
            .args(["-c", "--sparse", "--format", format, "-C"])
            .arg(source.path())
            .arg("sparse")
            .output()
            .unwrap();
        let error = unpack(&output.stdout[..], &inner, &PLAIN).unwrap_err();
        assert!(error.to_string().contains("sparse"), "{error}");
    }
}

#[test]
fn errors_read_well() {
    let (_outer, inner) = playground();
    let error = unpack(&Tar::default().file("../x", "").0[..], &inner, &PLAIN).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive's entry \"../x\" is refused: its name leads out of the archive"
    );
    let wrapped = StoreError::UnpackArchive(error);
    assert_eq!(wrapped.to_string(), "cannot unpack the archive");
}
