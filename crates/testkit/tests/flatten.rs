//! Small layouts, written here byte by byte, and what they come to.
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::fs;
use std::path::Path;

use launchway_testkit::flatten::{Image, Kind, compare, flatten};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// One entry of a layer: type, path, and contents or link target.
type Line<'a> = (EntryType, &'a str, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

fn layer(lines: &[Line<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, text) in lines {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1);
        if *kind == SYMLINK || *kind == LINK {
            header.set_size(0);
            builder.append_link(&mut header, path, text).unwrap();
        } else {
            header.set_size(text.len() as u64);
            builder
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn put(root: &Path, bytes: &[u8]) -> Value {
    let digest = launchway_testkit::sha256(bytes);
    let path = root.join("blobs").join(digest.replace(':', "/"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    json!({"digest": digest, "size": bytes.len()})
}

fn layout(root: &Path, layers: &[Vec<u8>], config: &Value) {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|tar| launchway_testkit::sha256(tar))
        .collect();
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": config, "rootfs": {"diff_ids": diff_ids},
    });
    let layers: Vec<Value> = layers
        .iter()
        .map(|tar| put(root, &zstd::encode_all(tar.as_slice(), 1).unwrap()))
        .collect();
    let config = put(root, config.to_string().as_bytes());
    let manifest = json!({"config": config, "layers": layers});
    let manifest = put(root, manifest.to_string().as_bytes());
    let index = json!({"manifests": [manifest]});
    fs::write(root.join("index.json"), index.to_string()).unwrap();
}

fn image(name: &str, layers: &[&[Line<'_>]]) -> Image {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    let layers: Vec<Vec<u8>> = layers.iter().map(|lines| layer(lines)).collect();
    layout(&root, &layers, &json!({"Env": ["A=1"]}));
    flatten(&root, Some("linux/amd64")).unwrap()
}

fn paths(image: &Image) -> Vec<String> {
    let paths = image.entries.keys().filter(|path| !path.is_empty());
    paths
        .map(|path| String::from_utf8(path.clone()).unwrap())
        .collect()
}

#[test]
fn layers_are_applied_in_order() {
    let below: &[Line<'_>] = &[
        (DIRECTORY, "d/", ""),
        (FILE, "d/a", "1"),
        (FILE, "d/b", "2"),
        (DIRECTORY, "e", ""),
        (FILE, "e/f", "3"),
        (FILE, "g", "4"),
    ];
    let cases: &[(&str, &[Line<'_>], &[&str])] = &[
        (
            "whiteout",
            &[(FILE, "d/.wh.a", "")],
            &["d", "d/b", "e", "e/f", "g"],
        ),
        (
            "whiteout of a directory",
            &[(FILE, ".wh.d", "")],
            &["e", "e/f", "g"],
        ),
        (
            "opaque, and what the same layer puts there stays",
            &[(FILE, "d/new", ""), (FILE, "d/.wh..wh..opq", "")],
            &["d", "d/new", "e", "e/f", "g"],
        ),
        (
            "file over directory",
            &[(FILE, "d", "x")],
            &["d", "e", "e/f", "g"],
        ),
        (
            "directory over file",
            &[(DIRECTORY, "g", ""), (FILE, "g/h", "")],
            &["d", "d/a", "d/b", "e", "e/f", "g", "g/h"],
        ),
        (
            "directory over directory",
            &[(DIRECTORY, "./d/", "")],
            &["d", "d/a", "d/b", "e", "e/f", "g"],
        ),
        (
            "parents that nobody wrote",
            &[(FILE, "x/y/z", "")],
            &["d", "d/a", "d/b", "e", "e/f", "g", "x", "x/y", "x/y/z"],
        ),
    ];
    for (name, above, expected) in cases {
        let image = image("order", &[below, above]);
        assert_eq!(paths(&image), *expected, "{name}");
    }
}

#[test]
fn a_linked_parent_is_followed_inside_the_image() {
    for target in ["real", "/real", "../../real", "other/../real"] {
        let below: &[Line<'_>] = &[(DIRECTORY, "real", ""), (SYMLINK, "link", target)];
        let image = image("linked", &[below, &[(FILE, "link/file", "1")]]);
        assert_eq!(paths(&image), ["link", "real", "real/file"], "{target}");
    }
}

#[test]
fn hard_links_are_one_file_until_a_layer_writes_one() {
    let below: &[Line<'_>] = &[(FILE, "a", "1"), (LINK, "b", "a"), (LINK, "c", "a")];
    let image = image("links", &[below, &[(FILE, "b", "2")]]);
    let group = |path: &str| image.entries[path.as_bytes()].linked_with.clone();
    assert_eq!(group("a"), Some(b"a".to_vec()));
    assert_eq!(group("b"), None);
    assert_eq!(group("c"), Some(b"a".to_vec()));
}

#[test]
fn entries_say_what_they_are() {
    let image = image(
        "entries",
        &[&[(FILE, "a", "12"), (SYMLINK, "l", "nowhere")]],
    );
    let entry = &image.entries[b"a".as_slice()];
    assert_eq!(
        (entry.mode, entry.uid, entry.gid, entry.mtime),
        (0o644, 7, 8, 1)
    );
    let content = launchway_testkit::sha256(b"12");
    assert_eq!(entry.kind, Kind::File { size: 2, content });
    let target = b"nowhere".to_vec();
    assert_eq!(
        image.entries[b"l".as_slice()].kind,
        Kind::Symlink { target }
    );
}

#[test]
fn differences_name_the_path_and_both_sides() {
    let left = image("left", &[&[(FILE, "a", "1"), (FILE, "same", "")]]);
    let mut right = image("right", &[&[(FILE, "b", "1"), (FILE, "same", "")]]);
    right.config["config"] = json!({"Env": ["A=2"], "Labels": {}, "User": ""});
    right.manifest["layers"] = json!([{}, {}]);
    let mut left = left;
    left.config["history"] = json!([
        {"created_by": "RUN a # buildkit"}, {"created_by": "ENV b", "empty_layer": true},
    ]);
    right.config["history"] =
        json!([{"created_by": "RUN a"}, {"created_by": "ENV b"}, {"created_by": "RUN c"}]);
    let differences = compare(&left, &right);
    let what: Vec<&str> = differences
        .iter()
        .map(|found| found.what.as_str())
        .collect();
    // What is empty is not what is not there.
    let expected = [
        "/a",
        "/b",
        "config.Env",
        "config.Labels",
        "config.User",
        "layers",
        "history",
    ];
    assert_eq!(what, expected);
    assert_eq!(differences[5].right.as_deref(), Some("2"));
    assert_eq!(differences[6].left.as_deref(), Some("1: ENV b (no layer)"));
    assert_eq!(
        differences[6].right.as_deref(),
        Some("1: ENV b\n               2: RUN c")
    );
    assert_eq!(differences[1].left, None);
    assert_eq!(differences[2].right.as_deref(), Some(r#"["A=2"]"#));
    assert!(compare(&left, &left).is_empty());
}

#[test]
fn a_blob_that_is_not_its_digest_is_refused() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tampered");
    let _ = fs::remove_dir_all(&root);
    layout(&root, &[layer(&[(FILE, "a", "1")])], &json!({}));
    for blob in fs::read_dir(root.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(b'\n');
        fs::write(&path, bytes).unwrap();
    }
    let error = flatten(&root, None).unwrap_err().to_string();
    assert!(
        error.starts_with("the image is wrong: the blob that should be sha256:"),
        "{error}"
    );
}
