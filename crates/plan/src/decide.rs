//! The graph beside the inventory: what there is to do.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::Diagnostic;
use launchway_manifest::RegistryPrefix;
use launchway_model::{Digest, Reference, Tag};

use self::questions::{degraded, questions_by_registry};
use self::refusal::{foreign, is_ours, says_ours, taken};
use crate::value::{Action, Expect, NodePlan, NodeState, Plan};
use crate::{Graph, Inventory, Make, Node, NodeId, Observed, Role, codes, reason};

mod questions;
mod refusal;
mod rolling;

pub use self::questions::Questions;

/// What comes of comparing a graph with the registries.
#[derive(Debug)]
pub enum Decision {
    Plan(Box<Plan>),
    /// The registries hold something that must not be overwritten.
    Refused(Vec<Diagnostic>),
    /// No registry gave a certain answer.
    Unknown(Vec<Diagnostic>),
}

/// Decides. The same arguments give the same plan.
pub fn decide(graph: Graph, registries: &[RegistryPrefix], inventory: &Inventory) -> Decision {
    if registries.is_empty() {
        let problem =
            Diagnostic::error(codes::BAD_REPOSITORY, "there is no registry to publish to");
        return Decision::Refused(vec![problem.help("name one under `registries`")]);
    }
    let questions = match questions_by_registry(&graph, registries) {
        Ok(questions) => questions,
        Err(problems) => return Decision::Refused(problems),
    };
    let view = View {
        graph: &graph,
        registries,
        inventory,
    };
    let degraded = degraded(&questions, inventory);
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
        asked: graph.asked_for(),
        nodes: BTreeMap::new(),
        present: BTreeMap::new(),
        foreign: Vec::new(),
        actions: Vec::new(),
        remarks: Vec::new(),
        problems: Vec::new(),
    };
    maker.observe_nodes();
    maker.choose_nodes();
    maker.refuse_foreign();
    if !maker.problems.is_empty() {
        return Decision::Refused(maker.problems);
    }
    let tested = maker.tested();
    maker.act(&tested);
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
        tested,
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
}

struct Maker<'a> {
    view: View<'a>,
    /// The registries that answered.
    active: Vec<usize>,
    /// What is published for its own sake.
    asked: BTreeSet<&'a NodeId>,
    nodes: BTreeMap<NodeId, NodePlan>,
    /// Where each node is published already.
    present: BTreeMap<(NodeId, usize), Digest>,
    /// Content tags that hold something else; they matter if their node does.
    foreign: Vec<(&'a NodeId, Diagnostic)>,
    actions: Vec<Action>,
    remarks: Vec<String>,
    problems: Vec<Diagnostic>,
}

impl<'a> Maker<'a> {
    /// Finds each node in each registry, and what must not be overwritten.
    fn observe_nodes(&mut self) {
        let graph = self.view.graph;
        for node in &graph.nodes {
            for registry in self.active.clone() {
                self.observe_node(node, registry);
            }
        }
    }

    /// A release tag made from the same inputs wins over the content tag, which can be put right;
    /// the release tag cannot.
    fn observe_node(&mut self, node: &'a Node, registry: usize) {
        let content = self.view.reference(registry, node, &node.content_tag);
        let mut here = None;
        if let Observed::Present {
            digest,
            annotations,
        } = self.view.inventory.of(&content)
        {
            if is_ours(node, &annotations) {
                here = Some(digest);
            } else {
                self.foreign
                    .push((&node.id, foreign(&content, node, &annotations)));
            }
        }
        let mut released = Vec::new();
        for tag in &node.release_tags {
            let reference = self.view.reference(registry, node, tag);
            if let Observed::Present {
                digest,
                annotations,
            } = self.view.inventory.of(&reference)
            {
                released.push((reference, digest, annotations));
            }
        }
        let ours = released
            .iter()
            .find(|(_, _, annotations)| says_ours(node, annotations));
        let here = ours.map(|(_, digest, _)| digest.clone()).or(here);
        if self.asked.contains(&node.id) {
            for (reference, digest, annotations) in &released {
                if here.as_ref() != Some(digest) {
                    self.problems.push(taken(reference, node, annotations));
                }
            }
        }
        if let Some(digest) = here {
            self.present.insert((node.id.clone(), registry), digest);
        }
    }

    fn refuse_foreign(&mut self) {
        for (id, problem) in std::mem::take(&mut self.foreign) {
            if self.nodes[id].state != NodeState::NotNeeded {
                self.problems.push(problem);
            }
        }
    }

