//! The graph beside the inventory: what there is to do.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::Diagnostic;
use launchway_manifest::RegistryPrefix;
use launchway_model::{Digest, Reference, Repository, Tag};

use crate::inventory::annotation;
use crate::value::{Action, Degraded, Expect, NodePlan, NodeState, Plan};
use crate::{
    Graph, Inventory, Make, Node, NodeId, Observed, ReleaseVersion, Role, Rolling, codes, reason,
};

/// What comes of comparing a graph with the registries.
#[derive(Debug)]
pub enum Decision {
    Plan(Box<Plan>),
    /// The registries hold something that must not be overwritten.
    Refused(Vec<Diagnostic>),
    /// No registry gave a certain answer.
    Unknown(Vec<Diagnostic>),
}

/// Every reference whose state a plan depends on, and the repositories whose tags it must know.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    pub references: BTreeSet<Reference>,
    pub repositories: BTreeSet<Repository>,
}

impl Graph {
    /// What to ask the registries before deciding.
    pub fn questions(&self, registries: &[RegistryPrefix]) -> Result<Questions, Vec<Diagnostic>> {
        let mut questions = Questions::default();
        let mut problems = Vec::new();
        for registry in registries {
            for node in &self.nodes {
                let repository = match registry.repository(&node.repository) {
                    Ok(repository) => repository,
                    Err(error) => {
                        let message = format!(
                            "`{registry}` and `{}` give no valid repository: {error}",
                            node.repository
                        );
                        problems.push(Diagnostic::error(codes::BAD_REPOSITORY, message));
                        continue;
                    }
                };
                let rolling = node.rolling_tags.iter().map(|rolling| &rolling.tag);
                for tag in std::iter::once(&node.content_tag)
                    .chain(&node.release_tags)
                    .chain(rolling)
                {
                    questions
                        .references
                        .insert(repository.with_tag(tag.clone()));
                }
                if self.request.version.is_some() && !node.rolling_tags.is_empty() {
                    questions.repositories.insert(repository);
                }
            }
        }
        if problems.is_empty() {
            Ok(questions)
        } else {
            Err(problems)
        }
    }
}

/// Decides. The same arguments give the same plan.
pub fn decide(graph: Graph, registries: &[RegistryPrefix], inventory: &Inventory) -> Decision {
    let questions = match graph.questions(registries) {
        Ok(questions) => questions,
        Err(problems) => return Decision::Refused(problems),
    };
    let view = View {
        graph: &graph,
        registries,
        inventory,
    };
    let degraded = view.degraded(&questions);
    if degraded.len() == registries.len() {
        let problems = degraded.iter().map(|degraded| {
            let message = format!(
                "cannot tell what {} holds: {}",
                registries[degraded.registry], degraded.why
            );
            Diagnostic::error(codes::REGISTRIES_UNKNOWN, message)
                .note("an unknown answer never overwrites and never rebuilds")
                .help(
                    "check the registry's address, the credentials and the network, then run again",
                )
        });
        return Decision::Unknown(problems.collect());
    }
    let active: Vec<usize> = (0..registries.len())
        .filter(|at| !degraded.iter().any(|degraded| degraded.registry == *at))
        .collect();
    let mut maker = Maker {
        view,
        active,
        nodes: BTreeMap::new(),
        present: BTreeMap::new(),
        actions: Vec::new(),
        remarks: Vec::new(),
        problems: Vec::new(),
    };
    maker.observe_nodes();
    maker.choose_nodes();
    if !maker.problems.is_empty() {
        return Decision::Refused(maker.problems);
    }
    maker.act();
    let Maker {
        nodes,
        present,
        actions,
        remarks,
        ..
    } = maker;
    let version = graph.request.version.clone();
    Decision::Plan(Box::new(Plan {
        registries: registries.to_vec(),
        degraded,
        version,
        nodes,
        present,
        actions,
        remarks,
        graph,
    }))
}

/// The three inputs side by side.
struct View<'a> {
    graph: &'a Graph,
    registries: &'a [RegistryPrefix],
    inventory: &'a Inventory,
}

