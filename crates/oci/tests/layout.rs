//! OCI layouts: written, read back, and read by others.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod common;

use std::fs;
use std::process::Command;

use common::{layer, store};
use launchway_oci::spec::{Descriptor, ImageConfig, Index, Manifest, RootFs, SpecPlatform, media};
use launchway_oci::{
    ArchiveImage, Compression, Stack, Store, StoreError, is_layout, read_archive, read_layout,
    write_archive, write_layout,
};

fn put(store: &Store, media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: store.put_blob(bytes).unwrap().to_string(),
        size: bytes.len() as u64,
        artifact_type: None,
        annotations: None,
        platform: None,
    }
}

/// An image of two layers in an index of one platform.
fn image(store: &Store) -> ArchiveImage {
    let mut below = Stack::default();
    for name in ["one", "two"] {
        let layer = layer(store, &below, |upper| {
            fs::write(upper.join(name), name.repeat(1000)).unwrap();
        });
        below.layers.push(layer);
    }
    let config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: below.layers.iter().map(|l| l.diff_id.to_string()).collect(),
        },
        ..ImageConfig::default()
    };
    let layers = below
        .layers
        .iter()
        .map(|layer| store.compressed(&layer.diff_id, Compression::Gzip).unwrap());
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: None,
        config: put(store, media::CONFIG, &serde_json::to_vec(&config).unwrap()),
        layers: layers.collect(),
        subject: None,
        annotations: None,
    };
    let mut manifest = put(
        store,
        media::MANIFEST,
        &serde_json::to_vec(&manifest).unwrap(),
    );
    manifest.platform = Some(SpecPlatform {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        variant: None,
        os_version: None,
    });
    let index = Index {
        schema_version: 2,
        media_type: Some(media::INDEX.to_owned()),
        artifact_type: None,
        manifests: vec![manifest],
        subject: None,
        annotations: None,
    };
    ArchiveImage {
        descriptor: put(store, media::INDEX, &serde_json::to_vec(&index).unwrap()),
        names: vec!["docker.io/library/layout-test:one".to_owned()],
    }
}

fn blobs(store: &Store) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(store.root().join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

#[test]
fn a_layout_is_read_back_whole() {
    let ((_d1, first), (directory, second)) = (store(), store());
    let images = [image(&first)];
    let target = directory.path().join("layout");
    write_layout(&first, &images, &target).unwrap();
    write_layout(&first, &images, &target).unwrap();
    assert!(is_layout(&target));
    let index = read_layout(&second, &target).unwrap();
    assert_eq!(index.manifests[0].digest, images[0].descriptor.digest);
    assert_eq!(blobs(&first), blobs(&second));
    let annotations = index.manifests[0].annotations.as_ref().unwrap();
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "one");

    let (_d3, third) = store();
    let name = fs::read_dir(target.join("blobs/sha256"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_file(&name).unwrap();
    fs::write(&name, "damage").unwrap();
    assert!(read_layout(&third, &target).is_err());
    assert!(matches!(
        read_layout(&third, &target.join("blobs")),
        Err(StoreError::NotALayout { .. })
    ));
}

#[test]
fn an_archive_is_read_back_whole_and_always_the_same() {
    let ((_d1, first), (_d2, second)) = (store(), store());
    let images = [image(&first)];
    let archive = || {
        let mut bytes = Vec::new();
        write_archive(&first, &images, &mut bytes).unwrap();
        bytes
    };
    let bytes = archive();
    assert!(bytes == archive());
    let index = read_archive(&second, &bytes[..]).unwrap();
    assert_eq!(index.manifests[0].digest, images[0].descriptor.digest);
    assert_eq!(blobs(&first), blobs(&second));
    let (_d3, third) = store();
    assert!(read_archive(&third, &bytes[..bytes.len() / 2]).is_err());
    assert!(matches!(
        read_archive(&third, &[0; 1024][..]),
        Err(StoreError::NotALayout { .. })
    ));
    let gone = first.blob_path(&images[0].descriptor.digest.parse().unwrap());
    fs::remove_file(gone).unwrap();
    let error = write_archive(&first, &images, Vec::new()).unwrap_err();
    assert!(matches!(error, StoreError::NoBlob(_)));
}

/// A Go tool that checks every digest on the way, when it is installed.
#[test]
fn skopeo_copies_what_was_written() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let (directory, store) = store();
    let images = [image(&store)];
    let layout = directory.path().join("layout");
    write_layout(&store, &images, &layout).unwrap();
    let archive = directory.path().join("image.tar");
    write_archive(&store, &images, fs::File::create(&archive).unwrap()).unwrap();
    for (number, source) in [
        format!("oci:{}:one", layout.display()),
        format!("oci-archive:{}:one", archive.display()),
        format!("docker-archive:{}", archive.display()),
    ]
    .iter()
    .enumerate()
    {
        let target = format!(
            "dir:{}",
            directory.path().join(number.to_string()).display()
        );
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", source, &target])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{source}: {said}");
    }
}

#[test]
fn indexes_nested_very_deep_are_read_to_their_end() {
    // Whoever calls itself for each index has no room for as many.
    let small = std::thread::Builder::new().stack_size(96 << 10);
    let reading = small.spawn(|| read_nested(400)).unwrap();
    reading.join().unwrap();
}

fn read_nested(depth: usize) {
    let (home, source) = store();
    let mut image = image(&source);
    for _ in 0..depth {
        let index = Index {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            artifact_type: None,
            manifests: vec![image.descriptor.clone()],
            subject: None,
            annotations: None,
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        image.descriptor = put(&source, media::INDEX, &bytes);
    }
    let mut archive = Vec::new();
    write_archive(&source, &[image], &mut archive).unwrap();
    drop(home);
    let (_home, target) = store();
    let index = read_archive(&target, archive.as_slice()).unwrap();
    let top = index.manifests[0].digest.parse().unwrap();
    assert!(target.has_blob(&top));
}
