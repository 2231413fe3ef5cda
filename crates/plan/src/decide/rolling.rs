//! Which rolling tags move, in which order, and why others stay.

use std::collections::BTreeSet;

use super::Maker;
use crate::value::Action;
use crate::{Node, NodeId, Observed, ReleaseVersion, Role, Rolling};

impl Maker<'_> {
    /// The rolling tags that move: all images, those that others are built on last.
    pub(super) fn rolls(&mut self) -> Vec<Action> {
        let graph = self.view.graph;
        let Some(version) = graph.request.version.clone() else {
            return Vec::new();
        };
        let any = graph
            .nodes
            .iter()
            .any(|node| self.asked.contains(&node.id) && !node.rolling_tags.is_empty());
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
        let bases: BTreeSet<&NodeId> = graph.nodes.iter().filter_map(Node::parent).collect();
        let (last, first): (Vec<&Node>, Vec<&Node>) = graph
            .nodes
            .iter()
            .partition(|node| bases.contains(&node.id));
        let mut actions = Vec::new();
        for node in first.into_iter().chain(last.into_iter().rev()) {
            if !self.asked.contains(&node.id) {
                continue;
            }
            for registry in self.active.clone() {
                if let Some(waiting) = self.incomplete_below(node, registry) {
                    if !node.rolling_tags.is_empty() {
                        self.remark(format!(
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
        if let Observed::Present { digest, .. } = self.view.inventory.of(&reference)
            && self.present.get(&(node.id.clone(), registry)) == Some(&digest)
        {
            return;
        }
        if let Some(newer) = self.newer_release(node, registry, rolling, version) {
            self.remark(format!(
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

    /// The same remark holds for several registries; it is made once.
    fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Something built on this node that was left out and is not released here: with `--only`, a
    /// base waits for its whole family.
    fn incomplete_below(&self, node: &Node, registry: usize) -> Option<NodeId> {
        let graph = self.view.graph;
        let left_out = graph.nodes.iter().filter(|other| {
            !matches!(other.role, Role::Feature(_))
                && !self.asked.contains(&other.id)
                && graph.descends(other, &node.id)
        });
        let is_released = |other: &Node| {
            let Some(published) = self.present.get(&(other.id.clone(), registry)) else {
                return false;
            };
            other.release_tags.iter().all(|tag| {
                let reference = self.view.reference(registry, other, tag);
                matches!(
                    self.view.inventory.of(&reference),
                    Observed::Present { digest, .. } if digest == *published
                )
            })
        };
        let mut waiting = left_out.filter(|other| !is_released(other));
        waiting.next().map(|other| other.id.clone())
    }

    /// A stable release newer than this one, of the line that the tag follows.
    fn newer_release(
        &self,
        node: &Node,
        registry: usize,
        rolling: &Rolling,
        version: &ReleaseVersion,
    ) -> Option<ReleaseVersion> {
        let mut newest: Option<ReleaseVersion> = None;
        for owner in self.view.graph.followed_by(node) {
            let Some(line) = &owner.release_line else {
                continue;
            };
            let repository = self
                .view
                .reference(registry, owner, &owner.content_tag)
                .repository;
            let tags = self.view.inventory.tags.get(&repository);
            for other in tags
                .into_iter()
                .flatten()
                .filter_map(|tag| line.version_of(tag))
            {
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
}
