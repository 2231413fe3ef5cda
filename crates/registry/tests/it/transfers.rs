//! Whole transfers against registries that work: the embedded one, and the one that
//! `PEERS_REGISTRY` names, both through a proxy that counts and breaks.

use std::sync::Arc;

use bytes::Bytes;
use launchway_model::{Digest, Reference, Repository, Tag};
use launchway_oci::spec::{Index, Manifest, media};
use launchway_registry::{
    BlobBody, BlobSource, Client, ErrorClass, ManifestTarget, Probe, PushOutcome,
};
use launchway_registry_server::{Durability, Options, Registry, serve};
use launchway_testkit::peers;
use launchway_testkit::proxy::{Harm, Passed, Proxy, Rule};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::push::blob;
use crate::support::{MANIFEST, content, digest, options};

/// A registry that works, behind a proxy.
struct Behind {
    proxy: Proxy,
    /// The embedded one keeps what came of an upload that broke off; distribution 2 does not.
    keeps_parts: bool,
    server: Option<(JoinHandle<()>, TempDir)>,
}

impl Drop for Behind {
    fn drop(&mut self) {
        if let Some((task, _)) = &self.server {
            task.abort();
        }
    }
}

impl Behind {
    async fn embedded() -> Self {
        let root = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Process,
            ..Options::default()
        };
        let registry = Arc::new(Registry::open(root.path(), options).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            serve(listener, registry, std::future::pending())
                .await
                .unwrap();
        });
        Self {
            proxy: Proxy::start(&address, Vec::new()),
            keeps_parts: true,
            server: Some((task, root)),
        }
    }

    /// All there are on this machine.
    async fn all() -> Vec<Self> {
        let mut all = vec![Self::embedded().await];
        match peers::registry() {
            Some(address) => all.push(Self {
                proxy: Proxy::start(&address, Vec::new()),
                keeps_parts: false,
                server: None,
            }),
            None => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "CI has to set PEERS_REGISTRY"
                );
                peers::skipped("the other registry", "PEERS_REGISTRY");
            }
        }
        all
    }

    /// A repository that nobody else uses.
    fn fresh(&self, name: &str) -> Repository {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        format!("{}/transfers/{name}-{now}", self.proxy.host())
            .parse()
            .unwrap()
    }

    /// Methods and statuses of what was asked since the last time.
    fn passed(&self) -> Vec<Passed> {
        self.proxy.take_passed()
    }
}

