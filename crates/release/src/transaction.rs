//! A plan carried out: make and publish, smoke, tag, verify, roll, record. Until everything before
//! is done, no rolling tag moves.
//!
//! Each registry is a failure domain of its own: one that fails is left alone from then on, and
//! running again finishes it. A node that fails blocks its own tags and every rolling tag.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join_all};
use launchway_engine::{Cancellation, NativeEngine};
use launchway_model::{Digest, Platform, Reference};
use launchway_oci::spec::{Index, media};
use launchway_plan::{Action, Expect, Make, Node, NodeId, NodeState, Phase, Plan};
use launchway_registry::{BlobBody, BlobSource, ManifestTarget, Probe};

use crate::artifact::{Document, artifact};
use crate::error::ReleaseError;
use crate::event::Event;
use crate::images::Puller;
use crate::project::Project;
use crate::publish::{copy, exact, push, put_tag};
use crate::record::{RECORD, RunFacts, record};
use crate::smoke::smoke;
use crate::work::{BuildSettings, Shop, Works};

/// Everything a release needs besides its plan.
pub struct Workshop {
    pub project: Arc<Project>,
    pub puller: Puller,
    pub engine: NativeEngine,
    pub settings: BuildSettings,
    pub cancellation: Cancellation,
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
    /// Local state: locks, logs, records.
    pub state: PathBuf,
    pub facts: RunFacts,
    /// Gives the present time, RFC 3339.
    pub now: fn() -> String,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The digest of every node that is published, by registry.
    pub published: BTreeMap<(NodeId, usize), Digest>,
    /// What failed, in the order it did.
    pub failures: Vec<ReleaseError>,
    pub tagged: Vec<Reference>,
    pub rolled: Vec<Reference>,
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }

    fn interrupt(&mut self) {
        let is_interruption = |error: &ReleaseError| matches!(error, ReleaseError::Cancelled);
        if !self.failures.iter().any(is_interruption) {
            self.failures.push(ReleaseError::Cancelled);
        }
    }
}

/// Carries a checked plan out.
pub async fn execute(plan: Plan, workshop: Workshop) -> Outcome {
    let Workshop {
        project,
        puller,
        engine,
        settings,
        cancellation,
        events,
        state,
        facts,
        now,
    } = workshop;
    let plan = Arc::new(plan);
    let shop = Arc::new(Shop::new(
        Arc::clone(&plan),
        project,
        puller,
        engine,
        settings,
        cancellation,
        events,
        state,
    ));
    let mut run = Transaction {
        published: plan.present.clone(),
        shop,
        plan,
        facts,
        now,
        failed_nodes: BTreeSet::new(),
        failed_registries: BTreeSet::new(),
        outcome: Outcome::default(),
    };
    run.make_and_publish().await;
    run.smoke().await;
    run.tag().await;
    run.verify().await;
    run.roll().await;
    run.record().await;
    Outcome {
        published: run.published,
        ..run.outcome
    }
}

struct Transaction {
    shop: Arc<Shop>,
    plan: Arc<Plan>,
    facts: RunFacts,
    now: fn() -> String,
    published: BTreeMap<(NodeId, usize), Digest>,
    failed_nodes: BTreeSet<NodeId>,
    failed_registries: BTreeSet<usize>,
    outcome: Outcome,
}

type SharedPush = Shared<BoxFuture<'static, Result<Digest, ReleaseError>>>;

impl Transaction {
    fn node(&self, id: &NodeId) -> &Node {
        self.plan
            .graph
            .node(id)
            .expect("the plan's nodes are in its graph")
    }

    /// The actions of a phase; none any more after an interruption.
    fn start(&mut self, phase: Phase) -> Vec<Action> {
        let actions: Vec<Action> = self
            .plan
            .actions
            .iter()
            .filter(|action| action.phase() == phase)
            .cloned()
            .collect();
        if actions.is_empty() {
            return actions;
        }
        if self.shop.cancellation.is_cancelled() {
            self.outcome.interrupt();
            return Vec::new();
        }
        self.shop.tell(Event::PhaseStarted(phase));
        actions
    }

