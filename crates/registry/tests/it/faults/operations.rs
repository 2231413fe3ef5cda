//! What the client is made to do, and how the world has to look when it says that it did.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use launchway_model::{Reference, Repository};
use launchway_registry::{
    BlobBody, BlobSource, Client, ManifestTarget, Probe, PushOutcome, RegistryError,
};
use launchway_testkit::sha256;

use crate::faults::model::{Model, Role};
use crate::support::{MANIFEST, content, digest};

/// How an operation that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Right,
    /// The client says that there is no such thing.
    Absent,
    /// The client says that all is well, and it is not.
    Wrong,
}

fn right(is: bool) -> Ended {
    if is { Ended::Right } else { Ended::Wrong }
}

/// One client and its registry.
pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) host: String,
    pub(super) model: Arc<Mutex<Model>>,
    /// Where downloads go.
    pub(super) directory: PathBuf,
}

impl Scene {
    fn repository(&self, path: &str) -> Repository {
        Repository::new(self.host.parse().unwrap(), path).unwrap()
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }

    fn holds(&self, repository: &str, bytes: &[u8]) -> bool {
        let key = (repository.to_owned(), sha256(bytes));
        let model = self.model.lock().unwrap();
        model.blobs.get(&key).is_some_and(|held| held == bytes)
    }

    async fn push(
        &self,
        body: BlobBody,
        bytes: &[u8],
        from: &[&str],
        want: &[PushOutcome],
    ) -> Result<Ended, RegistryError> {
        let from: Vec<Repository> = from.iter().map(|path| self.repository(path)).collect();
        let blob = BlobSource {
            digest: digest(bytes),
            size: bytes.len() as u64,
            body,
        };
        let target = self.repository("a");
        let outcome = self.client.push_blob(&target, &blob, &from).await?;
        // A lost answer may hide a finished upload.
        let expected = want.contains(&outcome) || outcome == PushOutcome::AlreadyThere;
        Ok(right(expected && self.holds("a", bytes)))
    }

    async fn put(&self, target: ManifestTarget, bytes: &[u8]) -> Result<Ended, RegistryError> {
        let name = match &target {
            ManifestTarget::Tag(tag) => Some(tag.to_string()),
            ManifestTarget::Digest | ManifestTarget::Exactly(_) => None,
        };
        let body = Bytes::copy_from_slice(bytes);
        let told = self
            .client
            .put_manifest(&self.repository("a"), target, MANIFEST, body)
            .await?;
        let model = self.model.lock().unwrap();
        let key = ("a".to_owned(), sha256(bytes));
        let by_digest = model.manifests.get(&key).is_some_and(|held| held == bytes);
        let by_tag = name.is_none_or(|name| {
            let held = model.manifest("a", &name);
            held.is_some_and(|held| held == bytes)
        });
        Ok(right(by_digest && by_tag && told == digest(bytes)))
    }

    async fn referrers(&self) -> Result<Ended, RegistryError> {
        let found = self
            .client
            .referrers(&self.repository("a"), &digest(&image()), None)
            .await?;
        if found.is_empty() {
            return Ok(Ended::Absent);
        }
        Ok(right(
            found
                .iter()
                .all(|entry| entry.digest == sha256(&referring())),
        ))
    }

    async fn probe(&self, reference: &Reference) -> Result<Ended, RegistryError> {
        match self.client.probe(reference).await {
            Probe::Present(found) => Ok(right(found.digest == digest(&image()))),
            Probe::Absent => Ok(Ended::Absent),
            Probe::Unknown(error) => Err(error),
        }
    }
}

/// What is in the registry at first.
pub(super) fn image() -> Vec<u8> {
    let config = sha256(&pulled());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{}}},"layers":[]}}"#,
        pulled().len()
    )
    .into_bytes()
}

/// Refers to the image.
fn referring() -> Vec<u8> {
    let subject = sha256(&image());
    let config = sha256(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[],"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":{}}}}}"#,
        image().len()
    )
    .into_bytes()
}

/// Not in the registry at first.
fn another_image() -> Vec<u8> {
    let text = String::from_utf8(image()).unwrap();
    text.replace(
        "\"layers\":[]",
        "\"layers\":[],\"annotations\":{\"a\":\"b\"}",
    )
    .into_bytes()
}