fn count(passed: &[Passed], method: &str) -> usize {
    passed.iter().filter(|one| one.method == method).count()
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_breaks_off_comes_to_its_end() {
    let bytes = content(5_000_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let source = BlobSource {
        body: BlobBody::File(path),
        ..blob(&bytes)
    };
    for registry in Behind::all().await {
        let target = registry.fresh("broken");
        let put = |harm: Harm| Rule::new("PUT", "/blobs/uploads/", harm).times(1);
        registry
            .proxy
            .set_rules(vec![put(Harm::BreakUpload(3_000_000))]);
        let client = client();
        let outcome = client.push_blob(&target, &source, &[]).await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded));
        assert_eq!(registry.proxy.harmed(), 1);
        let passed = registry.passed();
        if registry.keeps_parts {
            // It went on: no second upload was begun.
            assert_eq!(count(&passed, "POST"), 1, "{passed:#?}");
        }
        let read = client.read_blob(&target, &source.digest, 8 << 20).await;
        assert!(read.unwrap() == bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_no_second_upload() {
    let source = blob(&content(100_000));
    for registry in Behind::all().await {
        let target = registry.fresh("lost");
        registry.proxy.set_rules(vec![
            Rule::new("PUT", "/blobs/uploads/", Harm::LoseAnswer).times(1),
        ]);
        let outcome = client().push_blob(&target, &source, &[]).await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded));
        let passed = registry.passed();
        let methods: Vec<&str> = passed.iter().map(|one| one.method.as_str()).collect();
        assert_eq!(methods, ["HEAD", "POST", "PUT", "HEAD"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_where_a_body_is_too_long() {
    let bytes = content(3_000_000);
    let source = blob(&bytes);
    for registry in Behind::all().await {
        let target = registry.fresh("chunks");
        let too_long = |method| Rule::new(method, "/blobs/uploads/", Harm::status(413));
        registry
            .proxy
            .set_rules(vec![too_long("PUT").times(1), too_long("PATCH").times(2)]);
        let client = client();
        let outcome = client.push_blob(&target, &source, &[]).await;
        assert_eq!(outcome, Ok(PushOutcome::Uploaded));
        // Half, a quarter, an eighth of it.
        let passed = registry.passed();
        assert_eq!(
            (count(&passed, "PATCH"), count(&passed, "PUT")),
            (2 + 7, 1 + 1)
        );
        let read = client.read_blob(&target, &source.digest, 8 << 20).await;
        assert!(read.unwrap() == bytes);
        // What was not that time is that time again: nothing is left to do.
        let again = client.push_blob(&target, &source, &[]).await;
        assert_eq!(again, Ok(PushOutcome::AlreadyThere));
    }
}

/// An index of two platforms, each with a layer and a configuration of its own.
async fn push_index(client: &Client, to: &Repository, tag: &Tag) -> Reference {
    let mut children = Vec::new();
    for (at, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        let layer = blob(&content(700_000 + at));
        let config = format!(r#"{{"architecture":"{architecture}","os":"linux"}}"#);
        let config = blob(config.as_bytes());
        for one in [&layer, &config] {
            client.push_blob(to, one, &[]).await.unwrap();
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            media::CONFIG,
            config.digest,
            config.size,
            media::LAYER_TAR,
            layer.digest,
            layer.size
        );
        let size = manifest.len();
        let digest = client
            .put_manifest(to, ManifestTarget::Digest, MANIFEST, Bytes::from(manifest))
            .await
            .unwrap();
        children.push(format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        ));
    }
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media::INDEX,
        children.join(",")
    );
    client
        .put_manifest(
            to,
            ManifestTarget::Tag(tag.clone()),
            media::INDEX,
            Bytes::from(index),
        )
        .await
        .unwrap();
    to.with_tag(tag.clone())
}

/// Copies an index and all its images, blobs by streams.
async fn copy(client: &Client, from: &Reference, to: &Repository, tag: &Tag) -> Vec<PushOutcome> {
    let top = client.manifest(from).await.unwrap();
    let index: Index = serde_json::from_slice(&top.bytes).unwrap();
    let source = &from.repository;
    let mut outcomes = Vec::new();
    for child in &index.manifests {
        let digest: Digest = child.digest.parse().unwrap();
        let image = client
            .manifest(&source.with_digest(digest.clone()))
            .await
            .unwrap();
        let manifest: Manifest = serde_json::from_slice(&image.bytes).unwrap();
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let digest: Digest = part.digest.parse().unwrap();
            let blob = BlobSource {
                body: BlobBody::Stream(client.blob_reader(source, &digest, part.size)),
                size: part.size,
                digest,
            };
            let mounts = std::slice::from_ref(source);
            outcomes.push(client.push_blob(to, &blob, mounts).await.unwrap());
        }
        let target = ManifestTarget::Exactly(digest);
        client
            .put_manifest(to, target, &image.media_type, image.bytes)
            .await
            .unwrap();
    }
    let target = ManifestTarget::Tag(tag.clone());
    client
        .put_manifest(to, target, &top.media_type, top.bytes.clone())
        .await
        .unwrap();
    let copied = client.manifest(&to.with_tag(tag.clone())).await.unwrap();
    assert_eq!(copied, top);
    outcomes
}

/// A thin reference client needs 18 requests for this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_two_platforms_between_repositories_is_ten_requests() {
    for registry in Behind::all().await {
        let (from, to) = (registry.fresh("from"), registry.fresh("to"));
        let source = push_index(&client(), &from, &tag("v1")).await;
        registry.passed();
        let outcomes = copy(&client(), &source, &to, &tag("v2")).await;
        assert_eq!(outcomes, [PushOutcome::Mounted; 4]);
        let passed = registry.passed();
        // Three manifests read, four blobs mounted, three manifests put, and one read to compare.
        assert_eq!(passed.len(), 10 + 1, "{passed:#?}");
        assert_eq!((count(&passed, "POST"), count(&passed, "PUT")), (4, 3));
    }
}

/// A thin reference client needs 29 requests for this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_two_platforms_between_registries_is_22_requests() {
    let from = Behind::embedded().await;
    let source = push_index(&client(), &from.fresh("from"), &tag("v1")).await;
    for registry in Behind::all().await {
        from.passed();
        let to = registry.fresh("to");
        let outcomes = copy(&client(), &source, &to, &tag("v1")).await;
        assert_eq!(outcomes, [PushOutcome::Uploaded; 4]);
        // Three manifests and four blobs.
        assert_eq!(from.passed().len(), 7);
        // Four questions, beginnings and bodies, three manifests, and one read to compare.
        assert_eq!(registry.passed().len(), 15 + 1);
    }
}

/// Both sides break off in the middle, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_survives_breaks_on_both_sides() {
    let from = Behind::embedded().await;
    let source = push_index(&client(), &from.fresh("from"), &tag("v1")).await;
    for registry in Behind::all().await {
        from.proxy.set_rules(vec![
            Rule::new("GET", "/blobs/", Harm::ResetDownload(200_000)).times(2),
        ]);
        registry.proxy.set_rules(vec![
            Rule::new("PUT", "/blobs/uploads/", Harm::BreakUpload(400_000)).times(1),
            Rule::new("PUT", "/manifests/", Harm::LoseAnswer).times(1),
        ]);
        let outcomes = copy(&client(), &source, &registry.fresh("to"), &tag("v1")).await;
        assert_eq!(outcomes, [PushOutcome::Uploaded; 4]);
        assert_eq!(registry.proxy.harmed(), 2);
        registry.passed();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digests_of_the_longer_kind() {
    let registry = Behind::embedded().await;
    let (client, target) = (client(), registry.fresh("long"));
    let bytes = content(300_000);
    let long = |bytes: &[u8]| -> Digest {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, bytes);
        Digest::sha512(hash.as_ref().try_into().unwrap())
    };
    let source = BlobSource {
        digest: long(&bytes),
        ..blob(&bytes)
    };
    let outcome = client.push_blob(&target, &source, &[]).await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    client
        .pull_blob(&target, &source.digest, source.size, &to)
        .await
        .unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes);
    let passed_on = BlobSource {
        body: BlobBody::Stream(client.blob_reader(&target, &source.digest, source.size)),
        ..source.clone()
    };
    let other = registry.fresh("other");
    let outcome = client.push_blob(&other, &passed_on, &[]).await;
    assert_eq!(outcome, Ok(PushOutcome::Uploaded));
    let manifest = Bytes::from(format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[]}}"#,
        media::CONFIG,
        source.digest,
        source.size
    ));
    let name = long(&manifest);
    let put = client
        .put_manifest(
            &target,
            ManifestTarget::Exactly(name.clone()),
            MANIFEST,
            manifest.clone(),
        )
        .await;
    assert_eq!(put, Ok(name.clone()));
    let read = client
        .manifest(&target.with_digest(name.clone()))
        .await
        .unwrap();
    assert_eq!((read.bytes, read.digest), (manifest.clone(), name));
    let wrong = ManifestTarget::Exactly(digest(b"something else"));
    let error = client
        .put_manifest(&target, wrong, MANIFEST, manifest)
        .await;
    assert!(error.unwrap_err().detail.contains("does not match"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_gone_or_not_ours_to_delete() {
    for registry in Behind::all().await {
        let (client, target) = (client(), registry.fresh("gone"));
        let reference = push_index(&client, &target, &tag("v1")).await;
        let layer = digest(&content(700_000));
        let top = client.manifest(&reference).await.unwrap();
        let index: Index = serde_json::from_slice(&top.bytes).unwrap();
        let by_digest = target.with_digest(top.digest);
        let child = target.with_digest(index.manifests[0].digest.parse().unwrap());
        let deleted = [
            client.delete(&reference).await,
            client.delete(&by_digest).await,
            client.delete(&child).await,
            client.delete_blob(&target, &layer).await,
        ];
        if registry.keeps_parts {
            assert_eq!(deleted, [const { Ok(()) }; 4]);
            assert_eq!(client.probe(&reference).await, Probe::Absent);
            assert_eq!(client.probe(&by_digest).await, Probe::Absent);
            assert_eq!(client.blob_exists(&target, &layer).await, Ok(false));
            let again = client.delete_blob(&target, &layer).await.unwrap_err();
            assert_eq!(again.class, ErrorClass::Missing);
        } else {
            // It knows no deleting of tags, and of the rest what it was set up for.
            let [by_tag, rest @ ..] = deleted;
            let error = by_tag.unwrap_err();
            assert!(error.detail.contains("by their digest only"), "{error}");
            for error in rest.into_iter().filter_map(Result::err) {
                assert_eq!(error.class, ErrorClass::Permanent, "{error}");
                assert!(error.detail.contains("switched off"), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_of_a_registry() {
    for registry in Behind::all().await {
        let (client, target) = (client(), registry.fresh("listed"));
        push_index(&client, &target, &tag("v1")).await;
        let found = client.catalog(target.host()).await.unwrap();
        assert!(found.contains(&target), "{found:?}");
    }
}
