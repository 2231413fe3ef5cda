//! Making nodes: every node and platform is one future, shared by everyone who needs its result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, try_join_all};
use launchway_engine::{
    BuildOptions, BuildRequest, Cancellation, HostCa, Image, NativeEngine, Secrets,
};
use launchway_manifest::Overrides;
use launchway_model::{Digest, Platform, Repository, StepLimits};
use launchway_oci::spec::{Descriptor, ImageConfig};
use launchway_oci::{Compression, PathIndex, Store, StoreError};
use launchway_plan::{BuildRecipe, Make, Node, NodeId, NodeState, Plan};
use launchway_ssh::Agents;
use tokio::sync::{OnceCell, Semaphore};

use crate::artifact::{Document, image_documents};
use crate::error::ReleaseError;
use crate::event::Event;
use crate::images::{PinnedImages, Puller, RemoteImage, blocking};
use crate::project::Project;
use crate::web::WebFiles;
use crate::{graft, neutral};

/// How nodes are built, apart from what the plan says.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    pub host_ca: Option<HostCa>,
    pub epoch: Option<i64>,
    /// Whether the epoch is `SOURCE_DATE_EPOCH`, rather than the commit's time.
    pub epoch_is_asked: bool,
    pub created: Option<String>,
    pub no_cache: bool,
    pub network: launchway_sandbox::Network,
    pub timeout: Option<Duration>,
    pub limits: StepLimits,
    pub no_new_privileges: bool,
    pub compression: Compression,
    pub secrets: Secrets,
    pub agents: Agents,
    /// How many builds run at once.
    pub jobs: usize,
}

/// The image of a node on one platform.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) config: ImageConfig,
    pub(crate) config_document: Document,
    pub(crate) manifest: Document,
    pub(crate) layers: Vec<MadeLayer>,
}

/// A layer as it travels.
#[derive(Clone, Debug)]
pub(crate) struct MadeLayer {
    pub(crate) diff_id: String,
    pub(crate) descriptor: Descriptor,
    /// The repository that is known to have it, when it came from there.
    pub(crate) origin: Option<Repository>,
}

pub(crate) type SharedMade = Shared<BoxFuture<'static, Result<Arc<Made>, ReleaseError>>>;

/// Everything the parts of a release share.
pub(crate) struct Shop {
    pub(crate) plan: Arc<Plan>,
    pub(crate) project: Arc<Project>,
    pub(crate) puller: Puller,
    pub(crate) engine: NativeEngine,
    pub(crate) settings: BuildSettings,
    pub(crate) cancellation: Cancellation,
    pub(crate) events: Arc<dyn Fn(Event) + Send + Sync>,
    pub(crate) state: PathBuf,
    /// Indexes and manifests that were read or written in this run, by digest, with their media
    /// types: what stands under a digest never changes.
    pub(crate) documents: Mutex<BTreeMap<Digest, (Bytes, String)>>,
    /// The path indexes of features, by the digest of their manifest on the base; whoever needs one
    /// first makes it for all.
    pub(crate) indexes: Mutex<BTreeMap<Digest, Arc<OnceCell<Arc<PathIndex>>>>>,
    jobs: Semaphore,
}

