//! Archives: layouts in a tar, and what old and new dockers write.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use launchway_model::Digest;
use launchway_oci::Hasher;
use launchway_transfer::{Document, Name, TransferError};
use serde_json::{Value, json};

use crate::images::{Images, digest, family};
use crate::layouts::{copied, filled, location, places, read_back};
use crate::memory::Memory;

fn entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        })
        .collect()
}

fn json_of(path: &Path, name: &str) -> Value {
    let all = entries(path);
    let (_, bytes) = all.iter().find(|(entry, _)| entry == name).unwrap();
    serde_json::from_slice(bytes).unwrap()
}

#[tokio::test]
async fn an_archive_holds_everything_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (mut images, root) = family();
    images.referrer(&root, "a note");
    let root = digest(&root);
    let source = Memory::new("there").with(&images, "v1", &root);
    let [one, other] = ["one.tar", "other.tar"].map(|name| folder.path().join(name));
    for path in [&one, &other] {
        let name = format!("oci-archive:{}:v1", path.display());
        assert_eq!(filled(&source, &name).await.unwrap().digest, root);
    }
    assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
    let here = read_back(&format!("oci-archive:{}", one.display()))
        .await
        .unwrap();
    assert_eq!(
        (here.documents(), here.blobs()),
        (source.documents(), source.blobs())
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_docker_archive_is_a_layout_and_what_older_dockers_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = Images::default();
    let root = digest(&images.image("amd64", &["one", "two"]));
    let source = Memory::new("there").with(&images, "v1", &root);
    let path = folder.path().join("x.tar");
    let name = format!("docker-archive:{}", path.display());
    filled(&source, &format!("{name}:me/app:v2")).await.unwrap();
    let list = json_of(&path, "manifest.json");
    assert_eq!(list[0]["RepoTags"], json!(["me/app:v2"]));
    let all = entries(&path);
    let layers = list[0]["Layers"].as_array().unwrap();
    let texts: Vec<&[u8]> = layers
        .iter()
        .map(|layer| {
            let found = all.iter().find(|(name, _)| name == layer.as_str().unwrap());
            found.unwrap().1.as_slice()
        })
        .collect();
    assert_eq!(texts, [&b"one"[..], b"two"]);
    let annotations = &json_of(&path, "index.json")["manifests"][0]["annotations"];
    assert_eq!(
        annotations["io.containerd.image.name"],
        "docker.io/me/app:v2"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "v2");
    // It can be asked for by any of its names, and its digest is what it was.
    for tag in ["", ":v2", ":me/app:v2", ":docker.io/me/app:v2"] {
        let here = read_back(&format!("{name}{tag}")).await.unwrap();
        assert_eq!(here.tag("v1"), Some(root.clone()));
    }
}

/// What docker wrote until version 24: a folder for each layer, and links for repetitions.
fn old_archive(path: &Path) -> Vec<u8> {
    let layer = |seed: u8| vec![seed; 700];
    let diff_ids: Vec<String> = [layer(1), layer(2), layer(1)]
        .iter()
        .map(|bytes| Hasher::digest(bytes).to_string())
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let list = json!([{
        "Config": "abc.json",
        "RepoTags": ["app:1", "r.io/app:2"],
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"],
    }])
    .to_string();
    let mut builder = tar::Builder::new(File::create(path).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    put("a/layer.tar", &layer(1));
    put("b/layer.tar", &layer(2));
    put("abc.json", config.as_bytes());
    put("manifest.json", list.as_bytes());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "c/layer.tar", "../a/layer.tar")
        .unwrap();
    builder.finish().unwrap();
    config.into_bytes()
}

#[tokio::test]
async fn archives_of_older_dockers_keep_the_image_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.tar");
    let config = old_archive(&path);
    let name = format!("docker-archive:{}", path.display());
    let mut digests = Vec::new();
    for tag in ["", ":app:1", ":r.io/app:2", ":2"] {
        let here = read_back(&format!("{name}{tag}")).await.unwrap();
        assert!(here.blobs().contains(&Hasher::digest(&config)));
        assert_eq!(here.blobs().len(), 3);
        digests.push(here.tag("v1").unwrap());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    let opened = places().source(&location(&name));
    let raw = opened.place.manifest(&Name::Only).await.unwrap();
    let document = Document::read(raw, "it").unwrap();
    let layers: Vec<&str> = document
        .blobs()
        .skip(1)
        .map(|layer| layer.media_type.as_str())
        .collect();
    assert_eq!(layers, ["application/vnd.oci.image.layer.v1.tar"; 3]);
}

#[tokio::test]
async fn what_an_old_archive_says_of_its_layers_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.tar");
    old_archive(&path);
    let mut bytes = fs::read(&path).unwrap();
    // The first byte of the first layer, which follows its header.
    bytes[512] = 9;
    fs::write(&path, bytes).unwrap();
    let to = format!("oci:{}", folder.path().join("x").display());
    let error = copied(&format!("docker-archive:{}", path.display()), &to)
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read the blob"),
        "{error}"
    );
    assert!(!folder.path().join("x/index.json").exists());
}

#[tokio::test]
async fn files_that_are_no_such_archives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let to = format!("oci:{}", folder.path().join("x").display());
    let mut empty_tar = tar::Builder::new(Vec::new());
    empty_tar.finish().unwrap();
    let empty_tar = empty_tar.into_inner().unwrap();
    for (kind, bytes, part) in [
        (
            "oci-archive",
            &b"\x1f\x8b\x08\x00zipped"[..],
            "compressed with gzip",
        ),
        (
            "docker-archive",
            b"\x28\xb5\x2f\xfdzipped",
            "compressed with zstd",
        ),
        ("oci-archive", &[7; 2048], "no tar"),
        ("oci-archive", &empty_tar, "no oci-layout"),
        ("docker-archive", &empty_tar, "no manifest.json"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = copied(&format!("{kind}:{}", path.display()), &to)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = copied("oci-archive:/nowhere/x.tar", &to).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot open /nowhere/x.tar");
}

#[tokio::test]
async fn an_archive_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let name = format!("oci-archive:{}:v1", path.display());
    let (images, root) = family();
    let root = digest(&root);
    let mut lacking = images.clone();
    lacking.blobs.retain(|blob| blob != "of arm64");
    let lacking = Memory::new("there").with(&lacking, "v1", &root);
    fs::write(&path, "what was there").unwrap();
    let error = filled(&lacking, &name).await.unwrap_err();
    assert!(matches!(error, TransferError::Absent { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let whole = Memory::new("there").with(&images, "v1", &root);
    filled(&whole, &name).await.unwrap();
    let here = read_back(&name).await.unwrap();
    let found: Option<Digest> = here.tag("v1");
    assert_eq!(found, Some(root));

    let error = filled(&whole, "oci-archive:/nowhere/x.tar")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot write to /nowhere/x.tar");
}
