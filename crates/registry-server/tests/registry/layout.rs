//! What lies on the disk.

use std::fs;

use launchway_oci::{Flavour, Store};
use launchway_registry_server::{OpenError, Options, Registry};
use launchway_testkit::sha256;
use serde_json::{Value, json};

use crate::support::{Fixture, INDEX, MANIFEST, ask, descriptor, files, index, options};

fn read(path: std::path::PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_repository_is_an_image_layout() {
    let fixture = Fixture::new();
    let child = fixture.image("tools/app", "v1", "").await;
    fixture.image("tools/app", "latest", "").await;
    let all = index(&[descriptor(MANIFEST, &child)], "");
    let digest = sha256(all.as_bytes());
    let put = fixture.put("tools/app", &digest, INDEX, &all).await;
    assert_eq!(put.status, 201);
    let layout = fixture.root().join("repositories/tools/app");
    assert_eq!(
        read(layout.join("oci-layout")),
        json!({"imageLayoutVersion": "1.0.0"})
    );
    let entry = |media_type: &str, text: &str, tag: Option<&str>| {
        let mut entry: Value = serde_json::from_str(&descriptor(media_type, text)).unwrap();
        if let Some(tag) = tag {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        entry
    };
    assert_eq!(
        read(layout.join("index.json")),
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            entry(MANIFEST, &child, Some("v1")),
            entry(MANIFEST, &child, Some("latest")),
            entry(INDEX, &all, None),
        ]})
    );
    for file in files(&layout.join("blobs/sha256")) {
        let bytes = fs::read(layout.join("blobs/sha256").join(&file)).unwrap();
        assert_eq!(sha256(&bytes), format!("sha256:{file}"));
    }
}