    /// Nodes whose very digest stands under a tag that people use: they have passed their tests. A
    /// rolling tag counts for nodes that have no other.
    fn tested(&self) -> BTreeSet<NodeId> {
        let tested = self.view.graph.nodes.iter().filter(|node| {
            let NodeState::Reuse { digest, .. } = self.state(node) else {
                return false;
            };
            let rolling = node.rolling_tags.iter().map(|rolling| &rolling.tag);
            let tags: Vec<&Tag> = match node.release_tags.is_empty() {
                true => rolling.collect(),
                false => node.release_tags.iter().collect(),
            };
            let stands = |digest: &Digest| {
                self.active.iter().any(|&registry| {
                    tags.iter().any(|tag| {
                        let reference = self.view.reference(registry, node, tag);
                        matches!(
                            self.view.inventory.of(&reference),
                            Observed::Present { digest: other, .. } if other == *digest
                        )
                    })
                })
            };
            self.active.iter().all(|&registry| {
                let here = self.present.get(&(node.id.clone(), registry));
                stands(here.unwrap_or(digest))
            })
        });
        tested.map(|node| node.id.clone()).collect()
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
            let asked = self.asked.contains(&node.id) || wanted.contains(&node.id);
            let plan = match (asked, here) {
                (false, _) => NodePlan {
                    state: NodeState::NotNeeded,
                    reason: match (&node.role, &graph.request.only) {
                        (Role::Feature(_), None) => "everything made of it is published",
                        (Role::Feature(_), Some(_)) => {
                            "everything asked for that is made of it is published"
                        }
                        (Role::Image | Role::Variant(_), _) => "not asked for",
                    }
                    .to_owned(),
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
                    wanted.extend(node.parts().into_iter().cloned());
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

    fn act(&mut self, tested: &BTreeSet<NodeId>) {
        self.make();
        self.publish();
        let tags = self.tags();
        let rolls = self.rolls();
        self.test(&tags, &rolls, tested);
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
                let (id, platform) = (node.id.clone(), platform.clone());
                self.actions.push(match &node.make {
                    Make::Build(_) => Action::Build { node: id, platform },
                    Make::Graft(_) => Action::Graft { node: id, platform },
                });
            }
        }
    }

    fn publish(&mut self) {
        for node in &self.view.graph.nodes {
            for &registry in &self.active {
                let content_tag = self.view.reference(registry, node, &node.content_tag);
                let expect = self.expectation(&content_tag);
                let here = self.present.get(&(node.id.clone(), registry));
                let (from, digest) = match (self.state(node), here) {
                    (NodeState::NotNeeded, _) => continue,
                    (NodeState::Make, _) => {
                        self.actions.push(Action::Push {
                            node: node.id.clone(),
                            registry,
                            content_tag,
                            expect,
                        });
                        continue;
                    }
                    (NodeState::Reuse { .. }, Some(here)) => (registry, here.clone()),
                    (NodeState::Reuse { registry, digest }, None) => (*registry, digest.clone()),
                };
                // A release tag may outlive its content tag, which is put back then.
                if expect != Expect::Digest(digest.clone()) {
                    self.actions.push(Action::Copy {
                        node: node.id.clone(),
                        digest,
                        from,
                        to: registry,
                        content_tag,
                        expect,
                    });
                }
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
            .filter(|node| self.asked.contains(&node.id))
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

    /// A node is judged and smoke-tested before its first user-facing tag is written.
    fn test(&mut self, tags: &[Action], rolls: &[Action], tested: &BTreeSet<NodeId>) {
        let graph = self.view.graph;
        let building_only = graph.request.version.is_none();
        let due = |node: &&Node| {
            let tagged = tags
                .iter()
                .any(|action| matches!(action, Action::Tag { node: id, .. } if *id == node.id));
            let rolled = node.release_tags.is_empty()
                && rolls.iter().any(
                    |action| matches!(action, Action::Roll { node: id, .. } if *id == node.id),
                );
            let made = *self.state(node) == NodeState::Make;
            !tested.contains(&node.id) && (tagged || rolled || made && building_only)
        };
        let due: Vec<&Node> = graph.nodes.iter().filter(due).collect();
        for node in due.iter().filter(|node| node.lint.is_some()) {
            self.actions
                .extend(node.platforms.iter().map(|platform| Action::Lint {
                    node: node.id.clone(),
                    platform: platform.clone(),
                }));
        }
        for node in due.iter().filter(|node| !node.smoke.is_empty()) {
            self.actions
                .extend(node.platforms.iter().map(|platform| Action::Smoke {
                    node: node.id.clone(),
                    platform: platform.clone(),
                }));
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

    /// A release is recorded wherever something of it is written, and where it is complete but for
    /// its record: the program may have ended in between.
    fn record(&mut self) {
        let Some((node, tag)) = self.view.graph.record_tag() else {
            return;
        };
        for &registry in &self.active {
            let reference = self.view.reference(registry, node, &tag);
            let mut actions = self.actions.iter();
            let writes = actions.any(|action| writes_to(action, registry));
            if writes || self.view.inventory.of(&reference) == Observed::Absent {
                self.actions.push(Action::Record {
                    registry,
                    reference,
                });
            }
        }
    }
}

pub(crate) fn writes_to(action: &Action, at: usize) -> bool {
    match action {
        Action::Push { registry, .. }
        | Action::Tag { registry, .. }
        | Action::Roll { registry, .. }
        | Action::Record { registry, .. } => *registry == at,
        Action::Copy { to, .. } => *to == at,
        Action::Build { .. }
        | Action::Graft { .. }
        | Action::Lint { .. }
        | Action::Smoke { .. }
        | Action::Verify { .. } => false,
    }
}
