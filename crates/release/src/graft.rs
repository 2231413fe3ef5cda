//! Grafting: a variant out of base layers and feature layers, with nothing run again, unless two
//! features change the same path.

use std::sync::Arc;

use futures_util::future::try_join_all;
use launchway_model::{Digest, Platform};
use launchway_oci::spec::{ImageConfig, Manifest};
use launchway_oci::{ConflictKind, PathIndex};
use launchway_plan::{GraftRecipe, NodeId};

use crate::chain::chain;
use crate::error::ReleaseError;
use crate::event::Event;
use crate::images::blocking;
use crate::merge::{Part, merge};
use crate::work::{Made, MadeLayer, Shop, documents};

/// The artifact type, and the media type of the blob, of a feature's path index.
pub(crate) const PATH_INDEX: &str = "application/vnd.launchway.path-index.v1";

/// A feature as it enters the graft: its own layers, and its configuration as if it stood alone on
/// the base.
pub(crate) struct Accepted {
    pub(crate) id: NodeId,
    pub(crate) index: Arc<PathIndex>,
    pub(crate) layers: Vec<MadeLayer>,
    pub(crate) config: ImageConfig,
}

pub(crate) async fn graft(
    shop: &Arc<Shop>,
    node: &NodeId,
    platform: &Platform,
    recipe: &GraftRecipe,
    base: &Made,
    features: &[(NodeId, Arc<Made>)],
) -> Result<Made, ReleaseError> {
    for (id, made) in features {
        if !made
            .config
            .rootfs
            .diff_ids
            .starts_with(&base.config.rootfs.diff_ids)
        {
            return Err(ReleaseError::Broken(format!(
                "{id} is not built on {}: its stage must start with `FROM {}`",
                recipe.base, recipe.base
            )));
        }
    }
    let indexes = try_join_all(
        features
            .iter()
            .map(|(_, made)| path_index(shop, base, made)),
    )
    .await?;
    let mut accepted: Vec<Accepted> = Vec::new();
    for ((id, made), index) in features.iter().zip(indexes) {
        let conflict = accepted.iter().find_map(|earlier| {
            PathIndex::conflicts(&[&earlier.index, &index])
                .map(|conflict| (earlier.id.to_string(), conflict))
        });
        let next = match conflict {
            None => Accepted {
                id: id.clone(),
                index,
                layers: made.layers[base.layers.len()..].to_vec(),
                config: made.config.clone(),
            },
            Some((first, conflict)) => {
                let path = String::from_utf8_lossy(&conflict.path).into_owned();
                let path = match conflict.why {
                    ConflictKind::Different => format!("/{path}"),
                    ConflictKind::Hidden => {
                        format!("/{path} (one removes or replaces what the other fills)")
                    }
                };
                shop.tell(Event::Conflict {
                    node: node.clone(),
                    platform: platform.clone(),
                    path,
                    first,
                    second: id.to_string(),
                });
                chain(shop, &recipe.base, id, platform, base, &accepted, made).await?
            }
        };
        accepted.push(next);
    }
    let parts: Vec<Part<'_>> = accepted
        .iter()
        .map(|one| Part {
            name: one.id.as_str(),
            config: &one.config,
        })
        .collect();
    let config = merge(&base.config, &parts, &recipe.overrides, &recipe.labels)?;
    let own = accepted.iter().flat_map(|one| one.layers.iter().cloned());
    documents(config, base.layers.iter().cloned().chain(own).collect())
}

/// The index of what a feature changed on its base: computed from its layers when they are here,
/// else the one that was published with it, so that nothing big is downloaded.
pub(crate) async fn path_index(
    shop: &Arc<Shop>,
    base: &Made,
    made: &Made,
) -> Result<Arc<PathIndex>, ReleaseError> {
    let index = {
        let mut indexes = shop
            .indexes
            .lock()
            .expect("no holder of the indexes panics");
        let index = indexes.entry(made.manifest.digest.clone()).or_default();
        Arc::clone(index)
    };
    let index = index
        .get_or_try_init(|| async { find_index(shop, base, made).await.map(Arc::new) })
        .await?;
    Ok(Arc::clone(index))
}

async fn find_index(shop: &Arc<Shop>, base: &Made, made: &Made) -> Result<PathIndex, ReleaseError> {
    let own = &made.layers[base.layers.len()..];
    let here = own.iter().all(|layer| {
        layer
            .diff_id
            .parse::<Digest>()
            .is_ok_and(|diff_id| shop.puller.store().layer(&diff_id).is_some())
    });
    if !here && let Some(index) = published_index(shop, made).await? {
        return Ok(index);
    }
    shop.local(made).await?;
    index_of_layers(shop, own).await
}

pub(crate) async fn index_of_layers(
    shop: &Arc<Shop>,
    layers: &[MadeLayer],
) -> Result<PathIndex, ReleaseError> {
    let store = shop.puller.store().clone();
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    blocking(move || {
        let mut indexes = Vec::new();
        for diff_id in &diff_ids {
            let diff_id: Digest = diff_id.parse().map_err(|_| {
                ReleaseError::Broken("a configuration names a damaged diff id".to_owned())
            })?;
            indexes.push(store.path_index(&diff_id)?);
        }
        Ok(PathIndex::stacked(&indexes.iter().collect::<Vec<_>>()))
    })
    .await
}

async fn published_index(shop: &Arc<Shop>, made: &Made) -> Result<Option<PathIndex>, ReleaseError> {
    let Some(repository) = made.layers.last().and_then(|layer| layer.origin.clone()) else {
        return Ok(None);
    };
    let puller = &shop.puller;
    let referrers = puller
        .referrers(&repository, &made.manifest.digest, PATH_INDEX)
        .await?;
    for referrer in referrers {
        let Ok(digest) = referrer.digest.parse::<Digest>() else {
            continue;
        };
        let manifest = puller.manifest(&repository, &digest).await?;
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest.bytes) else {
            continue;
        };
        let Some(digest) = manifest
            .layers
            .first()
            .and_then(|blob| blob.digest.parse::<Digest>().ok())
        else {
            continue;
        };
        let bytes = puller.small_blob(&repository, &digest, 64 << 20).await?;
        if let Ok(index) = PathIndex::decode(&bytes) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