fn pulled() -> Vec<u8> {
    content(120_000)
}

fn pushed() -> Vec<u8> {
    content(90_000)
}

/// The world before anything goes wrong.
pub(super) fn world() -> Model {
    let mut model = Model::new();
    for tag in ["t1", "t2", "t3", "t4", "x"] {
        model.put("a", Some(tag), &image());
    }
    model.put_blob("a", &pulled());
    model.put_blob("b", &pushed());
    model
}

/// A registry without the list of referrers, where a tag stands in for it.
fn without_referrers(mut model: Model) -> Model {
    model.keeps_referrers = false;
    let entry = format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":{}}}"#,
        sha256(&referring()),
        referring().len()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entry}]}}"#,
        crate::support::INDEX
    );
    let tag = sha256(&image()).replace(':', "-");
    model.put("a", Some(&tag), index.as_bytes());
    model
}

type Run = for<'a> fn(&'a Scene) -> BoxFuture<'a, Result<Ended, RegistryError>>;

/// One thing the client does.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) world: fn() -> Model,
    pub(super) run: Run,
    /// The requests that faults are laid on; others make the same requests for the same reason.
    /// Empty: all but those for tokens.
    pub(super) roles: &'static [Role],
}

const fn operation(name: &'static str, world: fn() -> Model, run: Run) -> Operation {
    Operation {
        name,
        world,
        run,
        roles: &[],
    }
}

