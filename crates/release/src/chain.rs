//! A feature built on top of other features, because they change the same path.
//!
//! A chain is a node that only comes to light while a release runs. It is published under a content
//! tag of its own like every other, one per platform, so that the next machine finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use launchway_engine::Image;
use launchway_manifest::Overrides;
use launchway_model::{ContentHasher, InputHash, Platform, Reference, Tag};
use launchway_oci::spec::{Annotations, Manifest, media};
use launchway_plan::{BuildRecipe, Make, Node, NodeId, annotation};
use launchway_registry::{ManifestTarget, Probe};

use crate::artifact::annotated;
use crate::error::ReleaseError;
use crate::event::Event;
use crate::graft::{Accepted, index_of_layers};
use crate::merge::{Part, merge};
use crate::publish::push_image;
use crate::work::{Made, MadeLayer, Shop, documents, made_of};

/// The feature `id` on top of the base and the features before it; `alone` is what it is on the base.
pub(crate) async fn chain(
    shop: &Arc<Shop>,
    base_id: &NodeId,
    id: &NodeId,
    platform: &Platform,
    base: &Made,
    earlier: &[Accepted],
    alone: &Made,
) -> Result<Accepted, ReleaseError> {
    let feature = shop
        .plan
        .graph
        .node(id)
        .expect("the plan's nodes are in its graph");
    let (Make::Build(recipe), Some(hash)) = (
        &feature.make,
        chain_hash(shop, base_id, feature, platform, earlier),
    ) else {
        return Err(ReleaseError::Broken(format!(
            "{id} cannot be built on another feature"
        )));
    };
    let below = stacked(base, earlier)?;
    let tag = chain_tag(feature, &hash, platform)?;
    let made = match published(shop, feature, &tag, &hash, platform, &below).await {
        Some(made) => made,
        None => {
            let made = build(shop, feature, recipe, platform, &below).await?;
            publish(shop, feature, &tag, &hash, &made).await;
            made
        }
    };
    let own = made.layers[below.layers.len()..].to_vec();
    // The stage's instructions are the same, so its configuration is what it is alone; only its
    // layers differ.
    let mut config = alone.config.clone();
    config.rootfs.diff_ids = base.config.rootfs.diff_ids.clone();
    config
        .rootfs
        .diff_ids
        .extend(own.iter().map(|layer| layer.diff_id.clone()));
    config.history = base.config.history.clone();
    config.history.extend(
        made.config
            .history
            .iter()
            .skip(below.config.history.len())
            .cloned(),
    );
    shop.local(&made).await?;
    Ok(Accepted {
        id: id.clone(),
        index: Arc::new(index_of_layers(shop, &own).await?),
        layers: own,
        config,
    })
}

/// What the feature is built on: the base and the features before it.
fn stacked(base: &Made, earlier: &[Accepted]) -> Result<Made, ReleaseError> {
    let parts: Vec<Part<'_>> = earlier
        .iter()
        .map(|one| Part {
            name: one.id.as_str(),
            config: &one.config,
        })
        .collect();
    let config = merge(
        &base.config,
        &parts,
        &Overrides::default(),
        &BTreeMap::new(),
    )?;
    let own = earlier.iter().flat_map(|one| one.layers.iter().cloned());
    let layers: Vec<MadeLayer> = base.layers.iter().cloned().chain(own).collect();
    documents(config, layers)
}

async fn build(
    shop: &Arc<Shop>,
    feature: &Node,
    recipe: &BuildRecipe,
    platform: &Platform,
    below: &Made,
) -> Result<Made, ReleaseError> {
    let Some((name, _)) = &recipe.base else {
        return Err(ReleaseError::Broken(format!("{} has no base", feature.id)));
    };
    let local: Image = shop.local(below).await?;
    let image = shop
        .build(
            feature.id.clone(),
            recipe.clone(),
            platform.clone(),
            Some((name.to_string(), local)),
        )
        .await?;
    made_of(
        shop.puller.store(),
        shop.settings.compression.into(),
        image,
        &below.layers,
    )
    .await
}