#[tokio::test]
async fn another_process_finds_everything_again() {
    let fixture = Fixture::new();
    let child = fixture.image("app", "v1", "").await;
    let all = index(&[descriptor(MANIFEST, &child)], "");
    fixture.put("app", "all", INDEX, &all).await;
    let subject = descriptor(MANIFEST, &child);
    let about = index(&[], &format!(r#","subject":{subject}"#));
    fixture.put("app", "about", INDEX, &about).await;
    let Fixture {
        directory,
        registry,
    } = fixture;
    let root = directory.path().join("root");
    let refused = Registry::open(&root, options()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(registry);
    for read_only in [false, true] {
        let options = Options {
            read_only,
            ..options()
        };
        let again = Registry::open(&root, options).unwrap();
        let get = async |path: &str| ask(&again, "GET", path, &[], "").await;
        assert_eq!(get("/v2/app/manifests/v1").await.body, child);
        assert_eq!(get("/v2/app/manifests/all").await.body, all);
        let path = format!("/v2/app/referrers/{}", sha256(child.as_bytes()));
        assert_eq!(
            get(&path).await.json()["manifests"][0]["digest"],
            sha256(about.as_bytes())
        );
    }
}

#[tokio::test]
async fn a_read_only_registry_changes_nothing() {
    let fixture = Fixture::new();
    fixture.image("app", "v1", "").await;
    let Fixture {
        directory,
        registry,
    } = fixture;
    drop(registry);
    let root = directory.path().join("root");
    let read_only = || Options {
        read_only: true,
        ..options()
    };
    let registry = Registry::open(&root, read_only()).unwrap();
    let second = Registry::open(&root, read_only()).expect("readers do not exclude each other");
    let before = files(&root);
    for (method, path) in [
        ("PUT", "/v2/app/manifests/v2"),
        ("DELETE", "/v2/app/manifests/v1"),
        ("POST", "/v2/app/blobs/uploads/"),
        ("PATCH", "/v2/app/blobs/uploads/x"),
        ("DELETE", "/v2/app/blobs/x"),
    ] {
        let reply = ask(&registry, method, path, &[], "").await;
        reply.refused(405, "UNSUPPORTED");
    }
    let got = ask(&second, "GET", "/v2/app/manifests/v1", &[], "").await;
    assert_eq!(got.status, 200);
    assert_eq!(files(&root), before);
}

#[tokio::test]
async fn a_layout_that_something_else_changes_is_read_again() {
    let fixture = Fixture::new();
    let child = fixture.image("app", "v1", "").await;
    let path = fixture.root().join("repositories/app/index.json");
    let inner = index(&[descriptor(MANIFEST, &child)], "");
    let blobs = fixture.root().join("repositories/app/blobs/sha256");
    fs::write(blobs.join(&sha256(inner.as_bytes())[7..]), &inner).unwrap();
    // Only the index is listed; a name that is no tag and a digest of another kind are let be.
    let mut entry: Value = serde_json::from_str(&descriptor(INDEX, &inner)).unwrap();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "outside", "x": "y"});
    let named = json!({"mediaType": MANIFEST, "digest": sha256(child.as_bytes()), "size": child.len(),
        "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/x:1"}});
    let odd = json!({"mediaType": "x/y", "digest": "blake3:00", "size": 1});
    let text = json!({"schemaVersion": 2, "manifests": [entry, named, odd]}).to_string();
    fs::write(&path, text).unwrap();
    let tags = fixture.get("/v2/app/tags/list").await.json();
    assert_eq!(tags["tags"], json!(["outside"]));
    assert_eq!(fixture.get("/v2/app/manifests/outside").await.body, inner);
    let listed = format!("/v2/app/manifests/{}", sha256(child.as_bytes()));
    assert_eq!(fixture.get(&listed).await.body, child);
    fixture.image("app", "v2", "2").await;
    let after = read(path);
    let kept: Vec<_> = after["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .take(3)
        .collect();
    assert_eq!(kept[0]["annotations"]["x"], "y");
    assert_eq!(kept[2]["digest"], "blake3:00");
}

#[tokio::test]
async fn launchway_reads_a_repository_and_a_layout_put_there_is_served() {
    let fixture = Fixture::new();
    let child = fixture.image("app", "v1", "").await;
    let all = index(&[descriptor(MANIFEST, &child)], "");
    fixture.put("app", "all", INDEX, &all).await;
    let repository = fixture.root().join("repositories/app");
    let store = Store::open(&fixture.directory.path().join("store"), Flavour::Trusted).unwrap();
    let read = launchway_oci::read_layout(&store, &repository).unwrap();
    let digests: Vec<_> = read.manifests.iter().map(|entry| &entry.digest).collect();
    assert_eq!(
        digests,
        [&sha256(child.as_bytes()), &sha256(all.as_bytes())]
    );
    let dropped = fixture.root().join("repositories/put/by/hand");
    for file in files(&repository) {
        let to = dropped.join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(repository.join(&file), to).unwrap();
    }
    let catalog = fixture.get("/v2/_catalog").await.json();
    assert_eq!(catalog["repositories"], json!(["app", "put/by/hand"]));
    let got = fixture.get("/v2/put/by/hand/manifests/all").await;
    assert_eq!(got.body, all);
    let layer = format!("/v2/put/by/hand/blobs/{}", sha256(b"layer "));
    assert_eq!(fixture.get(&layer).await.body, "layer ");
    // And it takes more.
    fixture.image("put/by/hand", "v2", "more").await;
    let tags = fixture.get("/v2/put/by/hand/tags/list").await.json();
    assert_eq!(tags["tags"], json!(["all", "v1", "v2"]));
}

#[tokio::test]
async fn names_that_look_like_a_layout_live_side_by_side() {
    let fixture = Fixture::new();
    for name in ["a", "a/blobs/sha256", "a/index.json", "a/oci-layout/b"] {
        fixture.image(name, "v1", name).await;
    }
    for name in ["a", "a/blobs/sha256", "a/index.json", "a/oci-layout/b"] {
        let digest = sha256(format!("layer {name}").as_bytes());
        let blob = fixture.get(&format!("/v2/{name}/blobs/{digest}")).await;
        assert_eq!(blob.body, format!("layer {name}"));
        let tags = fixture.get(&format!("/v2/{name}/tags/list")).await;
        assert_eq!(tags.json()["tags"], json!(["v1"]));
    }
}

#[tokio::test]
async fn the_last_repository_takes_a_blob_with_it() {
    let fixture = Fixture::new();
    let digest = fixture.blob("one", "shared").await;
    let mount = format!("/v2/two/blobs/uploads/?mount={digest}&from=one");
    assert_eq!(fixture.ask("POST", &mount).await.status, 201);
    let pooled = fixture.root().join("blobs/sha256").join(&digest[7..]);
    assert!(pooled.exists());
    fixture
        .ask("DELETE", &format!("/v2/one/blobs/{digest}"))
        .await;
    assert!(pooled.exists());
    fixture
        .ask("DELETE", &format!("/v2/two/blobs/{digest}"))
        .await;
    assert!(!pooled.exists());
    fixture.ask("POST", &mount).await;
    fixture.blob("one", "shared").await;
    assert!(pooled.exists());
}

#[tokio::test]
async fn leftovers_are_cleared_and_strangers_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let uploads = directory.path().join("uploads");
    fs::create_dir(&uploads).unwrap();
    fs::write(uploads.join("0123.part"), "half").unwrap();
    fs::write(uploads.join("holiday.jpg"), "dear").unwrap();
    let _registry = Registry::open(directory.path(), options()).unwrap();
    assert_eq!(files(&uploads), ["holiday.jpg"]);
}

#[test]
fn a_root_that_cannot_be_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Registry::open(&file, options()).unwrap_err();
    assert!(error.to_string().starts_with("cannot create the directory"));
    let absent = Options {
        read_only: true,
        ..options()
    };
    let error = Registry::open(&directory.path().join("none"), absent).unwrap_err();
    assert!(error.to_string().starts_with("cannot open the directory"));
}