impl Shop {
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of the struct, gathered once"
    )]
    pub(crate) fn new(
        plan: Arc<Plan>,
        project: Arc<Project>,
        puller: Puller,
        engine: NativeEngine,
        settings: BuildSettings,
        cancellation: Cancellation,
        events: Arc<dyn Fn(Event) + Send + Sync>,
        state: PathBuf,
    ) -> Self {
        let jobs = Semaphore::new(settings.jobs.max(1));
        Self {
            plan,
            project,
            puller,
            engine,
            settings,
            cancellation,
            events,
            state,
            documents: Mutex::default(),
            indexes: Mutex::default(),
            jobs,
        }
    }

    /// Waits until there is room for one more thing that keeps a processor busy.
    pub(crate) async fn turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.jobs
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.events)(event);
    }

    pub(crate) fn repository(&self, registry: usize, node: &Node) -> Repository {
        self.plan.registries[registry]
            .repository(&node.repository)
            .expect("planning has checked every repository")
    }

    /// The image with all its layers in the local store.
    pub(crate) async fn local(&self, made: &Made) -> Result<Image, ReleaseError> {
        let layers = try_join_all(made.layers.iter().map(|layer| async move {
            let diff_id: Digest = layer.diff_id.parse().map_err(|_| {
                ReleaseError::Broken("a configuration names a damaged diff id".to_owned())
            })?;
            match (self.puller.store().layer(&diff_id), &layer.origin) {
                (Some(layer), _) => Ok(layer),
                (None, Some(origin)) => {
                    self.puller
                        .layer(origin, &layer.descriptor, &layer.diff_id)
                        .await
                }
                (None, None) => Err(ReleaseError::Broken(format!(
                    "the layer {diff_id} vanished from the local store"
                ))),
            }
        }))
        .await?;
        Ok(Image {
            config: made.config.clone(),
            layers,
            inherited: 0,
        })
    }

    /// Runs the Dockerfile of a node on top of `base`.
    pub(crate) async fn build(
        self: &Arc<Self>,
        node: NodeId,
        recipe: BuildRecipe,
        platform: Platform,
        base: Option<(String, Image)>,
    ) -> Result<Image, ReleaseError> {
        let shop = Arc::clone(self);
        let _turn = self.turn().await;
        if self.cancellation.is_cancelled() {
            return Err(ReleaseError::Cancelled);
        }
        let owner = self
            .plan
            .graph
            .node(&node)
            .expect("the plan's nodes are in its graph");
        let pins = owner.pins.bases.clone();
        let image = owner.image.clone();
        let images = PinnedImages::new(self.puller.clone(), pins);
        let web = WebFiles::new();
        blocking(move || {
            let source = shop.project.source(&image)?;
            let graph = shop.project.stage_graph(
                &image,
                recipe.target.as_deref(),
                &recipe.args,
                &platform,
            )?;
            let options = BuildOptions {
                host_ca: shop.settings.host_ca.clone(),
                epoch: shop.settings.epoch,
                epoch_is_asked: shop.settings.epoch_is_asked,
                created: shop.settings.created.clone(),
                created_by_steps: false,
                no_cache: shop.settings.no_cache,
                no_cache_stages: BTreeSet::new(),
                unpinned_urls: false,
                network: shop.settings.network,
                host_network: shop.settings.network == launchway_sandbox::Network::Host,
                timeout: shop.settings.timeout,
                limits: shop.settings.limits.clone(),
                extra_hosts: Vec::new(),
                no_new_privileges: shop.settings.no_new_privileges,
                compress: Some(shop.settings.compression),
                labels: recipe.labels.clone(),
            };
            let request = BuildRequest {
                file: &source.dockerfile,
                graph: &graph,
                context: &source.context,
                build_args: &recipe.args,
                named: &base.into_iter().collect::<BTreeMap<_, _>>(),
                images: &images,
                web: &web,
                secrets: &shop.settings.secrets,
                agents: &shop.settings.agents,
                options: &options,
            };
            let what = format!("build {node} for {platform}");
            let events = |event| {
                shop.tell(Event::Build {
                    node: node.clone(),
                    platform: platform.clone(),
                    event,
                });
            };
            let mut image = shop
                .engine
                .build(&request, &shop.cancellation, &events)
                .map_err(ReleaseError::engine(what))?;
            apply(&mut image.config, &recipe.overrides);
            Ok(image)
        })
        .await
    }
}

/// The shared futures of a plan.
pub(crate) struct Works(BTreeMap<(NodeId, Platform), SharedMade>);