impl View<'_> {
    fn reference(&self, registry: usize, node: &Node, tag: &Tag) -> Reference {
        self.registries[registry]
            .repository(&node.repository)
            .expect("`questions` has checked every repository")
            .with_tag(tag.clone())
    }

    fn degraded(&self, questions: &Questions) -> Vec<Degraded> {
        let mut degraded = Vec::new();
        for (registry, prefix) in self.registries.iter().enumerate() {
            let here = |repository: &Repository| repository.host() == &prefix.host;
            let unknown = questions
                .references
                .iter()
                .filter(|reference| here(&reference.repository))
                .find_map(|reference| match self.inventory.of(reference) {
                    Observed::Unknown { why } => Some(why),
                    Observed::Present { .. } | Observed::Absent => None,
                });
            let unlisted = questions
                .repositories
                .iter()
                .find(|repository| {
                    here(repository) && !self.inventory.tags.contains_key(*repository)
                })
                .map(|repository| format!("the tags of {repository} could not be listed"));
            if let Some(why) = unknown.or(unlisted) {
                degraded.push(Degraded { registry, why });
            }
        }
        degraded
    }
}

struct Maker<'a> {
    view: View<'a>,
    /// The registries that answered.
    active: Vec<usize>,
    nodes: BTreeMap<NodeId, NodePlan>,
    /// Where each node is published already.
    present: BTreeMap<(NodeId, usize), Digest>,
    actions: Vec<Action>,
    remarks: Vec<String>,
    problems: Vec<Diagnostic>,
}

