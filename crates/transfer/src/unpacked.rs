//! An image brought into the local store, unpacked, from wherever it is.

use std::fs::File;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use launchway_model::{Digest, Platform};
use launchway_oci::spec::{Descriptor, ImageConfig};
use launchway_oci::{Layer, Store, StoreError};

use crate::blob::{blocking, pour, write_checked};
use crate::look::{config_of, document, own_platform};
use crate::place::Place;
use crate::{Blob, Body, Document, Opened, TransferError, platforms_of};

/// How many layers come in at once.
const PARALLEL: usize = 3;

/// One image of one platform, with its layers in the store.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Of the image's manifest.
    pub digest: Digest,
    pub platform: Option<Platform>,
    pub config: ImageConfig,
    pub layers: Vec<Layer>,
    /// What each layer weighs as it travels, in bytes.
    pub sizes: Vec<u64>,
}

/// Brings an image's layers into the store: that of the platform that was asked for, else of the one
/// that is preferred, else the first. Layers that are there are not fetched.
pub async fn unpacked(
    opened: &Opened,
    platform: Option<&Platform>,
    preferred: &Platform,
    store: &Store,
) -> Result<Unpacked, TransferError> {
    let place = &*opened.place;
    let (found, config) = image(opened, platform, preferred).await?;
    let refused = |reason: &str| TransferError::Document {
        place: place.shown(),
        digest: found.digest().to_string(),
        reason: reason.to_owned(),
    };
    let Body::Manifest(manifest) = &found.body else {
        return Err(refused("there is no image in it"));
    };
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(refused(
            "its configuration and its manifest have different numbers of layers",
        ));
    }
    let layers = stream::iter(manifest.layers.iter().zip(&config.rootfs.diff_ids))
        .map(|(descriptor, diff_id)| layer(place, descriptor, diff_id, store))
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(Unpacked {
        digest: found.digest().clone(),
        platform: own_platform(&config),
        layers,
        sizes: manifest.layers.iter().map(|layer| layer.size).collect(),
        config,
    })
}

/// The manifest and the configuration of one image, chosen in the same way.
pub async fn image(
    opened: &Opened,
    platform: Option<&Platform>,
    preferred: &Platform,
) -> Result<(Document, ImageConfig), TransferError> {
    let root = document(opened, None).await?;
    let there = platforms_of(&root);
    let wanted = match (&root.body, platform) {
        (_, Some(platform)) => Some(platform),
        (Body::Manifest(_), None) => None,
        (Body::Index(_), None) => there
            .iter()
            .find(|platform| *platform == preferred)
            .or(there.first()),
    };
    let found = match wanted {
        Some(platform) => document(opened, Some(platform)).await?,
        None => root,
    };
    let config = config_of(&*opened.place, &found).await?;
    let config = config.ok_or_else(|| TransferError::Document {
        place: opened.place.shown(),
        digest: found.digest().to_string(),
        reason: "it is no image of files".to_owned(),
    })?;
    Ok((found, config))
}

async fn layer(
    place: &dyn Place,
    descriptor: &Descriptor,
    diff_id: &str,
    store: &Store,
) -> Result<Layer, TransferError> {
    let digest_of = |text: &str| {
        text.parse::<Digest>()
            .map_err(|error| TransferError::Document {
                place: place.shown(),
                digest: text.to_owned(),
                reason: format!("its digest is none: {error}"),
            })
    };
    let diff_id = digest_of(diff_id)?;
    if let Some(layer) = store.layer(&diff_id) {
        return Ok(layer);
    }
    let digest = digest_of(&descriptor.digest)?;
    if !store.has_blob(&digest) {
        let blob = Blob {
            body: place.blob(&digest, descriptor.size)?,
            digest: digest.clone(),
            size: descriptor.size,
            sibling: None,
        };
        let (store, wanted) = (store.clone(), digest.clone());
        pour(&blob, move |incoming| {
            let path = store.temp_path();
            let file = File::create(path.path()).map_err(|source| TransferError::Io {
                act: "make",
                path: path.path().to_owned(),
                source,
            })?;
            write_checked(incoming, file, path.path(), &wanted)?;
            store.adopt_blob(path.path(), &wanted).map_err(stored)
        })
        .await??;
    }
    let (store, media_type) = (store.clone(), descriptor.media_type.clone());
    let root = store.root().to_owned();
    blocking(&root, move || {
        store
            .import_layer(&digest, &media_type, &diff_id)
            .map_err(stored)
    })
    .await
}

fn stored(source: StoreError) -> TransferError {
    TransferError::Store(Box::new(source))
}
