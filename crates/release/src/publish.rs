//! Publishing: blobs, manifests, indexes and content tags; and copying from one registry to another.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use launchway_model::{Digest, Platform, Reference, Repository};
use launchway_oci::Origin;
use launchway_oci::spec::{Descriptor, Index, Manifest, media};
use launchway_plan::{Expect, Node, Role};
use launchway_registry::{BlobBody, BlobSource, ManifestTarget, Probe, PushOutcome};

use crate::artifact::{artifact, node_index};
use crate::error::ReleaseError;
use crate::event::Event;
use crate::graft::{PATH_INDEX, path_index};
use crate::images::Puller;
use crate::work::{Made, MadeLayer, Shop, Works};

/// How many bytes a push sent, and how many were there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    sent: u64,
    shared: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.shared += other.shared;
    }
}

/// Publishes a node that this plan made: all platforms, the index, the content tag last.
pub(crate) async fn push(
    shop: &Arc<Shop>,
    works: &Works,
    node: &Node,
    registry: usize,
    content_tag: &Reference,
    expect: &Expect,
) -> Result<Digest, ReleaseError> {
    let repository = content_tag.repository.clone();
    let pushes = node.platforms.iter().map(|platform| {
        let (shop, repository) = (Arc::clone(shop), repository.clone());
        let made = works.get(&node.id, platform);
        let base = base_of(works, node, platform);
        async move {
            let made = made.await?;
            let moved = push_image(&shop.puller, &made, &repository).await?;
            if let Some(base) = base {
                push_path_index(&shop, &*base.await?, &made, &repository).await?;
            }
            Ok::<_, ReleaseError>((made, moved))
        }
    });
    // The caller has waited until everything is made, so this is about sending alone.
    shop.tell(Event::PushStarted {
        node: node.id.clone(),
        registry: shop.plan.registries[registry].to_string(),
    });
    let started = Instant::now();
    let done = try_join_all(pushes).await?;
    let mut moved = Moved::default();
    let mut manifests = Vec::new();
    for ((made, bytes), platform) in done.iter().zip(&node.platforms) {
        moved += *bytes;
        manifests.push((platform.clone(), made.manifest.descriptor()));
    }
    let index = node_index(node, &manifests);
    put_tag(
        shop,
        content_tag,
        expect,
        &index.media_type,
        index.bytes.clone(),
        &index.digest,
    )
    .await?;
    let store = shop.puller.store();
    store.put_blob(&index.bytes)?;
    store.name_image(&content_tag.to_string(), &index.digest, Origin::Built)?;
    let document = (index.bytes.clone(), index.media_type.clone());
    documents(shop).insert(index.digest.clone(), document);
    shop.tell(Event::PushDone {
        node: node.id.clone(),
        registry: shop.plan.registries[registry].to_string(),
        reference: content_tag.clone(),
        digest: index.digest.clone(),
        sent: moved.sent,
        shared: moved.shared,
        took: started.elapsed(),
    });
    Ok(index.digest)
}

/// The base of a feature, whose path index is published with it.
fn base_of(works: &Works, node: &Node, platform: &Platform) -> Option<crate::work::SharedMade> {
    let (Role::Feature(_), launchway_plan::Make::Build(recipe)) = (&node.role, &node.make) else {
        return None;
    };
    recipe.base.as_ref().map(|(_, id)| works.get(id, platform))
}