impl Works {
    /// One lazy future for each node and platform that the plan makes or reuses.
    pub(crate) fn new(shop: &Arc<Shop>) -> Self {
        let mut works = Self(BTreeMap::new());
        for node in &shop.plan.graph.nodes {
            for platform in &node.platforms {
                let future: BoxFuture<'static, Result<Arc<Made>, ReleaseError>> =
                    match &shop.plan.nodes[&node.id].state {
                        NodeState::NotNeeded => continue,
                        NodeState::Reuse { registry, digest } => {
                            let reference =
                                shop.repository(*registry, node).with_digest(digest.clone());
                            let (shop, platform) = (Arc::clone(shop), platform.clone());
                            async move {
                                Ok(Arc::new(reused(
                                    shop.puller.find(&reference, &platform).await?,
                                )?))
                            }
                            .boxed()
                        }
                        NodeState::Make => works.make(shop, node, platform),
                    };
                works
                    .0
                    .insert((node.id.clone(), platform.clone()), future.shared());
            }
        }
        works
    }

    pub(crate) fn get(&self, node: &NodeId, platform: &Platform) -> SharedMade {
        self.0[&(node.clone(), platform.clone())].clone()
    }

    fn make(
        &self,
        shop: &Arc<Shop>,
        node: &Node,
        platform: &Platform,
    ) -> BoxFuture<'static, Result<Arc<Made>, ReleaseError>> {
        let (shop, id, platform) = (Arc::clone(shop), node.id.clone(), platform.clone());
        match &node.make {
            Make::Build(recipe) => {
                let recipe = recipe.clone();
                let base = recipe
                    .base
                    .as_ref()
                    .map(|(name, id)| (name.to_string(), self.get(id, &platform)));
                // A neutral feature is built on the first platform and carried over to the others.
                let elsewhere = node
                    .platforms
                    .first()
                    .filter(|first| recipe.neutral && **first != platform)
                    .map(|first| self.get(&node.id, first));
                let first_base = recipe
                    .base
                    .as_ref()
                    .zip(node.platforms.first())
                    .map(|((_, id), first)| self.get(id, first));
                async move {
                    let base = match base {
                        Some((name, made)) => Some((name, made.await?)),
                        None => None,
                    };
                    let report = Report::start(&shop, &id, &platform, false);
                    let made = match (elsewhere, &base, first_base) {
                        (Some(elsewhere), Some((_, base)), Some(first_base)) => {
                            let (original, first_base) = (elsewhere.await?, first_base.await?);
                            neutral::carry_over(&shop, &id, &original, &first_base, base).await?
                        }
                        _ => {
                            let known = base
                                .as_ref()
                                .map(|(_, base)| base.layers.clone())
                                .unwrap_or_default();
                            let local = match base {
                                Some((name, base)) => Some((name, shop.local(&base).await?)),
                                None => None,
                            };
                            let image = shop
                                .build(id.clone(), recipe, platform.clone(), local)
                                .await?;
                            made_of(
                                shop.puller.store(),
                                shop.settings.compression.into(),
                                image,
                                &known,
                            )
                            .await?
                        }
                    };
                    report.done();
                    Ok(Arc::new(made))
                }
                .boxed()
            }
            Make::Graft(recipe) => {
                let recipe = recipe.clone();
                let base = self.get(&recipe.base, &platform);
                let features: Vec<(NodeId, SharedMade)> = recipe
                    .features
                    .iter()
                    .map(|feature| (feature.clone(), self.get(feature, &platform)))
                    .collect();
                async move {
                    let base = base.await?;
                    let features =
                        try_join_all(features.into_iter().map(|(id, made)| async move {
                            Ok::<_, ReleaseError>((id, made.await?))
                        }))
                        .await?;
                    let report = Report::start(&shop, &id, &platform, true);
                    let made =
                        graft::graft(&shop, &id, &platform, &recipe, &base, &features).await?;
                    report.done();
                    Ok(Arc::new(made))
                }
                .boxed()
            }
        }
    }
}

