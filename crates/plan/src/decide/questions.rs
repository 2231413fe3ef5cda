//! What to ask the registries, and which of them gave no certain answer.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::Diagnostic;
use launchway_manifest::RegistryPrefix;
use launchway_model::{Reference, Repository, Tag};

use crate::value::Degraded;
use crate::{Graph, Inventory, Node, NodeId, Observed, ReleaseVersion, codes};

/// How long a tag may be, in characters, by the distribution spec.
const TAG_LIMIT: usize = 128;
/// What the tags of records begin with.
const RECORD_PREFIX: &str = "launchway-record-";

/// Every reference whose state a plan depends on, and the repositories whose tags it must know.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    pub references: BTreeSet<Reference>,
    /// References of which it matters only whether they are there.
    pub bare: BTreeSet<Reference>,
    pub repositories: BTreeSet<Repository>,
}

impl Graph {
    /// What to ask the registries before deciding.
    pub fn questions(&self, registries: &[RegistryPrefix]) -> Result<Questions, Vec<Diagnostic>> {
        let mut all = Questions::default();
        for one in questions_by_registry(self, registries)? {
            all.references.extend(one.references);
            all.bare.extend(one.bare);
            all.repositories.extend(one.repositories);
        }
        Ok(all)
    }

    /// Whether rolling tags may move at all.
    pub(crate) fn may_roll(&self) -> bool {
        let version = self.request.version.as_ref();
        self.request.promote && version.is_some_and(ReleaseVersion::is_stable)
    }

    /// Where the record of a release stands on each registry: whose repository, and the tag. It is
    /// named after the release tag of the first node that has one.
    pub fn record_tag(&self) -> Option<(&Node, Tag)> {
        let version = self.request.version.as_ref()?;
        let released = self.nodes.iter().find(|node| !node.release_tags.is_empty());
        let node = released.or(self.nodes.first())?;
        let name = match node.release_tags.first() {
            Some(tag) => tag.to_string(),
            None => format!("v{version}"),
        };
        // The grammar ends a tag at 128 characters, and the version is in the last of them.
        let room = TAG_LIMIT - RECORD_PREFIX.len();
        let name = &name[name.len().saturating_sub(room)..];
        let tag = format!("{RECORD_PREFIX}{name}").parse().ok()?;
        Some((node, tag))
    }

    /// The nodes whose releases the rolling tags of a node follow: its own, and for a base without
    /// releases those of everything built on it.
    pub(crate) fn followed_by<'g>(&'g self, node: &'g Node) -> Vec<&'g Node> {
        if node.release_line.is_some() {
            return vec![node];
        }
        let below = self
            .nodes
            .iter()
            .filter(|other| other.release_line.is_some() && self.descends(other, &node.id));
        below.collect()
    }
}

/// The questions to each registry, in the order of the registries. Registries may share a host, so
/// a reference alone does not say whose it is.
pub(super) fn questions_by_registry(
    graph: &Graph,
    registries: &[RegistryPrefix],
) -> Result<Vec<Questions>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut writers: BTreeMap<Reference, (usize, &NodeId)> = BTreeMap::new();
    let mut collisions: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut all = Vec::new();
    for (at, registry) in registries.iter().enumerate() {
        let mut questions = Questions::default();
        for node in &graph.nodes {
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
            for tag in node.all_tags() {
                let reference = repository.with_tag(tag.clone());
                if let Some((other, first)) = writers.insert(reference.clone(), (at, &node.id))
                    && other != at
                    && collisions.insert((other, at))
                {
                    let message = format!(
                        "`{first}` on {} and `{}` on {registry} would both be published as {reference}",
                        registries[other], node.id
                    );
                    let problem = Diagnostic::error(codes::TAG_COLLISION, message);
                    problems.push(problem.help(if registries[other] == *registry {
                        "name each registry once"
                    } else {
                        "give one of the registries another prefix, or one of the images another repository"
                    }));
                }
                questions.references.insert(reference);
            }
            if let Some((owner, tag)) = graph.record_tag()
                && owner.id == node.id
            {
                questions.bare.insert(repository.with_tag(tag));
            }
            if graph.may_roll() && !node.rolling_tags.is_empty() {
                let followed = graph.followed_by(node).into_iter();
                questions
                    .repositories
                    .extend(followed.filter_map(|one| registry.repository(&one.repository).ok()));
            }
        }
        all.push(questions);
    }
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(problems)
    }
}

/// The registries of which not everything that matters is known.
pub(super) fn degraded(questions: &[Questions], inventory: &Inventory) -> Vec<Degraded> {
    let mut degraded = Vec::new();
    for (registry, questions) in questions.iter().enumerate() {
        let unknown =
            questions.references.iter().chain(&questions.bare).find_map(
                |reference| match inventory.of(reference) {
                    Observed::Unknown { why } => Some(why),
                    Observed::Present { .. } | Observed::Absent => None,
                },
            );
        let unlisted = questions
            .repositories
            .iter()
            .find(|repository| !inventory.tags.contains_key(*repository))
            .map(|repository| format!("the tags of {repository} could not be listed"));
        if let Some(why) = unknown.or(unlisted) {
            degraded.push(Degraded { registry, why });
        }
    }
    degraded
}