pub(crate) async fn push_image(
    puller: &Puller,
    made: &Made,
    repository: &Repository,
) -> Result<Moved, ReleaseError> {
    let blobs = made
        .layers
        .iter()
        .map(|layer| push_layer(puller, layer, repository));
    let config = async {
        let source = BlobSource {
            digest: made.config_document.digest.clone(),
            size: made.config_document.bytes.len() as u64,
            body: BlobBody::Bytes(made.config_document.bytes.clone()),
        };
        let outcome = puller.client().push_blob(repository, &source, &[]).await?;
        Ok(moved(outcome, source.size))
    };
    let (layers, config) = futures_util::future::try_join(try_join_all(blobs), config).await?;
    let mut total: Moved = config;
    for layer in layers {
        total += layer;
    }
    let document = &made.manifest;
    let put = puller
        .client()
        .put_manifest(
            repository,
            ManifestTarget::Digest,
            &document.media_type,
            document.bytes.clone(),
        )
        .await?;
    debug_assert_eq!(
        put, document.digest,
        "the client verifies what the registry answers"
    );
    let store = puller.store();
    store.put_blob(&document.bytes)?;
    store.put_blob(&made.config_document.bytes)?;
    Ok(total)
}

async fn push_layer(
    puller: &Puller,
    layer: &MadeLayer,
    repository: &Repository,
) -> Result<Moved, ReleaseError> {
    let size = layer.descriptor.size;
    if layer.origin.as_ref() == Some(repository) {
        return Ok(Moved {
            sent: 0,
            shared: size,
        });
    }
    let digest: Digest = layer
        .descriptor
        .digest
        .parse()
        .map_err(|_| ReleaseError::Broken("a manifest names a damaged digest".to_owned()))?;
    let client = puller.client();
    if !puller.store().has_blob(&digest) {
        if client.blob_exists(repository, &digest).await? {
            return Ok(Moved {
                sent: 0,
                shared: size,
            });
        }
        let Some(origin) = &layer.origin else {
            return Err(ReleaseError::Broken(format!(
                "the blob {digest} vanished from the local store"
            )));
        };
        puller.blob(origin, &layer.descriptor).await?;
    }
    let source = BlobSource {
        body: BlobBody::File(puller.store().blob_path(&digest)),
        digest,
        size,
    };
    let mounts: Vec<Repository> = layer
        .origin
        .iter()
        .filter(|origin| origin.host() == repository.host())
        .cloned()
        .collect();
    Ok(moved(
        client.push_blob(repository, &source, &mounts).await?,
        size,
    ))
}

fn moved(outcome: PushOutcome, size: u64) -> Moved {
    match outcome {
        PushOutcome::Uploaded => Moved {
            sent: size,
            shared: 0,
        },
        PushOutcome::AlreadyThere | PushOutcome::Mounted => Moved {
            sent: 0,
            shared: size,
        },
    }
}

/// Publishes the index of a feature's paths as a referrer of its manifest.
async fn push_path_index(
    shop: &Arc<Shop>,
    base: &Made,
    made: &Made,
    repository: &Repository,
) -> Result<(), ReleaseError> {
    let index = path_index(shop, base, made).await?;
    let bytes = Bytes::from(index.encode());
    let blob = crate::artifact::Document::new(bytes.to_vec(), PATH_INDEX);
    let (empty, manifest) = artifact(
        PATH_INDEX,
        blob.descriptor(),
        Some(made.manifest.descriptor()),
        None,
    );
    let client = shop.puller.client();
    for document in [&blob, &empty] {
        let source = BlobSource {
            digest: document.digest.clone(),
            size: document.bytes.len() as u64,
            body: BlobBody::Bytes(document.bytes.clone()),
        };
        client.push_blob(repository, &source, &[]).await?;
    }
    client
        .put_manifest(
            repository,
            ManifestTarget::Digest,
            media::MANIFEST,
            manifest.bytes,
        )
        .await?;
    Ok(())
}