impl Operation {
    const fn only(mut self, roles: &'static [Role]) -> Self {
        self.roles = roles;
        self
    }
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    operation("ping", world, |scene| {
        Box::pin(async {
            let ping = scene.client.ping(&scene.host.parse().unwrap()).await?;
            Ok(right(ping.authenticated))
        })
    })
    .only(&[Role::Ping, Role::Token]),
    operation("probe a tag", world, |scene| {
        Box::pin(async { scene.probe(&scene.reference("a:x")).await })
    }),
    operation("probe a digest", world, |scene| {
        Box::pin(async {
            let reference = scene.repository("a").with_digest(digest(&image()));
            scene.probe(&reference).await
        })
    })
    .only(&[Role::HeadManifest]),
    operation("read a manifest by tag", world, |scene| {
        Box::pin(async {
            let found = scene.client.manifest(&scene.reference("a:x")).await?;
            Ok(right(
                found.bytes == image() && found.digest == digest(&image()),
            ))
        })
    }),
    operation("read a manifest by digest", world, |scene| {
        Box::pin(async {
            let reference = scene.repository("a").with_digest(digest(&image()));
            let found = scene.client.manifest(&reference).await?;
            Ok(right(found.bytes == image()))
        })
    }),
    operation("put a manifest by tag", world, |scene| {
        Box::pin(async {
            let tag = ManifestTarget::Tag("new".parse().unwrap());
            scene.put(tag, &another_image()).await
        })
    }),
    operation("put a manifest by digest", world, |scene| {
        Box::pin(async { scene.put(ManifestTarget::Digest, &another_image()).await })
    }),
    operation("put a referring manifest", world, |scene| {
        Box::pin(async {
            let put = scene.put(ManifestTarget::Digest, &referring()).await?;
            Ok(put)
        })
    }),
    operation(
        "put a referring manifest without a list",
        || without_referrers(world()),
        |scene| {
            Box::pin(async {
                let bytes = String::from_utf8(referring()).unwrap();
                let bytes = bytes.replace("\"layers\":[]", "\"layers\":[ ]");
                let put = scene.put(ManifestTarget::Digest, bytes.as_bytes()).await?;
                let model = scene.model.lock().unwrap();
                let tag = sha256(&image()).replace(':', "-");
                let listed = model.manifest("a", &tag).cloned().unwrap_or_default();
                let listed = String::from_utf8(listed.to_vec()).unwrap();
                let all = [sha256(bytes.as_bytes()), sha256(&referring())];
                let is_listed = all.iter().all(|digest| listed.contains(digest));
                Ok(if is_listed { put } else { Ended::Wrong })
            })
        },
    ),
    operation("pull a blob", world, |scene| {
        Box::pin(async {
            let (bytes, to) = (pulled(), scene.directory.join("blob"));
            scene
                .client
                .pull_blob(
                    &scene.repository("a"),
                    &digest(&bytes),
                    bytes.len() as u64,
                    &to,
                )
                .await?;
            Ok(right(std::fs::read(&to).is_ok_and(|held| held == bytes)))
        })
    }),
    operation("read a blob", world, |scene| {
        Box::pin(async {
            let bytes = scene
                .client
                .read_blob(&scene.repository("a"), &digest(&pulled()), 1_000_000)
                .await?;
            Ok(right(bytes == pulled()))
        })
    }),
    operation("push a blob from memory", world, |scene| {
        Box::pin(async {
            let body = BlobBody::Bytes(Bytes::from(pushed()));
            let want = [PushOutcome::Uploaded];
            scene.push(body, &pushed(), &[], &want).await
        })
    })
    .only(&[
        Role::Token,
        Role::HeadBlob,
        Role::BeginUpload,
        Role::FinishUpload,
    ]),
    operation("push a blob from a file", world, |scene| {
        Box::pin(async {
            let source = scene.directory.join("source");
            std::fs::write(&source, pushed()).unwrap();
            let body = BlobBody::File(source.clone());
            let want = [PushOutcome::Uploaded];
            let ended = scene.push(body, &pushed(), &[], &want).await;
            std::fs::remove_file(source).unwrap();
            ended
        })
    })
    .only(&[Role::FinishUpload]),
    operation("mount a blob", world, |scene| {
        Box::pin(async {
            let body = BlobBody::Bytes(Bytes::from(pushed()));
            let want = [PushOutcome::Mounted, PushOutcome::Uploaded];
            scene.push(body, &pushed(), &["b"], &want).await
        })
    })
    .only(&[Role::Mount]),
    operation(
        "mount a blob in vain",
        || {
            let mut model = world();
            model.mounts = false;
            model
        },
        |scene| {
            Box::pin(async {
                let body = BlobBody::Bytes(Bytes::from(pushed()));
                let want = [PushOutcome::Uploaded];
                scene.push(body, &pushed(), &["b"], &want).await
            })
        },
    )
    .only(&[Role::Mount]),
    operation("push a blob that is there", world, |scene| {
        Box::pin(async {
            let body = BlobBody::Bytes(Bytes::from(pulled()));
            let want = [PushOutcome::AlreadyThere, PushOutcome::Uploaded];
            scene.push(body, &pulled(), &[], &want).await
        })
    }),
    operation("ask for a blob", world, |scene| {
        Box::pin(async {
            let (target, digest) = (scene.repository("a"), digest(&pulled()));
            Ok(if scene.client.blob_exists(&target, &digest).await? {
                Ended::Right
            } else {
                Ended::Absent
            })
        })
    }),
    operation("list tags", world, |scene| {
        Box::pin(async {
            let tags = scene.client.tags(&scene.repository("a")).await?;
            let tags: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
            Ok(right(tags == ["t1", "t2", "t3", "t4", "x"]))
        })
    }),
    operation("list repositories", world, |scene| {
        Box::pin(async {
            let host = scene.host.parse().unwrap();
            let found = scene.client.catalog(&host).await?;
            let found: Vec<&str> = found.iter().map(Repository::path).collect();
            Ok(right(found == ["a", "b", "c"]))
        })
    }),
    operation(
        "list referrers",
        || {
            let mut model = world();
            model.put("a", None, &referring());
            model
        },
        |scene| Box::pin(async { scene.referrers().await }),
    ),
    operation(
        "list referrers by tag",
        || without_referrers(world()),
        |scene| Box::pin(async { scene.referrers().await }),
    ),
    operation("delete a tag", world, |scene| {
        Box::pin(async {
            scene.client.delete(&scene.reference("a:t1")).await?;
            let model = scene.model.lock().unwrap();
            Ok(right(model.manifest("a", "t1").is_none()))
        })
    }),
    operation("delete a manifest", world, |scene| {
        Box::pin(async {
            let reference = scene.repository("a").with_digest(digest(&image()));
            scene.client.delete(&reference).await?;
            let model = scene.model.lock().unwrap();
            Ok(right(model.manifest("a", "x").is_none()))
        })
    }),
];
