//! A plan carried out: make and publish, lint, smoke, tag, verify, roll, record. Until everything before
//! is done, no rolling tag moves.
//!
//! Each registry is a failure domain of its own: one that fails is left alone from then on, and
//! running again finishes it. A node that fails blocks its own tags and every rolling tag.

mod making;
mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use launchway_engine::{Cancellation, NativeEngine};
use launchway_lint::Report;
use launchway_model::{Digest, Platform, Reference};
use launchway_oci::select_platform;
use launchway_oci::spec::{Index, media};
use launchway_plan::{Action, Expect, Node, NodeId, NodeState, Phase, Plan};
use launchway_registry::{BlobBody, BlobSource, ManifestTarget, Probe};

use crate::artifact::{Document, artifact};
use crate::error::ReleaseError;
use crate::event::Event;
use crate::images::Puller;
use crate::ledger::{Lack, lacks};
use crate::project::Project;
use crate::publish::{exact, put_tag};
use crate::record::{RECORD, RunFacts, record};
use crate::work::{BuildSettings, Shop};

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
    /// What each registry lacks of the release all the same.
    pub lacks: Vec<Lack>,
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
    let answering = (0..plan.registries.len()).filter(|at| !plan.is_degraded(*at));
    let puller = puller.with_sources(answering.map(|at| plan.registries[at].clone()).collect());
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
        failed_registries: BTreeMap::new(),
        pushed: BTreeSet::new(),
        judged: BTreeMap::new(),
        recorded: Vec::new(),
        outcome: Outcome::default(),
    };
    run.make_and_publish().await;
    run.lint().await;
    run.smoke().await;
    run.tag().await;
    run.verify().await;
    run.roll().await;
    run.record().await;
    run.outcome.lacks = run.lacks();
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
    /// With the reason.
    failed_registries: BTreeMap<usize, String>,
    /// What this run published; content tags that a registry had already do not count.
    pushed: BTreeSet<(NodeId, usize)>,
    /// What the lint said of each node and platform.
    judged: BTreeMap<(NodeId, Platform), Arc<Report>>,
    recorded: Vec<Reference>,
    outcome: Outcome,
}

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
                let why = error.to_string();
                if self.failed_registries.insert(registry, why).is_none() {
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
        !self.failed_nodes.contains(node) && !self.failed_registries.contains_key(&registry)
    }

    /// The images that a node stands for, each with the registries that hold it. Registries that were
    /// filled by different builders may differ.
    fn digests(&self, node: &NodeId) -> BTreeMap<Digest, Vec<usize>> {
        let mut digests: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for ((published, registry), digest) in &self.published {
            if published == node && !self.failed_registries.contains_key(registry) {
                digests.entry(digest.clone()).or_default().push(*registry);
            }
        }
        digests
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
            if self.failed_registries.contains_key(&registry) || !version {
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
            let children = Mutex::default();
            let results = join_all(checks.into_iter().map(|(node, reference, digest)| {
                let (shop, children) = (Arc::clone(&self.shop), &children);
                async move {
                    let platforms = &node.platforms;
                    let result =
                        verify_reference(&shop, platforms, &reference, &digest, children).await;
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
                    if !self.failed_registries.contains_key(&registry) {
                        return;
                    }
                }
            }
        }
    }

    async fn record(&mut self) {
        for action in self.start(Phase::Record) {
            let Action::Record {
                registry,
                reference,
            } = action
            else {
                continue;
            };
            if self.failed_registries.contains_key(&registry) || !self.failed_nodes.is_empty() {
                continue;
            }
            match self.write_record(registry, &reference).await {
                Ok(digest) => {
                    self.recorded.push(reference.clone());
                    self.shop.tell(Event::Recorded { reference, digest });
                }
                Err(error) => self.fail(error, None, Some(registry)),
            }
        }
    }

    /// What the plan was to write and nobody has written.
    fn lacks(&self) -> Vec<Lack> {
        let mut done: BTreeSet<Reference> = BTreeSet::new();
        for action in &self.plan.actions {
            let (node, registry, reference) = match action {
                Action::Push {
                    node,
                    registry,
                    content_tag,
                    ..
                }
                | Action::Copy {
                    node,
                    to: registry,
                    content_tag,
                    ..
                } => (node, registry, content_tag),
                _ => continue,
            };
            if self.pushed.contains(&(node.clone(), *registry)) {
                done.insert(reference.clone());
            }
        }
        let tags = self.outcome.tagged.iter().chain(&self.outcome.rolled);
        done.extend(tags.chain(&self.recorded).cloned());
        let blocked = if self.shop.cancellation.is_cancelled() {
            "interrupted".to_owned()
        } else {
            let nodes: Vec<String> = self.failed_nodes.iter().map(ToString::to_string).collect();
            format!("{} failed", nodes.join(", "))
        };
        lacks(&self.plan, &done, &self.failed_registries, &blocked)
    }

    async fn write_record(
        &self,
        registry: usize,
        reference: &Reference,
    ) -> Result<Digest, ReleaseError> {
        let value = record(
            &self.plan,
            registry,
            &self.published,
            &self.judged,
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
        let target = ManifestTarget::Tag(
            reference
                .tag
                .clone()
                .expect("planned references have a tag"),
        );
        let repository = &reference.repository;
        let digest = client
            .put_manifest(repository, target, media::MANIFEST, manifest.bytes)
            .await?;
        Ok(digest)
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

/// Whether a reference stands for a digest, and that digest has every platform. `children` are the
/// images of platforms that somebody has asked for; no other asks again.
async fn verify_reference(
    shop: &Arc<Shop>,
    platforms: &[Platform],
    reference: &Reference,
    digest: &Digest,
    children: &Mutex<BTreeSet<Reference>>,
) -> Result<(), ReleaseError> {
    let client = shop.puller.client();
    let differs = |why: String| ReleaseError::Differs {
        reference: reference.clone(),
        why,
    };
    // Only the registry itself says what a tag stands for, and a digest always stands for the same.
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
        let child =
            select_platform(&index, platform).map_err(|error| differs(error.to_string()))?;
        let child: Digest = child
            .digest
            .parse()
            .map_err(|error| differs(format!("its index is damaged: {error}")))?;
        let child = reference.repository.with_digest(child);
        let is_first = children
            .lock()
            .expect("no holder of the children panics")
            .insert(child.clone());
        if !is_first {
            continue;
        }
        match client.probe(&child).await {
            Probe::Present(_) => {}
            Probe::Absent => return Err(differs(format!("its image for {platform} is missing"))),
            Probe::Unknown(error) => return Err(error.into()),
        }
    }
    Ok(())
}
