//! One plain Dockerfile, built for one or several platforms, outside of any family.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use launchway_context::Context;
use launchway_diagnostics::Diagnostic;
use launchway_dockerfile::{BuildInputs, CheckSettings, Dockerfile, resolve, resolve_knowing};
use launchway_engine::{
    BuildOptions, BuildRequest, Cancellation, EngineError, Event, Image, NativeEngine, Secrets,
};
use launchway_model::{Digest, Platform, Reference};
use launchway_oci::spec::{Annotations, Descriptor, media};
use launchway_registry::ManifestTarget;
use launchway_ssh::Agents;

use crate::artifact::{Document, annotated, index};
use crate::checks::{BaseImages, Watched, check_only, findings};
use crate::contexts::Contexts;
pub use crate::contexts::NamedContext;
use crate::error::ReleaseError;
use crate::images::{PinnedImages, Puller, blocking};
use crate::publish::push_image;
use crate::web::WebFiles;
use crate::work::{Made, Packing, made_of};

/// What to build.
pub struct SingleBuild {
    pub dockerfile: Dockerfile,
    pub context: Context,
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub platforms: Vec<Platform>,
    /// The platforms were asked for. Then images state them, whatever platform their last stage was
    /// made on.
    pub platform_is_asked: bool,
    /// The result is an index even of one platform.
    pub index: bool,
    pub build_platform: Platform,
    /// Names of FROM and `--from` that stand for something else.
    pub named: BTreeMap<String, NamedContext>,
    pub secrets: Secrets,
    pub agents: Agents,
    /// Which of BuildKit's build checks are made.
    pub checks: CheckSettings,
    pub options: BuildOptions,
}

impl SingleBuild {
    /// The settings for one platform; `names` are those of `named`.
    pub(crate) fn inputs<'a>(
        &'a self,
        platform: &'a Platform,
        names: &'a BTreeSet<String>,
    ) -> BuildInputs<'a> {
        BuildInputs {
            target: self.target.as_deref(),
            build_args: &self.build_args,
            platform,
            build_platform: &self.build_platform,
            named_contexts: names,
        }
    }

    /// The stages that the target needs, or what is wrong with them.
    pub fn stages(&self, platform: &Platform) -> Result<BTreeSet<usize>, Vec<Diagnostic>> {
        let names = self.named.keys().cloned().collect();
        let graph = resolve(&self.dockerfile, &self.inputs(platform, &names))?;
        Ok(graph.stages.iter().map(|stage| stage.index).collect())
    }
}

/// What came of it; its layers are in the local store.
pub struct SingleImage {
    images: Vec<(Platform, Image)>,
    index: bool,
    pub warnings: Vec<Diagnostic>,
}

/// Something to be said of the image in its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageAnnotation {
    pub place: AnnotationPlace,
    /// Of which platform; without one, of all.
    pub platform: Option<Platform>,
    pub key: String,
    pub value: String,
}

/// Where an annotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationPlace {
    Manifest,
    /// Where the index points to a manifest, or a layout to the image.
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

/// Where an image is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushTo {
    /// One without a tag gets `latest`, as with Docker.
    pub reference: Reference,
    /// No tag is written: the image is there under its digest.
    pub by_digest: bool,
}

/// A built image with its layers compressed and its documents written; all is in the local store.
pub struct PackedImage {
    /// The manifest, or the index when several platforms or one was asked for.
    pub descriptor: Descriptor,
    document: Document,
    made: Vec<(Platform, Made)>,
}

