//! A mirror, and an upstream that does as it is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use launchway_model::{Digest, Tag};
use launchway_oci::spec::Descriptor;
use launchway_registry_server::{
    Event, Options, Registry, Upstream, UpstreamBlob, UpstreamError, UpstreamManifest,
};
use launchway_testkit::sha256;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::{CONFIG, INDEX, MANIFEST, Reply, ask, descriptor, index, manifest, options};

/// Repository `app` of a registry, in memory.
struct Fake {
    state: Mutex<State>,
    blobs_asked: AtomicUsize,
    manifests_asked: AtomicUsize,
    /// A permit lets one piece of ten bytes through.
    gate: Semaphore,
}

#[derive(Default)]
struct State {
    down: bool,
    tags: HashMap<String, String>,
    manifests: HashMap<String, (&'static str, String)>,
    /// What is sent under a digest, right or wrong.
    blobs: HashMap<String, Vec<u8>>,
    referrers: Vec<Descriptor>,
}

impl Fake {
    fn with<T: Send + 'static>(
        &self,
        repository: &str,
        answer: impl FnOnce(&State) -> Option<T>,
    ) -> Result<Option<T>, UpstreamError> {
        let state = self.state.lock().unwrap();
        if state.down {
            return Err(UpstreamError("it is down".into()));
        }
        Ok((repository == "app").then(|| answer(&state)).flatten())
    }
}

#[derive(Clone)]
struct Handle(Arc<Fake>);

impl std::ops::Deref for Handle {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.0
    }
}

impl Upstream for Handle {
    fn name(&self) -> &str {
        "upstream.example"
    }

    fn is_called(&self, namespace: &str) -> bool {
        namespace == "upstream.example"
    }

    fn resolve<'a>(
        &'a self,
        repository: &'a str,
        tag: &'a Tag,
    ) -> BoxFuture<'a, Result<Option<Digest>, UpstreamError>> {
        let found = self.with(repository, |state| {
            let digest = state.tags.get(tag.as_str())?;
            Some(digest.parse().unwrap())
        });
        async { found }.boxed()
    }

    fn manifest<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<UpstreamManifest>, UpstreamError>> {
        self.manifests_asked.fetch_add(1, Ordering::Relaxed);
        let found = self.with(repository, |state| {
            let (media_type, text) = state.manifests.get(&digest.to_string())?;
            Some(UpstreamManifest {
                media_type: (*media_type).to_owned(),
                bytes: text.clone().into(),
            })
        });
        async { found }.boxed()
    }

    fn blob<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
        size: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<UpstreamBlob>, UpstreamError>> {
        let found = self.with(repository, |state| {
            state.blobs.get(&digest.to_string()).cloned()
        });
        let this = self.clone();
        async move {
            let Some(bytes) = found? else {
                return Ok(None);
            };
            let size = size.unwrap_or(bytes.len() as u64);
            let pieces: Vec<_> = bytes.chunks(10).map(Bytes::copy_from_slice).collect();
            let first = AtomicUsize::new(1);
            let pieces = stream::iter(pieces).then(move |piece| {
                let this = this.clone();
                this.blobs_asked
                    .fetch_add(first.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                async move {
                    this.gate.acquire().await.unwrap().forget();
                    Ok(piece)
                }
            });
            let pieces = pieces.boxed();
            Ok(Some(UpstreamBlob { size, pieces }))
        }
        .boxed()
    }

    fn tags<'a>(
        &'a self,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<Tag>>, UpstreamError>> {
        let found = self.with(repository, |state| {
            Some(state.tags.keys().map(|tag| tag.parse().unwrap()).collect())
        });
        async { found }.boxed()
    }

    fn referrers<'a>(
        &'a self,
        repository: &'a str,
        _: &'a Digest,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, UpstreamError>> {
        let found = self.with(repository, |state| Some(state.referrers.clone()));
        async { found.map(Option::unwrap_or_default) }.boxed()
    }
}

struct Mirrored {
    directory: TempDir,
    upstream: Handle,
    registry: Registry,
    warned: Arc<Mutex<Vec<String>>>,
}

