//! Looking at images where they are: the digest behind a name, and what an image is.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use launchway_model::{Digest, Platform};
use launchway_oci::spec::{Descriptor, ImageConfig, Index, Manifest, SpecPlatform};
use launchway_oci::{is_attestation, platform_of, select_platform};

use crate::blob::read_small;
use crate::place::{Name, Place};
use crate::select::{Choice, digest_of, resolve};
use crate::{Body, Document, Opened, TransferError};

/// How many documents are read at once.
const PARALLEL: usize = 8;

/// An image that was looked at.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What the name stands for.
    pub root: Document,
    /// The entries of an index, in its order.
    pub entries: Vec<Entry>,
    /// One image of it, in detail: that of the platform that was asked for, else of the one that is
    /// preferred, else the first. None for an index without images.
    pub image: Option<Image>,
    /// What refers to the root; none when the place could not tell.
    pub referrers: Option<Vec<Descriptor>>,
}

/// An entry of an index.
#[derive(Clone, Debug)]
pub struct Entry {
    pub descriptor: Descriptor,
    /// None for what is no image of a platform.
    pub platform: Option<Platform>,
    pub attestation: bool,
    /// The configuration and the layers, in bytes, as they are transferred.
    pub size: u64,
}

#[derive(Clone, Debug)]
pub struct Image {
    pub document: Document,
    pub platform: Option<Platform>,
    /// None for artifacts.
    pub config: Option<ImageConfig>,
    pub size: u64,
}

/// The digest behind a name: one question where the place knows it. With a platform, that of its
/// image.
pub async fn digest(opened: &Opened, platform: Option<&Platform>) -> Result<Digest, TransferError> {
    let Opened { place, name } = opened;
    if let Some(platform) = platform {
        let (root, choice) = choose(opened, platform).await?;
        return digest_of(&root, &choice).ok_or_else(|| TransferError::Document {
            place: place.shown(),
            digest: root.digest().to_string(),
            reason: "it points to something without a digest".to_owned(),
        });
    }
    match (place.probe(name).await?, place.repository()) {
        (Some(digest), _) => Ok(digest),
        (None, Some(repository)) => Err(TransferError::Missing {
            place: repository.to_string(),
            what: match name {
                Name::Tag(tag) => format!("tag {tag}"),
                name => name.to_string(),
            },
        }),
        // Asking for the document itself brings the error with what is there.
        (None, None) => Ok(place.manifest(name).await?.digest),
    }
}

/// The document behind a name, or that of one platform of it.
pub async fn document(
    opened: &Opened,
    platform: Option<&Platform>,
) -> Result<Document, TransferError> {
    let Some(platform) = platform else {
        let raw = opened.place.manifest(&opened.name).await?;
        return Document::read(raw, &opened.place.shown());
    };
    let (root, choice) = choose(opened, platform).await?;
    match digest_of(&root, &choice) {
        Some(digest) if digest != *root.digest() => {
            let raw = opened.place.manifest(&Name::Digest(digest)).await?;
            Document::read(raw, &opened.place.shown())
        }
        _ => Ok(root),
    }
}

async fn choose(opened: &Opened, platform: &Platform) -> Result<(Document, Choice), TransferError> {
    let place = &*opened.place;
    let root = Document::read(place.manifest(&opened.name).await?, &place.shown())?;
    let wanted = std::slice::from_ref(platform);
    check_platforms(place, &root, wanted).await?;
    let choice = resolve(&root, wanted, &place.shown())?;
    Ok((root, choice))
}

/// The exact bytes of an image's configuration.
pub async fn config_bytes(opened: &Opened, document: &Document) -> Result<Vec<u8>, TransferError> {
    match &document.body {
        Body::Manifest(manifest) => read_small(&*opened.place, &manifest.config).await,
        Body::Index(_) => Err(TransferError::NoPlatform {
            place: opened.place.shown(),
            wanted: vec!["no platform in particular".to_owned()],
            there: crate::platforms_of(document)
                .iter()
                .map(ToString::to_string)
                .collect(),
        }),
    }
}

/// The configuration of an image; None for what is none.
pub(crate) async fn config_of(
    place: &dyn Place,
    document: &Document,
) -> Result<Option<ImageConfig>, TransferError> {
    match &document.body {
        Body::Manifest(manifest) if document.is_image() => {
            let bytes = read_small(place, &manifest.config).await?;
            let config = serde_json::from_slice(&bytes);
            config.map(Some).map_err(|error| TransferError::Document {
                place: place.shown(),
                digest: manifest.config.digest.clone(),
                reason: format!("it is no configuration of an image: {error}"),
            })
        }
        _ => Ok(None),
    }
}

