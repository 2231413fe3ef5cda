//! What a release tells while it runs. Progress views, logs, JSON and records all come from these.

use std::sync::Arc;
use std::time::Duration;

use launchway_lint::Report;
use launchway_model::{Digest, Platform, Reference};
use launchway_plan::{NodeId, Phase};

#[derive(Clone, Debug)]
pub enum Event {
    PhaseStarted(Phase),
    NodeStarted {
        node: NodeId,
        platform: Platform,
        graft: bool,
    },
    /// What the engine says while it builds a node.
    Build {
        node: NodeId,
        platform: Platform,
        event: launchway_engine::Event,
    },
    NodeDone {
        node: NodeId,
        platform: Platform,
        took: Duration,
    },
    NodeFailed {
        node: NodeId,
        platform: Platform,
    },
    /// Two features change the same path, so the later one is built on top of the earlier.
    Conflict {
        node: NodeId,
        platform: Platform,
        path: String,
        first: String,
        second: String,
    },
    PushStarted {
        node: NodeId,
        registry: String,
    },
    PushDone {
        node: NodeId,
        registry: String,
        reference: Reference,
        digest: Digest,
        /// Bytes sent, and bytes that were there already or mounted.
        sent: u64,
        shared: u64,
        took: Duration,
    },
    /// One request is repeated, or bytes of one blob moved.
    Transfer(launchway_registry::ClientEvent),
    /// What was pushed was judged.
    Linted {
        node: NodeId,
        platform: Platform,
        report: Arc<Report>,
        /// Entries of the allow list that allowed nothing.
        unused: Vec<String>,
    },
    SmokeStarted {
        node: NodeId,
        platform: Platform,
    },
    SmokeDone {
        node: NodeId,
        platform: Platform,
        tests: usize,
        took: Duration,
    },
    SmokeFailed {
        node: NodeId,
        platform: Platform,
        test: String,
        why: String,
    },
    Tagged {
        reference: Reference,
        digest: Digest,
    },
    Verified {
        registry: String,
        references: usize,
    },
    Rolled {
        reference: Reference,
        digest: Digest,
    },
    Recorded {
        reference: Reference,
        digest: Digest,
    },
    RegistryFailed {
        registry: String,
        why: String,
    },
    Warning(String),
}