impl Mirrored {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let upstream = Handle(Arc::new(Fake {
            state: Mutex::default(),
            blobs_asked: AtomicUsize::new(0),
            manifests_asked: AtomicUsize::new(0),
            gate: Semaphore::new(1_000_000),
        }));
        let warned = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&warned);
        let options = Options {
            mirror: Some(Arc::new(upstream.clone())),
            events: Some(Arc::new(move |event| {
                if let Event::Warned { reason } = event {
                    sink.lock().unwrap().push(reason);
                }
            })),
            ..options()
        };
        let registry = Registry::open(&directory.path().join("root"), options).unwrap();
        Self {
            directory,
            upstream,
            registry,
            warned,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.upstream.state.lock().unwrap()
    }

    fn blob(&self, bytes: &str) -> String {
        let digest = sha256(bytes.as_bytes());
        self.state().blobs.insert(digest.clone(), bytes.into());
        digest
    }

    fn put(&self, tag: &str, media_type: &'static str, text: &str) -> String {
        let digest = sha256(text.as_bytes());
        let mut state = self.state();
        state
            .manifests
            .insert(digest.clone(), (media_type, text.to_owned()));
        state.tags.insert(tag.to_owned(), digest.clone());
        digest
    }

    /// An image under a tag upstream: its manifest and its layer.
    fn image(&self, tag: &str, layer: &str) -> (String, String) {
        let config = self.blob("{}");
        let layer_digest = self.blob(layer);
        let text = manifest(&config, 2, &[(&layer_digest, layer.len())], "");
        self.put(tag, MANIFEST, &text);
        (text, layer_digest)
    }

    async fn get(&self, path: &str) -> Reply {
        ask(&self.registry, "GET", path, &[], "").await
    }
}

#[tokio::test]
async fn what_is_asked_for_is_fetched_and_kept() {
    let mirrored = Mirrored::new();
    let (child, layer) = mirrored.image("one", "a layer of the one image");
    let all = index(&[descriptor(MANIFEST, &child)], "");
    mirrored.put("v1", INDEX, &all);
    for round in 0..2 {
        let got = mirrored.get("/v2/app/manifests/v1").await;
        assert_eq!((got.status.as_u16(), got.body), (200, all.clone().into()));
        assert_eq!(got.headers.get("warning"), None);
        let path = format!("/v2/app/manifests/{}", sha256(child.as_bytes()));
        assert_eq!(mirrored.get(&path).await.body, child);
        let blob = mirrored.get(&format!("/v2/app/blobs/{layer}")).await;
        assert_eq!(blob.body, "a layer of the one image");
        // Kept when the client has it; verified before the last byte went out.
        assert_eq!(mirrored.upstream.blobs_asked.load(Ordering::Relaxed), 1);
        assert_eq!(mirrored.upstream.manifests_asked.load(Ordering::Relaxed), 2);
        if round == 0 {
            let kept = mirrored
                .directory
                .path()
                .join("root/repositories/app/blobs/sha256");
            assert!(kept.join(&layer[7..]).exists());
        }
    }
    mirrored.state().down = true;
    let got = mirrored.get("/v2/app/manifests/v1").await;
    assert_eq!(got.body, all);
    assert_eq!(got.header("warning"), "110 - \"Response is Stale\"");
    let blob = mirrored.get(&format!("/v2/app/blobs/{layer}")).await;
    assert_eq!(blob.status, 200);
    let told = mirrored.warned.lock().unwrap().join("\n");
    assert!(told.contains("app:v1 is served as it was") && told.contains("it is down"));
}

#[tokio::test]
async fn tags_are_what_they_are_upstream() {
    let mirrored = Mirrored::new();
    let (first, _) = mirrored.image("v1", "first");
    assert_eq!(mirrored.get("/v2/app/manifests/v1").await.body, first);
    let (second, _) = mirrored.image("v1", "second");
    mirrored.image("v2", "third");
    assert_eq!(mirrored.get("/v2/app/manifests/v1").await.body, second);
    // And back again, to what is here already.
    let back = sha256(first.as_bytes());
    mirrored.state().tags.insert("v1".into(), back);
    assert_eq!(mirrored.get("/v2/app/manifests/v1").await.body, first);
    assert_eq!(mirrored.upstream.manifests_asked.load(Ordering::Relaxed), 2);
    let tags = mirrored.get("/v2/app/tags/list?n=1").await;
    assert_eq!(tags.json()["tags"], serde_json::json!(["v1"]));
    assert!(tags.header("link").contains("last=v1"));
    mirrored.state().tags.remove("v1");
    mirrored
        .get("/v2/app/manifests/v1")
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    mirrored.state().down = true;
    let tags = mirrored.get("/v2/app/tags/list").await;
    assert_eq!(
        tags.json()["tags"],
        serde_json::json!(["v1"]),
        "what is here"
    );
    assert!(tags.headers.contains_key("warning"));
}

