//! Against the registry that `PEERS_REGISTRY` names, with other clients as witnesses.

use std::sync::Mutex;

use bytes::Bytes;
use launchway_model::{Reference, Repository};
use launchway_oci::spec::{Descriptor, Index, Manifest};
use launchway_registry::{
    BlobBody, BlobSource, Client, ClientEvent, ManifestTarget, Probe, PushOutcome,
};
use launchway_testkit::peers;

use crate::support::{MANIFEST, client_with_events, content, digest, options};

/// The registry, or None with a word about it. CI sets the variable.
fn registry() -> Option<String> {
    let found = std::env::var("PEERS_REGISTRY").ok();
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI has to set PEERS_REGISTRY"
        );
        eprintln!("skipped: PEERS_REGISTRY names no registry");
    }
    found
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

/// A repository that nobody else uses.
fn fresh(registry: &str, name: &str) -> Repository {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!("{registry}/client-test/{name}-{now}")
        .parse()
        .unwrap()
}

fn blob(bytes: &[u8]) -> BlobSource {
    BlobSource {
        digest: digest(bytes),
        size: bytes.len() as u64,
        body: BlobBody::Bytes(Bytes::copy_from_slice(bytes)),
    }
}

/// A manifest of the smallest image there is, and its blobs.
fn image(layer: &[u8], subject: Option<&str>) -> (Bytes, Vec<BlobSource>) {
    let diff = digest(layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
    );
    let config = blob(config.as_bytes());
    let layer = blob(layer);
    let subject = subject.map_or(String::new(), |subject| format!(r#","subject":{subject}"#));
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]{subject}}}"#,
        config.digest, config.size, layer.digest, layer.size
    );
    (Bytes::from(manifest), vec![config, layer])
}

async fn push_image(client: &Client, repository: &Repository, layer: &[u8]) -> Reference {
    let (manifest, blobs) = image(layer, None);
    for blob in &blobs {
        let outcome = client.push_blob(repository, blob, &[]).await.unwrap();
        assert_eq!(outcome, PushOutcome::Uploaded);
    }
    let tag: launchway_model::Tag = "v1".parse().unwrap();
    let digest = client
        .put_manifest(
            repository,
            ManifestTarget::Tag(tag.clone()),
            MANIFEST,
            manifest,
        )
        .await
        .unwrap();
    let reference = repository.with_tag(tag);
    match client.probe(&reference).await {
        Probe::Present(found) => assert_eq!(found.digest, digest),
        other => panic!("{other:?}"),
    }
    reference
}

/// Runs another client; None with a word when this machine does not have it.
fn witness(tool: &str, arguments: &[&str]) -> Option<String> {
    let Some(mut command) = peers::tool(tool) else {
        assert!(std::env::var_os("CI").is_none(), "CI has to have {tool}");
        peers::skipped("a comparison", tool);
        return None;
    };
    let output = command.args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn what_we_push_others_pull() {
    let Some(registry) = registry() else { return };
    let client = client();
    let reference = push_image(&client, &fresh(&registry, "push"), &content(3_000_000)).await;
    let name = reference.to_string();
    let manifest = client.manifest(&reference).await.unwrap();
    if let Some(seen) = witness("crane", &["manifest", "--insecure", &name]) {
        assert_eq!(seen, manifest.bytes);
    }
    if let Some(seen) = witness("crane", &["digest", "--insecure", &name]) {
        assert_eq!(seen.trim(), manifest.digest.to_string());
    }
    let directory = tempfile::tempdir().unwrap();
    let target = format!("dir:{}", directory.path().display());
    let source = format!("docker://{name}");
    let copied = witness(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            &source,
            &target,
        ],
    );
    if copied.is_some() {
        let layer = directory.path().join(digest(&content(3_000_000)).hex());
        assert_eq!(std::fs::read(layer).unwrap(), content(3_000_000));
    }
}

