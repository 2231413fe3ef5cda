//! `verify`: whether a finished release is on every registry as it should be.
//!
//! Every expected tag exists, a rolling tag that follows the release has its digest, every platform
//! is there, and what stands behind a release tag was made from the inputs it says.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};
use launchway_manifest::{Family, Image, Recipe, RegistryPrefix, TagValues};
use launchway_model::{Digest, Platform, Reference};
use launchway_oci::select_platform;
use launchway_oci::spec::{Index, media};
use launchway_plan::annotation;
use launchway_registry::{Client, ErrorClass, Probe};

use crate::prepare::Release;

/// What was found of one reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Good {
        digest: Digest,
    },
    /// It is not what it should be.
    Differs {
        why: String,
    },
    /// Nobody can tell.
    Unknown {
        why: String,
    },
}

/// One reference of a release.
#[derive(Clone, Debug)]
pub struct Verified {
    pub reference: Reference,
    pub rolling: bool,
    pub finding: Finding,
}

/// Looks at every tag of a release on every registry. With `rolling`, the tags that follow a
/// release must stand at this one.
pub async fn verify(
    client: &Client,
    family: &Family,
    registries: &[RegistryPrefix],
    release: &Release,
    platforms: Option<&[Platform]>,
    rolling: bool,
) -> Vec<Verified> {
    let version = &release.version;
    let text = version.to_string();
    let mut checks = Vec::new();
    for registry in registries {
        let about = |image: &&Image| {
            release
                .images
                .as_ref()
                .is_none_or(|images| images.contains(&image.name) || image.tags.is_empty())
        };
        for image in family.images.iter().filter(about) {
            let Ok(repository) = registry.repository(&image.repository.value) else {
                continue;
            };
            let own: Vec<Platform> = match platforms {
                Some(platforms) => platforms.to_vec(),
                None => image
                    .platforms
                    .iter()
                    .map(|platform| platform.value.clone())
                    .collect(),
            };
            let flavours: Vec<(Option<&str>, &str)> = if image.variants.is_empty() {
                vec![(None, "")]
            } else {
                image
                    .variants
                    .iter()
                    .map(|variant| (Some(variant.name.as_str()), variant.suffix.as_str()))
                    .collect()
            };
            for (variant, suffix) in flavours {
                let values = TagValues {
                    image: image.name.as_str(),
                    hash: None,
                    variant,
                    feature: None,
                    version: Some(&text),
                    suffix,
                };
                let release: Vec<Reference> = image
                    .tags
                    .iter()
                    .filter_map(|template| template.value.render(&values).ok())
                    .map(|tag| repository.with_tag(tag))
                    .collect();
                let follows: Vec<Reference> = image
                    .rolling
                    .iter()
                    .filter(|_| rolling && version.is_stable())
                    .filter_map(|template| template.value.render(&values).ok())
                    .map(|tag| repository.with_tag(tag))
                    .collect();
                let expected = Expected {
                    node: match variant {
                        Some(name) => format!("{}/{name}", image.name),
                        None => image.name.to_string(),
                    },
                    platforms: own.clone(),
                    // What an older recipe found published was pushed by another program.
                    annotated: variant.is_some() || matches!(image.recipe, Recipe::Tree { .. }),
                };
                checks.push((release, follows, expected));
            }
        }
    }
    let groups = stream::iter(checks)
        .map(|(release, follows, expected)| group(client, release, follows, expected))
        .buffered(8)
        .collect::<Vec<_>>()
        .await;
    groups.into_iter().flatten().collect()
}

/// What stands behind every tag of one variant.
struct Expected {
    node: String,
    platforms: Vec<Platform>,
    /// Whether it says what it was made from.
    annotated: bool,
}

/// Release tags of one variant, and the rolling tags that should share their digest.
async fn group(
    client: &Client,
    release: Vec<Reference>,
    follows: Vec<Reference>,
    expected: Expected,
) -> Vec<Verified> {
    let mut found = Vec::new();
    let mut digests: BTreeMap<Digest, Reference> = BTreeMap::new();
    for reference in release {
        let finding = one(client, &reference, &expected).await;
        let finding = match finding {
            Finding::Good { digest } => match digests.iter().next() {
                Some((other, first)) if *other != digest => Finding::Differs {
                    why: format!("it is {digest}, while {first} is {other}"),
                },
                _ => {
                    digests.insert(digest.clone(), reference.clone());
                    Finding::Good { digest }
                }
            },
            other => other,
        };
        found.push(Verified {
            reference,
            rolling: false,
            finding,
        });
    }
    for reference in follows {
        let finding = match (
            one(client, &reference, &expected).await,
            digests.iter().next(),
        ) {
            (Finding::Good { digest }, Some((released, first))) if digest != *released => {
                Finding::Differs {
                    why: format!("it is {digest}, while {first} is {released}"),
                }
            }
            (finding, _) => finding,
        };
        found.push(Verified {
            reference,
            rolling: true,
            finding,
        });
    }
    found
}

async fn one(client: &Client, reference: &Reference, expected: &Expected) -> Finding {
    let unknown = |why: String| Finding::Unknown { why };
    let manifest = match client.manifest(reference).await {
        Ok(manifest) => manifest,
        Err(error) if error.class == ErrorClass::Missing => {
            return Finding::Differs {
                why: "it does not exist".to_owned(),
            };
        }
        Err(error) => return unknown(error.to_string()),
    };
    let differs = |why: &str| Finding::Differs {
        why: why.to_owned(),
    };
    if !media::is_index(&manifest.media_type) {
        if expected.annotated {
            return differs("it is no index of platforms: Launchway did not publish it");
        }
        return Finding::Good {
            digest: manifest.digest,
        };
    }
    let Ok(index) = serde_json::from_slice::<Index>(&manifest.bytes) else {
        return differs("its index does not parse");
    };
    let annotations = index.annotations.clone().unwrap_or_default();
    if expected.annotated && !annotations.contains_key(annotation::INPUT_HASH) {
        return differs("it carries no input hash: Launchway did not publish it");
    }
    if let Some(node) = annotations.get(annotation::NODE)
        && *node != expected.node
    {
        return Finding::Differs {
            why: format!("it is {node}, expected {}", expected.node),
        };
    }
    for platform in &expected.platforms {
        let child = match select_platform(&index, platform) {
            Ok(child) => child,
            Err(error) => {
                return Finding::Differs {
                    why: error.to_string(),
                };
            }
        };
        let Ok(child) = child.digest.parse::<Digest>() else {
            return Finding::Differs {
                why: "its index is damaged".to_owned(),
            };
        };
        match client.probe(&reference.repository.with_digest(child)).await {
            Probe::Present(_) => {}
            Probe::Absent => {
                return Finding::Differs {
                    why: format!("its image for {platform} is missing"),
                };
            }
            Probe::Unknown(error) => return unknown(error.to_string()),
        }
    }
    Finding::Good {
        digest: manifest.digest,
    }
}
