//! What a collection takes and what it leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use launchway_registry_server::{CollectError, CollectOptions, Collected, OpenError, collect};
use launchway_testkit::sha256;

use crate::support::{Fixture, INDEX, MANIFEST, descriptor, files, index};

const ALL: CollectOptions = CollectOptions {
    older_than: Duration::ZERO,
    look_only: false,
};
const LOOK: CollectOptions = CollectOptions {
    look_only: true,
    ..ALL
};

fn run(root: &Path, options: CollectOptions) -> Collected {
    collect(root, options).unwrap()
}

#[tokio::test]
async fn what_nothing_leads_to_is_removed() {
    let fixture = Fixture::new();
    let kept = fixture.image("app", "v1", "kept").await;
    let gone = fixture.image("app", "v2", "gone").await;
    // Only an index leads to this one, and only its subject to that.
    let child = fixture.image("app", "v3", "child").await;
    let about = descriptor(MANIFEST, &kept);
    let all = index(
        &[descriptor(MANIFEST, &child)],
        &format!(r#","subject":{about}"#),
    );
    fixture.put("app", "v3", INDEX, &all).await;
    let orphan = fixture.blob("app", "orphan").await;
    let shared = fixture.blob("other", "layer gone").await;
    let path = format!("/v2/app/manifests/{}", sha256(gone.as_bytes()));
    assert_eq!(fixture.ask("DELETE", &path).await.status, 202);
    let Fixture {
        directory,
        registry,
    } = fixture;
    let root = directory.path().join("root");
    let busy = collect(&root, ALL).unwrap_err();
    assert!(
        matches!(busy, CollectError::Open(OpenError::InUse { .. })),
        "{busy}"
    );
    drop(registry);

    let young = run(
        &root,
        CollectOptions {
            older_than: Duration::from_secs(3600),
            ..ALL
        },
    );
    assert_eq!((young.blobs.len(), young.young), (0, 4));
    let before = files(&root);
    let looked = run(&root, LOOK);
    assert_eq!(files(&root), before);
    let done = run(&root, ALL);
    assert_eq!(looked, done, "what was shown is what is done");
    let mut names: Vec<_> = done
        .blobs
        .iter()
        .map(|(name, digest)| (name.as_str(), digest.clone()))
        .collect();
    names.sort();
    let config = names
        .iter()
        .find(|(_, digest)| *digest != orphan && *digest != shared)
        .unwrap()
        .clone();
    let mut want = vec![
        ("app", orphan),
        ("app", shared.clone()),
        ("other", shared),
        config,
    ];
    want.sort();
    assert_eq!(names, want);
    let freed = before.len() - files(&root).len();
    // Three blobs with a link in the pool each, and one more name of the shared one.
    assert_eq!(freed, 7);
    assert_eq!(run(&root, ALL), Collected::default());

    let registry = launchway_registry_server::Registry::open(&root, crate::support::options());
    let registry = registry.unwrap();
    for (path, want) in [
        ("/v2/app/manifests/v1".to_owned(), &kept),
        ("/v2/app/manifests/v3".into(), &all),
        (
            format!("/v2/app/manifests/{}", sha256(child.as_bytes())),
            &child,
        ),
    ] {
        let got = crate::support::ask(&registry, "GET", &path, &[], "").await;
        assert_eq!(got.body, *want, "{path}");
    }
    for layer in ["layer kept", "layer child"] {
        let path = format!("/v2/app/blobs/{}", sha256(layer.as_bytes()));
        let got = crate::support::ask(&registry, "GET", &path, &[], "").await;
        assert_eq!(got.body, layer);
    }
}

#[tokio::test]
async fn what_is_not_understood_keeps_what_it_names() {
    let fixture = Fixture::new();
    fixture.image("app", "v1", "").await;
    let far = fixture.blob("app", "far").await;
    let near = fixture.blob("app", format!(r#"{{"see":["{far}"]}}"#)).await;
    let index = fixture.root().join("repositories/app/index.json");
    let text = fs::read_to_string(&index).unwrap();
    let odd = format!(r#""manifests":[{{"mediaType":"x/y","digest":"{near}","size":1}},"#);
    fs::write(&index, text.replace(r#""manifests":["#, &odd)).unwrap();
    let Fixture {
        directory,
        registry,
    } = fixture;
    drop(registry);
    let root = directory.path().join("root");
    assert_eq!(run(&root, ALL), Collected::default());
    fs::write(&index, "{").unwrap();
    let before = files(&root);
    collect(&root, ALL).unwrap_err();
    assert_eq!(files(&root), before);
    // A repository that is removed by hand leaves what only it had.
    fs::remove_dir_all(root.join("repositories/app")).unwrap();
    let done = run(&root, ALL);
    assert_eq!(done.blobs.len(), files(&root.join("blobs")).len() + 5);
    assert!(done.blobs.iter().all(|(name, _)| name.is_empty()));
}