#[tokio::test]
async fn what_upstream_lacks_or_garbles_is_not_served() {
    let mirrored = Mirrored::new();
    let wrong = sha256(b"right");
    mirrored
        .state()
        .blobs
        .insert(wrong.clone(), b"wrong".into());
    let text = manifest(&sha256(b"{}"), 2, &[], "");
    let digest = sha256(text.as_bytes());
    mirrored
        .state()
        .manifests
        .insert(digest.clone(), (MANIFEST, text.replace('2', "3")));
    for (path, status, code) in [
        ("/v2/app/manifests/none".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/other/manifests/v1".into(), 404, "MANIFEST_UNKNOWN"),
        (
            format!("/v2/app/blobs/{}", sha256(b"no")),
            404,
            "BLOB_UNKNOWN",
        ),
        (format!("/v2/app/manifests/{digest}"), 502, "UNKNOWN"),
        ("/v2/other/tags/list".into(), 404, "NAME_UNKNOWN"),
    ] {
        mirrored.get(&path).await.refused(status, code);
    }
    // All but the last byte may come; the whole never does, and nothing is kept.
    let path = format!("/v2/app/blobs/{wrong}");
    for _ in 0..2 {
        let request = http::Request::get(&path).body(http_body_util::Empty::<Bytes>::new());
        let answer = mirrored.registry.handle(request.unwrap()).await;
        assert_eq!(answer.headers()["content-length"], "5");
        answer.into_body().collect().await.expect_err("it is wrong");
    }
    let root = mirrored.directory.path().join("root");
    assert!(crate::support::files(&root.join("blobs")).is_empty());
    mirrored.state().down = true;
    mirrored
        .get("/v2/app/manifests/v1")
        .await
        .refused(502, "UNKNOWN");
    mirrored.get(&path).await.refused(502, "UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_it_is_fetched_shares_it() {
    let mirrored = Mirrored::new();
    let layer = "0123456789".repeat(3);
    let digest = mirrored.blob(&layer);
    mirrored.upstream.gate.forget_permits(1_000_000);
    let path = format!("/v2/app/blobs/{digest}");
    let open = async |range: &str| {
        let request = http::Request::get(&path)
            .header("range", range)
            .body(http_body_util::Empty::<Bytes>::new());
        mirrored.registry.handle(request.unwrap()).await
    };
    let (first, second, part) = (open("").await, open("").await, open("bytes=25-27").await);
    assert_eq!(part.status(), 206);
    // Asked for its head, it answers before any of it is here, and fetches nothing more.
    let head = ask(&mirrored.registry, "HEAD", &path, &[], "").await;
    assert_eq!(head.header("content-length"), "30");
    mirrored.upstream.gate.add_permits(3);
    let whole = async |answer: http::Response<launchway_registry_server::Body>| {
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    // Who leaves takes nothing with them.
    drop(first);
    assert_eq!(whole(part).await, "567");
    assert_eq!(whole(second).await, layer);
    assert_eq!(mirrored.upstream.blobs_asked.load(Ordering::Relaxed), 1);
    assert_eq!(mirrored.get(&path).await.body, layer);
    assert_eq!(mirrored.upstream.blobs_asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_mirror_takes_nothing_in_and_knows_its_name() {
    let mirrored = Mirrored::new();
    mirrored.image("v1", "x");
    for (method, path) in [
        ("PUT", "/v2/app/manifests/v1"),
        ("POST", "/v2/app/blobs/uploads/"),
        ("DELETE", "/v2/app/manifests/v1"),
    ] {
        let reply = ask(&mirrored.registry, method, path, &[], "").await;
        reply.refused(405, "UNSUPPORTED");
    }
    for (namespace, status) in [("upstream.example", 200), ("docker.io", 404), ("", 200)] {
        let path = format!("/v2/app/manifests/v1?ns={namespace}");
        assert_eq!(mirrored.get(&path).await.status, status, "{namespace}");
    }
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_asked_upstream() {
    let mirrored = Mirrored::new();
    let about = |salt: &str, kind: &str| Descriptor {
        media_type: MANIFEST.into(),
        digest: sha256(salt.as_bytes()),
        size: 1,
        artifact_type: Some(kind.into()),
        annotations: None,
        platform: None,
    };
    mirrored.state().referrers = vec![about("1", "a/b"), about("2", CONFIG)];
    let path = format!("/v2/app/referrers/{}", sha256(b"x"));
    let all = mirrored.get(&path).await.json();
    assert_eq!(all["manifests"].as_array().unwrap().len(), 2);
    let some = mirrored
        .get(&format!("{path}?artifactType=a/b"))
        .await
        .json();
    assert_eq!(some["manifests"][0]["digest"], sha256(b"1"));
    assert_eq!(some["manifests"].as_array().unwrap().len(), 1);
    mirrored.state().down = true;
    let none = mirrored.get(&path).await;
    assert_eq!(none.json()["manifests"], serde_json::json!([]));
    assert!(none.headers.contains_key("warning"));
}