/// Everything that decides what the chain is: the base, the features below in their order, the
/// feature itself, the platform.
fn chain_hash(
    shop: &Shop,
    base: &NodeId,
    feature: &Node,
    platform: &Platform,
    earlier: &[Accepted],
) -> Option<InputHash> {
    let mut hasher = ContentHasher::new("launchway/chain/1");
    let below = earlier.iter().map(|one| &one.id);
    for id in std::iter::once(base).chain(below).chain([&feature.id]) {
        hasher.field(id.as_str(), shop.plan.graph.node(id)?.hash.as_bytes());
    }
    hasher.text("platform", &platform.to_string());
    Some(hasher.finish())
}

/// The feature's content tag with the chain's hash in it, and the platform at its end.
fn chain_tag(feature: &Node, hash: &InputHash, platform: &Platform) -> Result<Tag, ReleaseError> {
    let own = feature
        .content_tag
        .as_str()
        .replace(&feature.hash.short(), &hash.short());
    let platform = platform.to_string().replace('/', "-");
    format!("{own}-{platform}")
        .parse()
        .map_err(|error| ReleaseError::Broken(format!("the content tag of a chain: {error}")))
}

/// The chain as a registry holds it, when one does and it was made from these inputs.
async fn published(
    shop: &Arc<Shop>,
    feature: &Node,
    tag: &Tag,
    hash: &InputHash,
    platform: &Platform,
    below: &Made,
) -> Option<Made> {
    for reference in references(shop, feature, tag) {
        let Probe::Present(found) = shop.puller.client().probe(&reference).await else {
            continue;
        };
        let pinned = reference.repository.with_digest(found.digest);
        let Ok(remote) = shop.puller.find(&pinned, platform).await else {
            continue;
        };
        let manifest: Option<Manifest> = serde_json::from_slice(&remote.manifest_bytes).ok();
        let annotations = manifest
            .and_then(|manifest| manifest.annotations)
            .unwrap_or_default();
        let same_inputs = annotations.get(annotation::INPUT_HASH) == Some(&hash.to_string());
        if same_inputs
            && remote
                .config
                .rootfs
                .diff_ids
                .starts_with(&below.config.rootfs.diff_ids)
        {
            return crate::work::reused(remote).ok();
        }
    }
    None
}

/// Publishes a chain for later releases. A registry that does not take it costs time then, and is no
/// reason to fail now.
async fn publish(shop: &Arc<Shop>, feature: &Node, tag: &Tag, hash: &InputHash, made: &Made) {
    let annotations = Annotations::from([
        (annotation::INPUT_HASH.to_owned(), hash.to_string()),
        (annotation::NODE.to_owned(), feature.id.to_string()),
    ]);
    let manifest = annotated(&made.manifest, annotations);
    for reference in references(shop, feature, tag) {
        // Whatever stands there already stays: a chain that is made anew every time is only slow.
        if shop.puller.client().probe(&reference).await != Probe::Absent {
            continue;
        }
        let put = async {
            push_image(&shop.puller, made, &reference.repository).await?;
            let target = ManifestTarget::Tag(tag.clone());
            shop.puller
                .client()
                .put_manifest(
                    &reference.repository,
                    target,
                    media::MANIFEST,
                    manifest.bytes.clone(),
                )
                .await?;
            Ok::<_, ReleaseError>(())
        };
        if let Err(error) = put.await {
            shop.tell(Event::Warning(format!(
                "{reference} was not kept for later releases: {error}"
            )));
        }
    }
}

fn references(shop: &Shop, feature: &Node, tag: &Tag) -> Vec<Reference> {
    let open = (0..shop.plan.registries.len()).filter(|registry| !shop.plan.is_degraded(*registry));
    open.map(|registry| shop.repository(registry, feature).with_tag(tag.clone()))
        .collect()
}