    /// Takes a failure in. One of a registry takes that registry out, one of a node blocks the node.
    fn fail(&mut self, error: ReleaseError, node: Option<&NodeId>, registry: Option<usize>) {
        match (&error, registry) {
            (ReleaseError::Registry(_), Some(registry)) => {
                if self.failed_registries.insert(registry) {
                    self.shop.tell(Event::RegistryFailed {
                        registry: self.plan.registries[registry].to_string(),
                        why: error.to_string(),
                    });
                    self.outcome.failures.push(error);
                }
            }
            _ => {
                if let Some(node) = node {
                    self.failed_nodes.insert(node.clone());
                }
                let told = error.to_string();
                if !self
                    .outcome
                    .failures
                    .iter()
                    .any(|other| other.to_string() == told)
                {
                    self.outcome.failures.push(error);
                }
            }
        }
    }

    fn is_open(&self, node: &NodeId, registry: usize) -> bool {
        !self.failed_nodes.contains(node) && !self.failed_registries.contains(&registry)
    }

    /// Makes every node the plan asks for, and publishes each as soon as it is done.
    async fn make_and_publish(&mut self) {
        let makes = self.start(Phase::Make);
        let publications = self.start(Phase::Publish);
        if makes.is_empty() && publications.is_empty() {
            return;
        }
        let works = Arc::new(Works::new(&self.shop));
        let mut pushes: BTreeMap<(NodeId, usize), SharedPush> = BTreeMap::new();
        // The plan lists what nodes are made of before the nodes.
        for action in &publications {
            let (node, registry, future) = match action {
                Action::Push {
                    node: id,
                    registry,
                    content_tag,
                    expect,
                } => {
                    let node = self.node(id).clone();
                    let parts: Vec<SharedPush> = parts(&node)
                        .iter()
                        .filter_map(|part| pushes.get(&(part.clone(), *registry)).cloned())
                        .collect();
                    let (shop, works) = (Arc::clone(&self.shop), Arc::clone(&works));
                    let (registry, content_tag, expect) =
                        (*registry, content_tag.clone(), expect.clone());
                    let future = async move {
                        // A graft's blobs are those of its parts: once they are there, it costs
                        // manifests only. While something is built, its parts are pushed.
                        let made = join_all(
                            node.platforms
                                .iter()
                                .map(|platform| works.get(&node.id, platform)),
                        );
                        let (made, parts) = futures_util::future::join(made, join_all(parts)).await;
                        for part in parts {
                            part?;
                        }
                        made.into_iter().collect::<Result<Vec<_>, _>>()?;
                        push(&shop, &works, &node, registry, &content_tag, &expect).await
                    };
                    (id, registry, future.boxed())
                }
                Action::Copy {
                    node,
                    digest,
                    from,
                    to,
                    content_tag,
                    expect,
                } => {
                    let shop = Arc::clone(&self.shop);
                    let source = self.shop.repository(*from, self.node(node));
                    let (digest, content_tag, expect) =
                        (digest.clone(), content_tag.clone(), expect.clone());
                    let future = async move {
                        copy(&shop, &digest, &source, &content_tag, &expect).await?;
                        Ok(digest)
                    };
                    (node, *to, future.boxed())
                }
                _ => continue,
            };
            pushes.insert((node.clone(), registry), future.shared());
        }
        // Every shared future is driven by a task of its own, so that builds overlap with pushes.
        let makes: Vec<(NodeId, Platform)> = makes
            .iter()
            .filter_map(|action| match action {
                Action::Build { node, platform } | Action::Graft { node, platform } => {
                    Some((node.clone(), platform.clone()))
                }
                _ => None,
            })
            .collect();
        let made = join_all(
            makes
                .iter()
                .map(|(node, platform)| drive(works.get(node, platform))),
        );
        let pushed = join_all(
            pushes
                .values()
                .cloned()
                .map(|push| unless_interrupted(&self.shop, push)),
        );
        let (made, pushed) = futures_util::future::join(made, pushed).await;
        for ((node, _), result) in makes.iter().zip(made) {
            if let Err(error) = result {
                self.fail(error, Some(node), None);
            }
        }
        for ((node, registry), result) in pushes.keys().zip(pushed) {
            match result {
                Ok(digest) => {
                    self.published.insert((node.clone(), *registry), digest);
                }
                // It was never made, which is told above and is no fault of this registry.
                Err(_) if self.failed_nodes.contains(node) => {}
                Err(error) => {
                    self.fail(error, Some(node), Some(*registry));
                }
            }
        }
        // What was not published anywhere cannot be tagged anywhere.
        let nodes: BTreeSet<NodeId> = pushes.keys().map(|(node, _)| node.clone()).collect();
        for node in nodes {
            let anywhere = self
                .published
                .keys()
                .any(|(published, _)| *published == node);
            if !anywhere {
                self.failed_nodes.insert(node);
            }
        }
    }