/// Writes a tag after making sure that it is as the plan found it. The same digest is success.
pub(crate) async fn put_tag(
    shop: &Arc<Shop>,
    reference: &Reference,
    expect: &Expect,
    media_type: &str,
    bytes: Bytes,
    digest: &Digest,
) -> Result<(), ReleaseError> {
    let client = shop.puller.client();
    let found = match client.probe(reference).await {
        Probe::Present(found) if found.digest == *digest => return Ok(()),
        Probe::Present(found) => Some(found.digest),
        Probe::Absent => None,
        Probe::Unknown(error) => return Err(error.into()),
    };
    let expected = match expect {
        Expect::Absent => None,
        Expect::Digest(digest) => Some(digest.clone()),
    };
    if found != expected {
        let word = |digest: Option<Digest>| {
            digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string())
        };
        return Err(ReleaseError::Moved {
            reference: reference.clone(),
            expected: word(expected),
            found: word(found),
        });
    }
    let tag = reference
        .tag
        .clone()
        .expect("planned references have a tag");
    client
        .put_manifest(
            &reference.repository,
            ManifestTarget::Tag(tag),
            media_type,
            bytes,
        )
        .await?;
    Ok(())
}

/// The exact bytes of a published index or manifest.
pub(crate) async fn exact(
    shop: &Arc<Shop>,
    repository: &Repository,
    digest: &Digest,
) -> Result<(Bytes, String), ReleaseError> {
    let known = documents(shop).get(digest).cloned();
    if let Some(document) = known {
        return Ok(document);
    }
    let manifest = shop.puller.manifest(repository, digest).await?;
    let document = (manifest.bytes, manifest.media_type);
    documents(shop).insert(digest.clone(), document.clone());
    Ok(document)
}

fn documents(shop: &Shop) -> MutexGuard<'_, BTreeMap<Digest, (Bytes, String)>> {
    let documents = shop.documents.lock();
    documents.expect("no holder of the documents panics")
}

/// Copies a node with everything that belongs to it from one registry to another, byte for byte.
pub(crate) async fn copy(
    shop: &Arc<Shop>,
    digest: &Digest,
    from: &Repository,
    content_tag: &Reference,
    expect: &Expect,
) -> Result<(), ReleaseError> {
    let to = &content_tag.repository;
    let (bytes, media_type) = exact(shop, from, digest).await?;
    if media::is_index(&media_type) {
        let index: Index = parse(&bytes, from)?;
        for child in &index.manifests {
            copy_manifest(shop, from, to, child).await?;
        }
    } else {
        copy_blobs(shop, from, to, &bytes).await?;
    }
    put_tag(shop, content_tag, expect, &media_type, bytes, digest).await
}

async fn copy_manifest(
    shop: &Arc<Shop>,
    from: &Repository,
    to: &Repository,
    child: &Descriptor,
) -> Result<(), ReleaseError> {
    let digest: Digest = child
        .digest
        .parse()
        .map_err(|_| ReleaseError::Broken(format!("an index in {from} is damaged")))?;
    let (bytes, media_type) = exact(shop, from, &digest).await?;
    copy_blobs(shop, from, to, &bytes).await?;
    let client = shop.puller.client();
    client
        .put_manifest(to, ManifestTarget::Digest, &media_type, bytes)
        .await?;
    for referrer in client.referrers(from, &digest, Some(PATH_INDEX)).await? {
        let Ok(digest) = referrer.digest.parse::<Digest>() else {
            continue;
        };
        let (bytes, media_type) = exact(shop, from, &digest).await?;
        copy_blobs(shop, from, to, &bytes).await?;
        client
            .put_manifest(to, ManifestTarget::Digest, &media_type, bytes)
            .await?;
    }
    Ok(())
}

async fn copy_blobs(
    shop: &Arc<Shop>,
    from: &Repository,
    to: &Repository,
    manifest: &Bytes,
) -> Result<(), ReleaseError> {
    let manifest: Manifest = parse(manifest, from)?;
    let copies = manifest
        .layers
        .iter()
        .chain([&manifest.config])
        .map(|blob| async move {
            let layer = MadeLayer {
                diff_id: String::new(),
                descriptor: blob.clone(),
                origin: Some(from.clone()),
            };
            push_layer(&shop.puller, &layer, to).await
        });
    join_all(copies)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(
    bytes: &Bytes,
    from: &Repository,
) -> Result<T, ReleaseError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ReleaseError::Broken(format!("a manifest in {from} does not parse: {error}"))
    })
}