/// Builds every platform, one after the other.
pub async fn build(
    build: SingleBuild,
    puller: &Puller,
    engine: &NativeEngine,
    cancellation: &Cancellation,
    events: Arc<dyn Fn(Event) + Send + Sync>,
) -> Result<SingleImage, ReleaseError> {
    let build = Arc::new(build);
    let mut warnings = Vec::new();
    let mut images = Vec::new();
    if build.checks.error {
        refuse_findings(&build, puller).await?;
    }
    for platform in &build.platforms {
        let named = Contexts::new(
            Arc::clone(&build),
            puller.clone(),
            engine.clone(),
            cancellation.clone(),
        );
        let external = PinnedImages::new(puller.clone(), BTreeMap::new());
        let web = WebFiles::new();
        let (shared, engine, cancellation) =
            (Arc::clone(&build), engine.clone(), cancellation.clone());
        let (events, wanted) = (Arc::clone(&events), platform.clone());
        let (image, told) = blocking(move || {
            let names: BTreeSet<String> = shared.named.keys().cloned().collect();
            let inputs = shared.inputs(&wanted, &names);
            let watched = Watched::new(&external, &named);
            let mut known = BaseImages::new();
            let (graph, mut image) = loop {
                let graph = resolve_knowing(&shared.dockerfile, &inputs, &known)
                    .map_err(|problems| ReleaseError::Diagnosed(Arc::new(problems)))?;
                let request = BuildRequest {
                    file: &shared.dockerfile,
                    graph: &graph,
                    context: &shared.context,
                    build_args: &shared.build_args,
                    named: &watched,
                    images: &watched,
                    web: &web,
                    secrets: &shared.secrets,
                    agents: &shared.agents,
                    options: &shared.options,
                };
                match engine.build(&request, &cancellation, &*events) {
                    Ok(image) => break (graph, image),
                    // An image has triggers that need more than was known to be needed. What was done
                    // until now is in the cache.
                    Err(EngineError::Trigger(_)) if watched.seen() != known => {
                        known = watched.seen();
                    }
                    Err(error) => return Err(ReleaseError::engine("build the image")(error)),
                }
            };
            if shared.platform_is_asked {
                state_platform(&mut image, &wanted);
            }
            let seen = watched.seen();
            let stages = graph.stages.iter().map(|stage| stage.index).collect();
            let found = findings(&shared, &inputs, &stages, false, &seen);
            let found = found.iter().map(|finding| finding.diagnostic(false));
            Ok((
                image,
                graph.warnings.into_iter().chain(found).collect::<Vec<_>>(),
            ))
        })
        .await?;
        for warning in told {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        images.push((platform.clone(), image));
    }
    Ok(SingleImage {
        images,
        index: build.index,
        warnings,
    })
}

/// Says of an image that it is for a platform. A variant that nobody asked for is the base image's own.
fn state_platform(image: &mut Image, platform: &Platform) {
    let config = &mut image.config;
    let same = config.os == platform.os() && config.architecture == platform.architecture();
    if platform.variant().is_some() || !same {
        config.variant = platform.variant().map(str::to_owned);
    }
    platform.os().clone_into(&mut config.os);
    platform.architecture().clone_into(&mut config.architecture);
}

/// Where findings are errors, nothing is built with them.
async fn refuse_findings(build: &SingleBuild, puller: &Puller) -> Result<(), ReleaseError> {
    let Some(platform) = build.platforms.first() else {
        return Ok(());
    };
    let diagnosed = |problems| ReleaseError::Diagnosed(Arc::new(problems));
    let stages = build.stages(platform).map_err(diagnosed)?;
    let checked = check_only(build, platform, &stages, false, puller).await;
    if checked.findings.is_empty() {
        return Ok(());
    }
    let found = checked.findings.iter();
    Err(diagnosed(
        found.map(|finding| finding.diagnostic(true)).collect(),
    ))
}

impl SingleImage {
    /// The unpacked image of each platform.
    pub fn images(&self) -> &[(Platform, Image)] {
        &self.images
    }

    /// Whether it is an index: of several platforms, or where one was asked for.
    pub fn is_index(&self) -> bool {
        self.index || self.images.len() != 1
    }

    /// Compresses the layers and writes the documents.
    pub async fn pack(
        &self,
        puller: &Puller,
        packing: Packing,
        annotations: &[ImageAnnotation],
    ) -> Result<PackedImage, ReleaseError> {
        let store = puller.store();
        let at = |place, platform: Option<&Platform>| {
            let found: Annotations = annotations
                .iter()
                .filter(|one| one.place == place)
                .filter(|one| one.platform.is_none() || one.platform.as_ref() == platform)
                .map(|one| (one.key.clone(), one.value.clone()))
                .collect();
            (!found.is_empty()).then_some(found)
        };
        let mut made = Vec::new();
        let mut manifests = Vec::new();
        for (platform, image) in &self.images {
            let mut one = made_of(store, packing, image.clone(), &[]).await?;
            if let Some(found) = at(AnnotationPlace::Manifest, Some(platform)) {
                one.manifest = annotated(&one.manifest, found);
            }
            store.put_blob(&one.config_document.bytes)?;
            store.put_blob(&one.manifest.bytes)?;
            let descriptor = Descriptor {
                annotations: at(AnnotationPlace::ManifestDescriptor, Some(platform)),
                ..one.manifest.descriptor()
            };
            manifests.push((platform.clone(), descriptor));
            made.push((platform.clone(), one));
        }
        let (document, descriptor) = match (made.as_slice(), manifests.as_slice()) {
            ([(_, only)], [(_, descriptor)]) if !self.is_index() => {
                (only.manifest.clone(), descriptor.clone())
            }
            _ => {
                let document = index(&manifests, at(AnnotationPlace::Index, None));
                let descriptor = Descriptor {
                    annotations: at(AnnotationPlace::IndexDescriptor, None),
                    ..document.descriptor()
                };
                (document, descriptor)
            }
        };
        store.put_blob(&document.bytes)?;
        Ok(PackedImage {
            descriptor,
            document,
            made,
        })
    }
}

impl PackedImage {
    /// The digest of the manifest or index.
    pub fn digest(&self) -> &Digest {
        &self.document.digest
    }

    /// How many bytes each layer of one of the platforms has as it travels.
    pub fn layer_sizes(&self, platform: usize) -> Vec<u64> {
        let layers = self.made.get(platform).map(|(_, made)| &made.layers);
        let layers = layers.into_iter().flatten();
        layers.map(|layer| layer.descriptor.size).collect()
    }

    /// The digest of the configuration, of an image that is no index.
    pub fn config_digest(&self) -> Option<&Digest> {
        match self.made.as_slice() {
            [(_, only)] if !media::is_index(&self.document.media_type) => {
                Some(&only.config_document.digest)
            }
            _ => None,
        }
    }

    /// Pushes to every place.
    pub async fn push(&self, puller: &Puller, places: &[PushTo]) -> Result<(), ReleaseError> {
        for PushTo {
            reference,
            by_digest,
        } in places
        {
            try_join_all(
                self.made
                    .iter()
                    .map(|(_, made)| push_image(puller, made, &reference.repository)),
            )
            .await?;
            let target =
                match &reference.tag {
                    _ if *by_digest => ManifestTarget::Digest,
                    Some(tag) => ManifestTarget::Tag(tag.clone()),
                    None => ManifestTarget::Tag("latest".parse().map_err(|error| {
                        ReleaseError::Broken(format!("the default tag: {error}"))
                    })?),
                };
            debug_assert!(
                media::is_index(&self.document.media_type)
                    || media::is_manifest(&self.document.media_type)
            );
            puller
                .client()
                .put_manifest(
                    &reference.repository,
                    target,
                    &self.document.media_type,
                    self.document.bytes.clone(),
                )
                .await?;
        }
        Ok(())
    }
}