    /// The images that a node stands for, each with the registries that hold it. Registries that were
    /// filled by different builders may differ.
    fn digests(&self, node: &NodeId) -> BTreeMap<Digest, Vec<usize>> {
        let mut digests: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for ((published, registry), digest) in &self.published {
            if published == node && !self.failed_registries.contains(registry) {
                digests.entry(digest.clone()).or_default().push(*registry);
            }
        }
        digests
    }

    /// Tests everything that is about to be tagged, on every platform.
    async fn smoke(&mut self) {
        let mut tests = Vec::new();
        for action in self.start(Phase::Smoke) {
            let Action::Smoke { node: id, platform } = action else {
                continue;
            };
            if self.failed_nodes.contains(&id) {
                continue;
            }
            for (digest, registries) in self.digests(&id) {
                let node = self.node(&id).clone();
                let (shop, id, platform) = (Arc::clone(&self.shop), id.clone(), platform.clone());
                tests.push(async move {
                    let _turn = shop.turn().await;
                    let mut unable = Vec::new();
                    for registry in registries {
                        let repository = shop.repository(registry, &node);
                        let reference = repository.with_digest(digest.clone());
                        match smoke(&shop, &node, &platform, &reference).await {
                            // Another registry has the very same image.
                            Err(error @ ReleaseError::Registry(_)) => {
                                unable.push((registry, error));
                            }
                            verdict => return (id, unable, Some(verdict)),
                        }
                    }
                    (id, unable, None)
                });
            }
        }
        for (node, unable, verdict) in join_all(tests).await {
            for (registry, error) in unable {
                self.fail(error, Some(&node), Some(registry));
            }
            match verdict {
                Some(Ok(())) => {}
                Some(Err(error)) => self.fail(error, Some(&node), None),
                // Nothing untested is tagged.
                None => {
                    self.failed_nodes.insert(node);
                }
            }
        }
    }

    async fn tag(&mut self) {
        let mut writes = Vec::new();
        for action in self.start(Phase::Tag) {
            let Action::Tag {
                node,
                registry,
                reference,
                expect,
            } = action
            else {
                continue;
            };
            if !self.is_open(&node, registry) {
                continue;
            }
            let Some(digest) = self.published.get(&(node.clone(), registry)).cloned() else {
                continue;
            };
            let shop = Arc::clone(&self.shop);
            writes.push(async move {
                let result = tag_exact(&shop, &reference, &digest, &expect).await;
                (node, registry, reference, digest, result)
            });
        }
        for (node, registry, reference, digest, result) in join_all(writes).await {
            match result {
                Ok(()) => {
                    self.shop.tell(Event::Tagged {
                        reference: reference.clone(),
                        digest,
                    });
                    self.outcome.tagged.push(reference);
                }
                Err(error) => self.fail(error, Some(&node), Some(registry)),
            }
        }
    }