#[tokio::test]
async fn what_others_copied_we_read() {
    let Some(registry) = registry() else { return };
    let target = fresh(&registry, "copied").with_tag("v1".parse().unwrap());
    let source = format!("{registry}/library/debian:bookworm-slim");
    let copied = witness(
        "crane",
        &["copy", "--insecure", &source, &target.to_string()],
    );
    if copied.is_none() {
        return;
    }
    let client = client();
    let ours = client.manifest(&target).await.unwrap();
    let theirs = client.manifest(&source.parse().unwrap()).await.unwrap();
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn what_others_pushed_we_pull() {
    let Some(registry) = registry() else { return };
    let client = client();
    let source: Reference = format!("{registry}/library/debian:bookworm-slim")
        .parse()
        .unwrap();
    let top = client.manifest(&source).await.unwrap();
    let index: Index = serde_json::from_slice(&top.bytes).unwrap();
    let platform: &Descriptor = &index.manifests[0];
    let manifest = client
        .manifest(
            &source
                .repository
                .with_digest(platform.digest.parse().unwrap()),
        )
        .await
        .unwrap();
    assert_eq!(manifest.bytes.len() as u64, platform.size);
    let manifest: Manifest = serde_json::from_slice(&manifest.bytes).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for layer in &manifest.layers {
        let to = directory.path().join("layer");
        client
            .pull_blob(
                &source.repository,
                &layer.digest.parse().unwrap(),
                layer.size,
                &to,
            )
            .await
            .unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), layer.size);
    }
    let config = client
        .read_blob(
            &source.repository,
            &manifest.config.digest.parse().unwrap(),
            1 << 20,
        )
        .await
        .unwrap();
    assert_eq!(config.len() as u64, manifest.config.size);
    let tags = client.tags(&source.repository).await.unwrap();
    assert!(tags.iter().any(|tag| tag.as_str() == "bookworm-slim"));
}

/// How many requests were made.
fn requests(told: &Mutex<Vec<ClientEvent>>) -> usize {
    let told = told.lock().unwrap();
    let requests = told.iter();
    requests
        .filter(|event| matches!(event, ClientEvent::Request { .. }))
        .count()
}

#[tokio::test]
async fn mounts_between_repositories() {
    let Some(registry) = registry() else { return };
    let (client, told) = client_with_events(options());
    let (one, two) = (fresh(&registry, "one"), fresh(&registry, "two"));
    let bytes = content(500_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let source = BlobSource {
        body: BlobBody::File(path),
        ..blob(&bytes)
    };
    let outcome = client.push_blob(&one, &source, &[]).await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    told.lock().unwrap().clear();
    let outcome = client
        .push_blob(&two, &source, std::slice::from_ref(&one))
        .await;
    assert_eq!(outcome, Ok(PushOutcome::Mounted));
    // The first upload was this client's own, so nobody is asked whether the blob is there.
    assert_eq!(requests(&told), 1, "a POST");
    let read = client
        .read_blob(&two, &source.digest, 1 << 20)
        .await
        .unwrap();
    assert_eq!(read, bytes);
    // A refused mount goes on as an upload.
    let other = blob(b"not in the first repository");
    let outcome = client.push_blob(&two, &other, &[one]).await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
}

#[tokio::test]
async fn referrers_by_the_tag() {
    let Some(registry) = registry() else { return };
    let client = client();
    let repository = fresh(&registry, "referrers");
    let subject = push_image(&client, &repository, b"subject").await;
    let subject = client.manifest(&subject).await.unwrap();
    let descriptor = format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":{}}}"#,
        subject.digest,
        subject.bytes.len()
    );
    let none = client.referrers(&repository, &subject.digest, None).await;
    assert_eq!(none, Ok(Vec::new()));
    let mut pushed = Vec::new();
    for layer in [b"signature".as_slice(), b"record"] {
        let (manifest, blobs) = image(layer, Some(&descriptor));
        for blob in &blobs {
            client.push_blob(&repository, blob, &[]).await.unwrap();
        }
        pushed.push(manifest);
    }
    let puts = pushed.iter().map(|manifest| {
        client.put_manifest(
            &repository,
            ManifestTarget::Digest,
            MANIFEST,
            manifest.clone(),
        )
    });
    let mut digests: Vec<String> = futures_util::future::join_all(puts)
        .await
        .into_iter()
        .map(|put| put.unwrap().to_string())
        .collect();
    let found = client
        .referrers(&repository, &subject.digest, None)
        .await
        .unwrap();
    let mut found: Vec<String> = found.into_iter().map(|found| found.digest).collect();
    found.sort();
    digests.sort();
    assert_eq!(found, digests);
}

#[tokio::test]
async fn two_hundred_probes() {
    let Some(registry) = registry() else { return };
    let (client, told) = client_with_events(options());
    let probes = (0..200).map(|at| {
        let tag = if at % 2 == 0 {
            "bookworm-slim".to_owned()
        } else {
            format!("none-{at}")
        };
        let reference: Reference = format!("{registry}/library/debian:{tag}").parse().unwrap();
        let client = client.clone();
        async move { (at, client.probe(&reference).await) }
    });
    for (at, probe) in futures_util::future::join_all(probes).await {
        match probe {
            Probe::Present(_) => assert_eq!(at % 2, 0),
            Probe::Absent => assert_eq!(at % 2, 1),
            Probe::Unknown(error) => panic!("{error}"),
        }
    }
    assert_eq!(requests(&told), 200, "one request for each");
}