/// Whether a lone manifest is for the platforms that were asked for: its configuration says so, and
/// nothing else, by the same rules as for the entries of an index. An index is judged by its entries, elsewhere.
pub(crate) async fn check_platforms(
    place: &dyn Place,
    root: &Document,
    wanted: &[Platform],
) -> Result<(), TransferError> {
    if wanted.is_empty() || matches!(root.body, Body::Index(_)) {
        return Ok(());
    }
    let config = config_of(place, root).await?;
    let mut descriptor = root.descriptor();
    descriptor.platform = config.map(|config| SpecPlatform {
        architecture: config.architecture,
        os: config.os,
        variant: config.variant,
        os_version: None,
    });
    let found = platform_of(&descriptor);
    let index = Index {
        schema_version: 2,
        media_type: None,
        artifact_type: None,
        manifests: vec![descriptor],
        subject: None,
        annotations: None,
    };
    let missing: Vec<String> = wanted
        .iter()
        .filter(|platform| select_platform(&index, platform).is_err())
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(TransferError::NoPlatform {
        place: place.shown(),
        wanted: missing,
        there: found.iter().map(ToString::to_string).collect(),
    })
}

pub(crate) fn own_platform(config: &ImageConfig) -> Option<Platform> {
    let variant = config.variant.as_deref().filter(|text| !text.is_empty());
    Platform::new(&config.os, &config.architecture, variant).ok()
}

fn size_of(manifest: &Manifest) -> u64 {
    let layers: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
    manifest.config.size + layers
}

/// Looks at an image: what it is, for which platforms, how large, and one of them in detail.
pub async fn inspect(
    opened: &Opened,
    platform: Option<&Platform>,
    preferred: &Platform,
) -> Result<Inspected, TransferError> {
    let place = &*opened.place;
    let root = Document::read(place.manifest(&opened.name).await?, &place.shown())?;
    let wanted: Vec<Platform> = platform.into_iter().cloned().collect();
    check_platforms(place, &root, &wanted).await?;
    let choice = resolve(&root, &wanted, &place.shown())?;
    let referrers = async { place.referrers(root.digest()).await.ok() };
    let (documents, referrers) =
        futures_util::future::join(children(place, &root), referrers).await;
    let documents = documents?;
    let entries: Vec<Entry> = documents
        .iter()
        .map(|(descriptor, document)| Entry {
            platform: platform_of(descriptor),
            attestation: is_attestation(descriptor),
            size: match &document.body {
                Body::Manifest(manifest) => size_of(manifest),
                Body::Index(_) => descriptor.size,
            },
            descriptor: descriptor.clone(),
        })
        .collect();
    let chosen = match (&root.body, &choice) {
        (Body::Manifest(_), _) => Some(root.clone()),
        (Body::Index(_), Choice::Entry(entry)) => documents
            .iter()
            .find(|(descriptor, _)| descriptor.digest == entry.digest)
            .map(|(_, document)| document.clone()),
        (Body::Index(_), _) => {
            let images = || {
                documents
                    .iter()
                    .filter(|(one, _)| platform_of(one).is_some())
            };
            images()
                .find(|(one, _)| platform_of(one).as_ref() == Some(preferred))
                .or_else(|| images().next())
                .map(|(_, document)| document.clone())
        }
    };
    let image = match chosen {
        Some(document) => Some(image(place, document).await?),
        None => None,
    };
    Ok(Inspected {
        root,
        entries,
        image,
        referrers,
    })
}

async fn children(
    place: &dyn Place,
    root: &Document,
) -> Result<Vec<(Descriptor, Document)>, TransferError> {
    stream::iter(root.children())
        .map(|child| async move {
            let digest = child
                .digest
                .parse()
                .map_err(|error| TransferError::Document {
                    place: place.shown(),
                    digest: root.digest().to_string(),
                    reason: format!("it points to {:?}: {error}", child.digest),
                })?;
            let raw = place.manifest(&Name::Digest(digest)).await?;
            Ok((child.clone(), Document::read(raw, &place.shown())?))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await
}

async fn image(place: &dyn Place, document: Document) -> Result<Image, TransferError> {
    let config = config_of(place, &document).await?;
    Ok(Image {
        platform: config.as_ref().and_then(own_platform),
        size: match &document.body {
            Body::Manifest(manifest) => size_of(manifest),
            Body::Index(_) => 0,
        },
        config,
        document,
    })
}