    /// Observes everything of the release again, on every registry.
    async fn verify(&mut self) {
        let version = self.plan.version.is_some();
        for action in self.start(Phase::Verify) {
            let Action::Verify { registry } = action else {
                continue;
            };
            if self.failed_registries.contains(&registry) || !version {
                continue;
            }
            let mut checks = Vec::new();
            for node in &self.plan.graph.nodes {
                let Some(digest) = self.published.get(&(node.id.clone(), registry)) else {
                    continue;
                };
                if self.failed_nodes.contains(&node.id)
                    || self.plan.nodes[&node.id].state == NodeState::NotNeeded
                {
                    continue;
                }
                let repository = self.shop.repository(registry, node);
                let asked = node.release_tags.iter().filter(|tag| {
                    let reference = repository.with_tag((*tag).clone());
                    self.outcome.tagged.contains(&reference)
                });
                for tag in std::iter::once(&node.content_tag).chain(asked) {
                    checks.push((
                        node.clone(),
                        repository.with_tag(tag.clone()),
                        digest.clone(),
                    ));
                }
            }
            let count = checks.len();
            let results = join_all(checks.into_iter().map(|(node, reference, digest)| {
                let shop = Arc::clone(&self.shop);
                async move {
                    let result =
                        verify_reference(&shop, &node.platforms, &reference, &digest).await;
                    (node.id, result)
                }
            }))
            .await;
            let mut whole = true;
            for (node, result) in results {
                if let Err(error) = result {
                    whole = false;
                    self.fail(error, Some(&node), Some(registry));
                }
            }
            if whole && count > 0 {
                self.shop.tell(Event::Verified {
                    registry: self.plan.registries[registry].to_string(),
                    references: count,
                });
            }
        }
    }

    /// Moves the rolling tags, unless anything at all is missing from the release.
    async fn roll(&mut self) {
        let rolls = self.start(Phase::Roll);
        if rolls.is_empty() {
            return;
        }
        if !self.failed_nodes.is_empty() {
            let blocked: Vec<String> = self.failed_nodes.iter().map(ToString::to_string).collect();
            self.shop.tell(Event::Warning(format!(
                "no rolling tag was moved, because {} failed",
                blocked.join(", ")
            )));
            return;
        }
        for action in rolls {
            let Action::Roll {
                node,
                registry,
                reference,
                expect,
            } = action
            else {
                continue;
            };
            if !self.is_open(&node, registry) {
                continue;
            }
            let Some(digest) = self.published.get(&(node.clone(), registry)).cloned() else {
                continue;
            };
            // One after the other and in the plan's order: bases are last.
            match tag_exact(&self.shop, &reference, &digest, &expect).await {
                Ok(()) => {
                    self.shop.tell(Event::Rolled {
                        reference: reference.clone(),
                        digest,
                    });
                    self.outcome.rolled.push(reference);
                }
                Err(error) => {
                    self.fail(error, Some(&node), Some(registry));
                    if !self.failed_registries.contains(&registry) {
                        return;
                    }
                }
            }
        }
    }

    async fn record(&mut self) {
        for action in self.start(Phase::Record) {
            let Action::Record { registry } = action else {
                continue;
            };
            if self.failed_registries.contains(&registry) || !self.failed_nodes.is_empty() {
                continue;
            }
            match self.write_record(registry).await {
                Ok((reference, digest)) => self.shop.tell(Event::Recorded { reference, digest }),
                Err(error) => self.fail(error, None, Some(registry)),
            }
        }
    }

