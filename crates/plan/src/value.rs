//! A plan: what is there, what will be done, in which order, and why.

use std::collections::{BTreeMap, BTreeSet};

use launchway_manifest::RegistryPrefix;
use launchway_model::{Digest, Platform, Reference};

use crate::{Graph, NodeId, ReleaseVersion};

/// An immutable value; executing it decides nothing except the graft conflict, for which the graft
/// names both ways.
#[derive(Clone, Debug)]
pub struct Plan {
    pub graph: Graph,
    pub registries: Vec<RegistryPrefix>,
    /// Registries that gave no certain answer; nothing is written to them.
    pub degraded: Vec<Degraded>,
    pub version: Option<ReleaseVersion>,
    pub nodes: BTreeMap<NodeId, NodePlan>,
    /// Where each node is published already.
    pub present: BTreeMap<(NodeId, usize), Digest>,
    /// Nodes whose very digest stands under a release tag already, or under a rolling tag when they
    /// have no other: they have passed their lint and their smoke tests.
    pub tested: BTreeSet<NodeId>,
    /// In the order of the release transaction. Builds and pushes may overlap as far as the graph
    /// lets them; nothing of a later phase starts before every earlier phase is done.
    pub actions: Vec<Action>,
    /// What was left out on purpose, for people to read.
    pub remarks: Vec<String>,
}

/// A registry that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    pub registry: usize,
    pub why: String,
}

/// One node of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    pub state: NodeState,
    /// Why it is built, reused or left alone.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Published already: on this registry, with this digest.
    Reuse { registry: usize, digest: Digest },
    /// To be built or grafted.
    Make,
    /// Nothing of this plan asks for it.
    NotNeeded,
}

/// What must be true of a tag when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Digest(Digest),
}

/// A closed list of what a release can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the Dockerfile for one platform.
    Build { node: NodeId, platform: Platform },
    /// Stack base and feature layers for one platform; nothing is run. On a conflict between two
    /// features the later one is built on top of the earlier ones.
    Graft { node: NodeId, platform: Platform },
    /// Publish a node that was made by this plan: blobs, platform manifests, index, content tag.
    Push {
        node: NodeId,
        registry: usize,
        content_tag: Reference,
        expect: Expect,
    },
    /// Publish a node that a registry holds: another one, or the same one when only the content
    /// tag is missing.
    Copy {
        node: NodeId,
        digest: Digest,
        from: usize,
        to: usize,
        content_tag: Reference,
        expect: Expect,
    },
    /// Judge what the pushed digest ships, by the node's lint policy.
    Lint { node: NodeId, platform: Platform },
    /// Run the node's smoke tests on the pushed digest.
    Smoke { node: NodeId, platform: Platform },
    /// Write an immutable tag.
    Tag {
        node: NodeId,
        registry: usize,
        reference: Reference,
        expect: Expect,
    },
    /// Observe everything again on one registry before any rolling tag moves.
    Verify { registry: usize },
    /// Move a rolling tag.
    Roll {
        node: NodeId,
        registry: usize,
        reference: Reference,
        expect: Expect,
    },
    /// Store the release record.
    Record {
        registry: usize,
        reference: Reference,
    },
}

/// The phases of the release transaction, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Make,
    Publish,
    Lint,
    Smoke,
    Tag,
    Verify,
    Roll,
    Record,
}

impl Action {
    pub fn phase(&self) -> Phase {
        match self {
            Self::Build { .. } | Self::Graft { .. } => Phase::Make,
            Self::Push { .. } | Self::Copy { .. } => Phase::Publish,
            Self::Lint { .. } => Phase::Lint,
            Self::Smoke { .. } => Phase::Smoke,
            Self::Tag { .. } => Phase::Tag,
            Self::Verify { .. } => Phase::Verify,
            Self::Roll { .. } => Phase::Roll,
            Self::Record { .. } => Phase::Record,
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    pub fn is_degraded(&self, registry: usize) -> bool {
        self.degraded
            .iter()
            .any(|degraded| degraded.registry == registry)
    }
}
