//! Layouts in directories, written, read back, and damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use launchway_model::Digest;
use launchway_registry::{Client, ClientOptions};
use launchway_transfer::{
    Copied, Copy, Destination, Location, Name, Places, TransferError, copy, digest as digest_of,
};
use serde_json::Value;

use crate::images::{Images, digest, family};
use crate::memory::Memory;

pub(crate) fn places() -> Places {
    Places::new(Client::new(ClientOptions::default()).unwrap())
}

pub(crate) fn location(text: &str) -> Location {
    text.parse().unwrap()
}

/// Copies from one named place to another.
pub(crate) async fn copied(from: &str, to: &str) -> Result<Copied, TransferError> {
    let opened = places().source(&location(from));
    let asked = Copy {
        source: opened.place,
        name: opened.name,
        platforms: Vec::new(),
        referrers: true,
        parallel: 3,
    };
    let destination = places().destination(&location(to))?;
    copy(&asked, &[destination], &|_| {}).await?.pop().unwrap()
}

/// Copies out of memory.
pub(crate) async fn filled(from: &Memory, to: &str) -> Result<Copied, TransferError> {
    let asked = Copy {
        source: Arc::new(from.clone()),
        name: Name::Tag("v1".to_owned()),
        platforms: Vec::new(),
        referrers: true,
        parallel: 3,
    };
    let destination = places().destination(&location(to))?;
    copy(&asked, &[destination], &|_| {}).await?.pop().unwrap()
}

/// Copies into memory.
pub(crate) async fn read_back(from: &str) -> Result<Memory, TransferError> {
    let here = Memory::new("here");
    let opened = places().source(&location(from));
    let asked = Copy {
        source: opened.place,
        name: opened.name,
        platforms: Vec::new(),
        referrers: true,
        parallel: 3,
    };
    let destination = Destination {
        place: Arc::new(here.clone()),
        tag: Some("v1".to_owned()),
        digest: None,
    };
    copy(&asked, &[destination], &|_| {})
        .await?
        .pop()
        .unwrap()?;
    Ok(here)
}

fn source() -> (Memory, Images, Digest) {
    let (mut images, root) = family();
    let note = images.referrer(&root, "a note");
    images.referrer(&note, "a note about the note");
    let root = digest(&root);
    (
        Memory::new("there").with(&images, "v1", &root),
        images,
        root,
    )
}

fn index(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

fn blob(layout: &Path, digest: &Digest) -> std::path::PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

#[tokio::test]
async fn what_goes_into_a_layout_comes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("a/b");
    let (source, images, root) = source();
    let name = format!("oci:{}:v1", layout.display());
    let copied = filled(&source, &name).await.unwrap();
    assert_eq!(copied.digest, root);
    assert_eq!(copied.sent.blobs, images.blobs.len());
    let again = filled(&source, &name).await.unwrap();
    assert_eq!((again.sent.blobs, again.documents > 0), (0, true));

    let here = read_back(&name).await.unwrap();
    assert_eq!(
        (here.documents(), here.blobs()),
        (source.documents(), source.blobs())
    );
    assert_eq!(here.tag("v1"), Some(root.clone()));
    // One image with a name, and what refers to it without.
    let index = index(&layout);
    let listed = index["manifests"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let named = |one: &&Value| one["annotations"]["org.opencontainers.image.ref.name"] == "v1";
    let named: Vec<&Value> = listed.iter().filter(named).collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["digest"], root.to_string());
    let left: Vec<_> = fs::read_dir(&layout)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn copies_at_the_same_time_do_not_lose_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _, root) = source();
    let names: Vec<String> = (0..8)
        .map(|number| format!("oci:{}:v{number}", folder.path().join("x").display()))
        .collect();
    let copies = names.iter().map(|name| filled(&source, name));
    for copied in futures_util::future::join_all(copies).await {
        assert_eq!(copied.unwrap().digest, root);
    }
    for name in &names {
        let found = digest_of(&places().source(&location(name)), None).await;
        assert_eq!(found.unwrap(), root);
    }
}

#[tokio::test]
async fn damaged_layouts_are_refused_where_they_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (source, images, root) = source();
    let layout = folder.path().join("x");
    let name = format!("oci:{}", layout.display());
    let other = format!("oci:{}", folder.path().join("y").display());
    let layer = launchway_oci::Hasher::digest(b"of arm64");
    for (path, bytes, part) in [
        (
            blob(&layout, &layer),
            &b"of ARM64"[..],
            "cannot read the blob",
        ),
        (blob(&layout, &layer), b"of", "cannot read the blob"),
        (
            blob(&layout, &layer),
            b"of arm64 and more",
            "cannot read the blob",
        ),
        (
            blob(&layout, images.documents[0].digest()),
            b"{}",
            "its content has the digest",
        ),
        (blob(&layout, &root), b"", "its content has the digest"),
        (
            layout.join("index.json"),
            b"[]",
            "index.json cannot be used",
        ),
    ] {
        let _ = fs::remove_dir_all(&layout);
        filled(&source, &format!("{name}:v1")).await.unwrap();
        fs::write(&path, bytes).unwrap();
        let error = copied(&name, &other).await.unwrap_err();
        assert!(
            error.to_string().contains(part),
            "{}: {error}",
            path.display()
        );
        assert!(!folder.path().join("y/index.json").exists());
    }
    for (path, part) in [
        (blob(&layout, &layer), "holds no blob"),
        (blob(&layout, &root), "holds no document"),
        (layout.join("index.json"), "no index.json"),
        (layout.join("oci-layout"), "no oci-layout"),
        (layout.clone(), "no such file or folder"),
    ] {
        let _ = fs::remove_dir_all(&layout);
        filled(&source, &format!("{name}:v1")).await.unwrap();
        if fs::remove_file(&path).is_err() {
            fs::remove_dir_all(&path).unwrap();
        }
        let error = copied(&name, &other).await.unwrap_err();
        assert!(
            error.to_string().contains(part),
            "{}: {error}",
            path.display()
        );
    }
}

#[tokio::test]
async fn names_that_lead_nowhere_are_told_with_those_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("oci:{}", folder.path().join("x").display());
    let (source, ..) = source();
    let mut images = Images::default();
    let other = digest(&images.image("amd64", &["other"]));
    let other = Memory::new("there").with(&images, "v1", &other);
    filled(&source, &format!("{name}:a")).await.unwrap();
    filled(&other, &format!("{name}:b")).await.unwrap();
    for (asked, message) in [
        (format!("{name}:c"), "no image called c"),
        (name.clone(), "no single image; say which one is meant"),
    ] {
        let error = digest_of(&places().source(&location(&asked)), None)
            .await
            .unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
        assert!(error.is_absence() && !error.is_unknown());
        let help = error.help().unwrap();
        assert!(help.contains("a, b"), "{help}");
    }
}

#[tokio::test]
async fn a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let (source, ..) = source();
    let error = filled(&source, &format!("oci:{}:v1", folder.path().display()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no OCI image layout"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