    async fn write_record(&self, registry: usize) -> Result<(Reference, Digest), ReleaseError> {
        let value = record(
            &self.plan,
            registry,
            &self.published,
            &self.facts,
            &(self.now)(),
        );
        let bytes = serde_json::to_vec_pretty(&value).expect("a record is plain JSON");
        let version = self
            .plan
            .version
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let local = self
            .shop
            .state
            .join("releases")
            .join(format!("{}-{version}-{registry}.json", self.facts.family));
        if let Some(folder) = local.parent() {
            std::fs::create_dir_all(folder).map_err(ReleaseError::io("keep the release record"))?;
        }
        let partial = local.with_extension("part");
        std::fs::write(&partial, &bytes)
            .and_then(|()| std::fs::rename(&partial, &local))
            .map_err(ReleaseError::io("keep the release record"))?;
        let released = self
            .plan
            .graph
            .nodes
            .iter()
            .filter(|node| !node.release_tags.is_empty());
        let node = released
            .chain(&self.plan.graph.nodes)
            .next()
            .expect("a family has nodes");
        let tag = node
            .release_tags
            .first()
            .map_or_else(|| format!("v{version}"), ToString::to_string);
        let tag = format!("launchway-record-{tag}")
            .parse()
            .map_err(|error| ReleaseError::Broken(format!("the record's tag: {error}")))?;
        let reference = self.shop.repository(registry, node).with_tag(tag);
        let blob = Document::new(bytes, RECORD);
        let (empty, manifest) = artifact(RECORD, blob.descriptor(), None, None);
        let client = self.shop.puller.client();
        for document in [&blob, &empty] {
            let source = BlobSource {
                digest: document.digest.clone(),
                size: document.bytes.len() as u64,
                body: BlobBody::Bytes(document.bytes.clone()),
            };
            client
                .push_blob(&reference.repository, &source, &[])
                .await?;
        }
        let target = ManifestTarget::Tag(reference.tag.clone().expect("it was given a tag above"));
        let digest = client
            .put_manifest(
                &reference.repository,
                target,
                media::MANIFEST,
                manifest.bytes,
            )
            .await?;
        Ok((reference, digest))
    }
}

/// Drives a publication, and drops it on interruption: what was sent stays, and nothing refers to it.
async fn unless_interrupted(shop: &Arc<Shop>, push: SharedPush) -> Result<Digest, ReleaseError> {
    let interrupted = async {
        while !shop.cancellation.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        result = drive(push) => result,
        () = interrupted => Err(ReleaseError::Cancelled),
    }
}

/// Drives a shared future on a task of its own.
async fn drive<T: Clone + Send + Sync + 'static>(
    future: Shared<BoxFuture<'static, Result<T, ReleaseError>>>,
) -> Result<T, ReleaseError> {
    match tokio::spawn(future).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn parts(node: &Node) -> Vec<NodeId> {
    match &node.make {
        Make::Build(recipe) => recipe.base.iter().map(|(_, id)| id.clone()).collect(),
        Make::Graft(recipe) => std::iter::once(&recipe.base)
            .chain(&recipe.features)
            .cloned()
            .collect(),
    }
}

/// Writes a tag over the exact bytes that stand under a digest.
async fn tag_exact(
    shop: &Arc<Shop>,
    reference: &Reference,
    digest: &Digest,
    expect: &Expect,
) -> Result<(), ReleaseError> {
    let (bytes, media_type) = exact(shop, &reference.repository, digest).await?;
    put_tag(shop, reference, expect, &media_type, bytes, digest).await
}

/// Whether a reference stands for a digest, and that digest has every platform.
pub(crate) async fn verify_reference(
    shop: &Arc<Shop>,
    platforms: &[Platform],
    reference: &Reference,
    digest: &Digest,
) -> Result<(), ReleaseError> {
    let client = shop.puller.client();
    let differs = |why: String| ReleaseError::Differs {
        reference: reference.clone(),
        why,
    };
    match client.probe(reference).await {
        Probe::Present(found) if found.digest == *digest => {}
        Probe::Present(found) => {
            return Err(differs(format!(
                "it is {}, expected {digest}",
                found.digest
            )));
        }
        Probe::Absent => return Err(differs("it does not exist".to_owned())),
        Probe::Unknown(error) => return Err(error.into()),
    }
    let (bytes, media_type) = exact(shop, &reference.repository, digest).await?;
    if !media::is_index(&media_type) {
        return Ok(());
    }
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|error| differs(format!("its index does not parse: {error}")))?;
    for platform in platforms {
        let child = crate::artifact::choose(&index, platform)
            .ok_or_else(|| differs(format!("it has no image for {platform}")))?;
        let child: Digest = child
            .digest
            .parse()
            .map_err(|error| differs(format!("its index is damaged: {error}")))?;
        match client.probe(&reference.repository.with_digest(child)).await {
            Probe::Present(_) => {}
            Probe::Absent => return Err(differs(format!("its image for {platform} is missing"))),
            Probe::Unknown(error) => return Err(error.into()),
        }
    }
    Ok(())
}