/// Tells of the start of a node, and of its end in either way.
struct Report {
    shop: Arc<Shop>,
    node: NodeId,
    platform: Platform,
    started: Instant,
    done: bool,
}

impl Report {
    fn start(shop: &Arc<Shop>, node: &NodeId, platform: &Platform, graft: bool) -> Self {
        shop.tell(Event::NodeStarted {
            node: node.clone(),
            platform: platform.clone(),
            graft,
        });
        Self {
            shop: Arc::clone(shop),
            node: node.clone(),
            platform: platform.clone(),
            started: Instant::now(),
            done: false,
        }
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let (node, platform) = (self.node.clone(), self.platform.clone());
        self.shop.tell(if self.done {
            Event::NodeDone {
                node,
                platform,
                took: self.started.elapsed(),
            }
        } else {
            Event::NodeFailed { node, platform }
        });
    }
}

/// How layers get their blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    pub compression: Compression,
    /// Layers of a base image get this compression as well, and other digests with it.
    pub force: bool,
}

impl From<Compression> for Packing {
    /// Layers of a base image stay what they are.
    fn from(compression: Compression) -> Self {
        Self {
            compression,
            force: false,
        }
    }
}

impl Packing {
    fn blob(self, store: &Store, diff_id: &Digest) -> Result<Descriptor, StoreError> {
        if self.force {
            store.compressed_anew(diff_id, self.compression)
        } else {
            store.compressed(diff_id, self.compression)
        }
    }
}

/// An image of the engine with its layers compressed and its documents written. Layers that are
/// `known` stay as they are.
pub(crate) async fn made_of(
    store: &Store,
    packing: Packing,
    image: Image,
    known: &[MadeLayer],
) -> Result<Made, ReleaseError> {
    let store = store.clone();
    let known = known.to_vec();
    blocking(move || {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let diff_id = layer.diff_id.to_string();
            let inherited = known.iter().find(|known| known.diff_id == diff_id);
            layers.push(match inherited {
                Some(known) => known.clone(),
                None => MadeLayer {
                    descriptor: packing.blob(&store, &layer.diff_id)?,
                    diff_id,
                    origin: None,
                },
            });
        }
        documents(image.config, layers)
    })
    .await
}

/// The documents of an image whose layers are known as they travel.
pub(crate) fn documents(config: ImageConfig, layers: Vec<MadeLayer>) -> Result<Made, ReleaseError> {
    let descriptors = layers
        .iter()
        .map(|layer| layer.descriptor.clone())
        .collect();
    let (config_document, manifest) = image_documents(&config, descriptors);
    Ok(Made {
        config,
        config_document,
        manifest,
        layers,
    })
}

pub(crate) fn reused(remote: RemoteImage) -> Result<Made, ReleaseError> {
    let layers = remote
        .layers
        .iter()
        .zip(&remote.config.rootfs.diff_ids)
        .map(|(descriptor, diff_id)| MadeLayer {
            diff_id: diff_id.clone(),
            descriptor: descriptor.clone(),
            origin: Some(remote.repository.clone()),
        })
        .collect();
    Ok(Made {
        config_document: Document::new(
            remote.config_bytes.to_vec(),
            launchway_oci::spec::media::CONFIG,
        ),
        manifest: Document {
            bytes: remote.manifest_bytes,
            digest: remote.manifest_digest,
            media_type: remote.manifest_type,
        },
        config: remote.config,
        layers,
    })
}

fn apply(config: &mut ImageConfig, overrides: &Overrides) {
    let own = &mut config.config;
    if let Some(entrypoint) = &overrides.entrypoint {
        own.entrypoint = Some(entrypoint.clone());
    }
    if let Some(cmd) = &overrides.cmd {
        own.cmd = Some(cmd.clone());
    }
    if let Some(user) = &overrides.user {
        own.user = Some(user.clone());
    }
    if let Some(workdir) = &overrides.workdir {
        own.working_dir = Some(workdir.clone());
    }
}