impl Maker<'_> {
    /// Finds each node in each registry, and what must not be overwritten.
    fn observe_nodes(&mut self) {
        let graph = self.view.graph;
        for node in &graph.nodes {
            for &registry in &self.active {
                let content = self.view.reference(registry, node, &node.content_tag);
                if let Observed::Present {
                    digest,
                    annotations,
                } = self.view.inventory.of(&content)
                {
                    if is_ours(node, &annotations) {
                        self.present.insert((node.id.clone(), registry), digest);
                    } else {
                        self.problems.push(foreign(&content, node, &annotations));
                    }
                }
                for tag in &node.release_tags {
                    let reference = self.view.reference(registry, node, tag);
                    let Observed::Present {
                        digest,
                        annotations,
                    } = self.view.inventory.of(&reference)
                    else {
                        continue;
                    };
                    let key = (node.id.clone(), registry);
                    let same = self.present.get(&key) == Some(&digest)
                        || is_ours(node, &annotations) && !node.legacy;
                    if same {
                        self.present.entry(key).or_insert(digest);
                    } else if self.is_asked_for(node) {
                        self.problems.push(taken(&reference, node, &annotations));
                    }
                }
            }
        }
    }

    /// Whether the request is about this node, so that it is published for its own sake.
    fn is_asked_for(&self, node: &Node) -> bool {
        match (&node.role, &self.view.graph.request.only) {
            (Role::Feature(_), _) => false,
            (Role::Image, _) | (Role::Variant(_), None) => true,
            (Role::Variant(name), Some(only)) => only.contains(name),
        }
    }

    /// Goes from the variants down to the base: what is missing is made, and asks for what it is
    /// made of.
    fn choose_nodes(&mut self) {
        let graph = self.view.graph;
        let mut wanted: BTreeSet<NodeId> = BTreeSet::new();
        for node in graph.nodes.iter().rev() {
            let here = self.active.iter().find_map(|&registry| {
                Some((
                    registry,
                    self.present.get(&(node.id.clone(), registry))?.clone(),
                ))
            });
            let asked = self.is_asked_for(node) || wanted.contains(&node.id);
            let plan = match (asked, here) {
                (false, _) => NodePlan {
                    state: NodeState::NotNeeded,
                    reason: "everything made of it is published".to_owned(),
                },
                (true, Some((registry, digest))) => NodePlan {
                    state: NodeState::Reuse { registry, digest },
                    reason: format!("{} is published", node.content_tag),
                },
                (true, None) => {
                    let rolling = |node: &Node| {
                        let tags = node.rolling_tags.iter();
                        let pairs = tags.flat_map(|rolling| {
                            self.active.iter().map(move |&registry| (registry, rolling))
                        });
                        pairs
                            .map(|(registry, rolling)| {
                                self.view.reference(registry, node, &rolling.tag)
                            })
                            .collect()
                    };
                    let before =
                        reason::previous_inputs(graph, node, self.view.inventory, &rolling);
                    match &node.make {
                        Make::Build(recipe) => {
                            wanted.extend(recipe.base.iter().map(|(_, id)| id.clone()))
                        }
                        Make::Graft(recipe) => {
                            wanted.insert(recipe.base.clone());
                            wanted.extend(recipe.features.iter().cloned());
                        }
                    }
                    NodePlan {
                        state: NodeState::Make,
                        reason: reason::difference(node, before.as_ref()),
                    }
                }
            };
            self.nodes.insert(node.id.clone(), plan);
        }
    }

    fn state(&self, node: &Node) -> &NodeState {
        &self.nodes[&node.id].state
    }

    fn act(&mut self) {
        self.make();
        self.publish();
        let tags = self.tags();
        let rolls = self.rolls();
        self.smoke(&tags, &rolls);
        self.actions.extend(tags);
        self.verify(&rolls);
        self.actions.extend(rolls);
        self.record();
    }

    fn make(&mut self) {
        for node in &self.view.graph.nodes {
            if *self.state(node) != NodeState::Make {
                continue;
            }
            for platform in &node.platforms {
                let (node, platform) = (node.id.clone(), platform.clone());
                let graft = matches!(
                    self.view.graph.node(&node).map(|n| &n.make),
                    Some(Make::Graft(_))
                );
                self.actions.push(if graft {
                    Action::Graft { node, platform }
                } else {
                    Action::Build { node, platform }
                });
            }
        }
    }

    fn publish(&mut self) {
        for node in &self.view.graph.nodes {
            for &registry in &self.active {
                let content_tag = self.view.reference(registry, node, &node.content_tag);
                let expect = self.expectation(&content_tag);
                let action = match self.state(node) {
                    NodeState::Make => Action::Push {
                        node: node.id.clone(),
                        registry,
                        content_tag,
                        expect,
                    },
                    NodeState::Reuse {
                        registry: from,
                        digest,
                    } if !self.present.contains_key(&(node.id.clone(), registry)) => Action::Copy {
                        node: node.id.clone(),
                        digest: digest.clone(),
                        from: *from,
                        to: registry,
                        content_tag,
                        expect,
                    },
                    NodeState::Reuse { .. } | NodeState::NotNeeded => continue,
                };
                self.actions.push(action);
            }
        }
    }

    fn expectation(&self, reference: &Reference) -> Expect {
        match self.view.inventory.of(reference) {
            Observed::Present { digest, .. } => Expect::Digest(digest),
            Observed::Absent | Observed::Unknown { .. } => Expect::Absent,
        }
    }

    fn tags(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.view.graph.request.version.is_none() {
            return actions;
        }
        for node in self
            .view
            .graph
            .nodes
            .iter()
            .filter(|node| self.is_asked_for(node))
        {
            for &registry in &self.active {
                for tag in &node.release_tags {
                    let reference = self.view.reference(registry, node, tag);
                    if self.view.inventory.of(&reference) == Observed::Absent {
                        actions.push(Action::Tag {
                            node: node.id.clone(),
                            registry,
                            reference,
                            expect: Expect::Absent,
                        });
                    }
                }
            }
        }
        actions
    }

    /// The rolling tags that move: all images, those that others are built on last.
    fn rolls(&mut self) -> Vec<Action> {
        let graph = self.view.graph;
        let Some(version) = graph.request.version.clone() else {
            return Vec::new();
        };
        let any = graph.nodes.iter().any(|node| !node.rolling_tags.is_empty());
        if any && !graph.request.promote {
            self.remarks
                .push("rolling tags stay where they are, as asked".to_owned());
            return Vec::new();
        }
        if any && !version.is_stable() {
            self.remarks.push(format!(
                "rolling tags stay where they are: {version} is a prerelease"
            ));
            return Vec::new();
        }
        let bases: BTreeSet<&NodeId> = graph.nodes.iter().filter_map(|node| parent(node)).collect();
        let (last, first): (Vec<&Node>, Vec<&Node>) = graph
            .nodes
            .iter()
            .partition(|node| bases.contains(&node.id));
        let mut actions = Vec::new();
        for node in first.into_iter().chain(last) {
            if !self.is_asked_for(node) {
                continue;
            }
            for registry in self.active.clone() {
                if let Some(waiting) = self.incomplete_below(node, registry) {
                    if !node.rolling_tags.is_empty() {
                        self.remarks.push(format!(
                            "the rolling tags of {} wait for {waiting}",
                            node.id
                        ));
                    }
                    continue;
                }
                for rolling in &node.rolling_tags {
                    self.roll(node, registry, rolling, &version, &mut actions);
                }
            }
        }
        actions
    }

    fn roll(
        &mut self,
        node: &Node,
        registry: usize,
        rolling: &Rolling,
        version: &ReleaseVersion,
        actions: &mut Vec<Action>,
    ) {
        let reference = self.view.reference(registry, node, &rolling.tag);
        let observed = self.view.inventory.of(&reference);
        let there = match &observed {
            Observed::Present {
                digest,
                annotations,
            } => {
                let published = self.present.get(&(node.id.clone(), registry));
                published == Some(digest) || !node.legacy && is_ours(node, annotations)
            }
            Observed::Absent | Observed::Unknown { .. } => false,
        };
        if there {
            return;
        }
        if let Some(newer) = self.newer_release(node, registry, rolling, version) {
            self.remarks.push(format!(
                "{} stays where it is: {newer} is newer",
                rolling.tag
            ));
            return;
        }
        actions.push(Action::Roll {
            node: node.id.clone(),
            registry,
            expect: self.expectation(&reference),
            reference,
        });
    }

    /// A variant built on this node whose release is not complete: with `--only`, a base waits for
    /// its whole family.
    fn incomplete_below(&self, node: &Node, registry: usize) -> Option<NodeId> {
        let graph = self.view.graph;
        let left_out = graph.nodes.iter().filter(|other| {
            parent(other) == Some(&node.id)
                && !matches!(other.role, Role::Feature(_))
                && !self.is_asked_for(other)
        });
        left_out
            .filter(|other| {
                other.release_tags.iter().any(|tag| {
                    let reference = self.view.reference(registry, other, tag);
                    !matches!(self.view.inventory.of(&reference), Observed::Present { .. })
                })
            })
            .map(|other| other.id.clone())
            .next()
    }

    /// A stable release newer than this one, of the line that the tag follows.
    fn newer_release(
        &self,
        node: &Node,
        registry: usize,
        rolling: &Rolling,
        version: &ReleaseVersion,
    ) -> Option<ReleaseVersion> {
        let graph = self.view.graph;
        // A base without releases of its own follows those of what is built on it.
        let lines: Vec<(&Node, &(String, String))> = match &rolling.follows {
            Some(line) => vec![(node, line)],
            None => graph
                .nodes
                .iter()
                .filter(|other| parent(other) == Some(&node.id))
                .flat_map(|other| {
                    other
                        .rolling_tags
                        .iter()
                        .filter_map(move |r| Some((other, r.follows.as_ref()?)))
                })
                .collect(),
        };
        let mut newest: Option<ReleaseVersion> = None;
        for (owner, (before, after)) in lines {
            let repository = self
                .view
                .reference(registry, owner, &owner.content_tag)
                .repository;
            let tags = self
                .view
                .inventory
                .tags
                .get(&repository)
                .map_or(&[][..], Vec::as_slice);
            for tag in tags {
                let middle = tag
                    .as_str()
                    .strip_prefix(before.as_str())
                    .and_then(|rest| rest.strip_suffix(after.as_str()));
                let Some(other) = middle.and_then(|text| text.parse::<ReleaseVersion>().ok())
                else {
                    continue;
                };
                let same_line = (!rolling.major || other.major == version.major)
                    && (!rolling.minor || other.minor == version.minor);
                if same_line
                    && other.is_stable()
                    && other > *version
                    && newest.as_ref().is_none_or(|n| other > *n)
                {
                    newest = Some(other);
                }
            }
        }
        newest
    }

    /// A node is smoke-tested before its first user-facing tag is written; once a release tag
    /// stands, the test has passed.
    fn smoke(&mut self, tags: &[Action], rolls: &[Action]) {
        let building_only = self.view.graph.request.version.is_none();
        for node in &self.view.graph.nodes {
            if node.smoke.is_empty() {
                continue;
            }
            let tagged = tags
                .iter()
                .any(|action| matches!(action, Action::Tag { node: id, .. } if *id == node.id));
            let rolled = node.release_tags.is_empty()
                && rolls.iter().any(
                    |action| matches!(action, Action::Roll { node: id, .. } if *id == node.id),
                );
            let made = *self.state(node) == NodeState::Make;
            if tagged || rolled || made && building_only {
                for platform in &node.platforms {
                    self.actions.push(Action::Smoke {
                        node: node.id.clone(),
                        platform: platform.clone(),
                    });
                }
            }
        }
    }

    fn verify(&mut self, rolls: &[Action]) {
        if self.view.graph.request.version.is_none() {
            return;
        }
        for &registry in &self.active {
            if self
                .actions
                .iter()
                .chain(rolls)
                .any(|action| writes_to(action, registry))
            {
                self.actions.push(Action::Verify { registry });
            }
        }
    }

    fn record(&mut self) {
        if self.view.graph.request.version.is_none() {
            return;
        }
        for &registry in &self.active {
            if self
                .actions
                .iter()
                .any(|action| writes_to(action, registry))
            {
                self.actions.push(Action::Record { registry });
            }
        }
    }
}

pub(crate) fn writes_to(action: &Action, at: usize) -> bool {
    match action {
        Action::Push { registry, .. }
        | Action::Tag { registry, .. }
        | Action::Roll { registry, .. }
        | Action::Record { registry } => *registry == at,
        Action::Copy { to, .. } => *to == at,
        Action::Build { .. }
        | Action::Graft { .. }
        | Action::Smoke { .. }
        | Action::Verify { .. } => false,
    }
}

pub(crate) fn parent(node: &Node) -> Option<&NodeId> {
    match &node.make {
        Make::Build(recipe) => recipe.base.as_ref().map(|(_, id)| id),
        Make::Graft(recipe) => Some(&recipe.base),
    }
}

/// Whether what stands in the registry was made from this node's inputs. Tags of an older recipe
/// carry no annotations; their name is all there is to go by.
fn is_ours(node: &Node, annotations: &BTreeMap<String, String>) -> bool {
    match annotations.get(annotation::INPUT_HASH) {
        Some(hash) => *hash == node.hash.to_string(),
        None => node.legacy,
    }
}

fn foreign(
    reference: &Reference,
    node: &Node,
    annotations: &BTreeMap<String, String>,
) -> Diagnostic {
    let message = format!(
        "{reference} exists, but was not made from the inputs of `{}`",
        node.id
    );
    let note = match annotations.get(annotation::INPUT_HASH) {
        Some(other) => format!("its inputs have the hash {other}, these have {}", node.hash),
        None => "it carries no input hash: another program pushed it".to_owned(),
    };
    Diagnostic::error(codes::FOREIGN_CONTENT_TAG, message)
        .note(note)
        .help("delete that tag, or choose another `content-tag`")
}

fn taken(reference: &Reference, node: &Node, annotations: &BTreeMap<String, String>) -> Diagnostic {
    let message = format!("{reference} is published already, with other content");
    let inputs = annotations
        .get(annotation::INPUTS)
        .and_then(|text| serde_json::from_str(text).ok());
    let before: Option<BTreeMap<String, String>> = match inputs {
        Some(serde_json::Value::Object(object)) => Some(
            object
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                .collect(),
        ),
        _ => None,
    };
    let problem = Diagnostic::error(codes::RELEASE_TAG_TAKEN, message);
    let problem = match before {
        Some(before) => problem.note(format!(
            "since then: {}",
            reason::difference(node, Some(&before))
        )),
        None => problem.note("it carries no input hash: another program pushed it"),
    };
    problem.help("release tags are immutable: release under a new version, for a rebuild with a letter (1.2.3b)")
}
