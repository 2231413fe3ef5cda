//! The release record: what a release did, in full, stored in the registry beside the images.
//!
//! A record is evidence, never an input: deciding always looks at the registry itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use launchway_lint::{Level, Report};
use launchway_model::{Digest, Platform};
use launchway_plan::{Action, Node, NodeId, NodeState, Plan, Role};
use serde_json::{Value, json};

/// The artifact type of a record, and the media type of its blob.
pub(crate) const RECORD: &str = "application/vnd.launchway.release-record.v1+json";

/// Facts about the run that the plan does not know.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// RFC 3339.
    pub started: String,
    pub family: String,
    pub git_commit: Option<String>,
    pub git_branch: Option<String>,
    pub git_dirty: Option<bool>,
}

/// The record for one registry. It holds no secret: only names, digests, versions and times.
pub(crate) fn record(
    plan: &Plan,
    registry: usize,
    published: &BTreeMap<(NodeId, usize), Digest>,
    judged: &BTreeMap<(NodeId, Platform), Arc<Report>>,
    facts: &RunFacts,
    finished: &str,
) -> Value {
    let nodes: Vec<Value> = plan
        .graph
        .nodes
        .iter()
        .filter(|node| plan.nodes.get(&node.id).is_some_and(|planned| planned.state != NodeState::NotNeeded))
        .map(|node| {
            let role = match &node.role {
                Role::Image => "image",
                Role::Feature(_) => "feature",
                Role::Variant(_) => "variant",
            };
            json!({
                "node": node.id.to_string(),
                "role": role,
                "repository": node.repository,
                "content-tag": node.content_tag.to_string(),
                "input-hash": node.hash.to_string(),
                "inputs": node.inputs,
                "platforms": node.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "digest": published.get(&(node.id.clone(), registry)).map(ToString::to_string),
                "release-tags": node.release_tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "reused": matches!(plan.nodes[&node.id].state, NodeState::Reuse { .. }),
                "reason": plan.nodes[&node.id].reason,
                "lint": lint_of(node, judged),
            })
        })
        .collect();
    let rolled: Vec<Value> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Roll {
                registry: at,
                reference,
                expect,
                ..
            } if *at == registry => Some(json!({
                "reference": reference.to_string(),
                "before": match expect {
                    launchway_plan::Expect::Absent => None,
                    launchway_plan::Expect::Digest(digest) => Some(digest.to_string()),
                },
            })),
            _ => None,
        })
        .collect();
    json!({
        "schema": "launchway.release.v1",
        "launchway": env!("CARGO_PKG_VERSION"),
        "family": facts.family,
        "version": plan.version.as_ref().map(ToString::to_string),
        "registry": plan.registries[registry].to_string(),
        "started": facts.started,
        "finished": finished,
        "git": { "commit": facts.git_commit, "branch": facts.git_branch, "dirty": facts.git_dirty },
        "nodes": nodes,
        "rolling": rolled,
    })
}

/// What the lint of this run said, by platform; null where none was due.
fn lint_of(node: &Node, judged: &BTreeMap<(NodeId, Platform), Arc<Report>>) -> Value {
    let found: serde_json::Map<String, Value> = node
        .platforms
        .iter()
        .filter_map(|platform| {
            let report = judged.get(&(node.id.clone(), platform.clone()))?;
            let summary = json!({
                "size": report.size,
                "unpacked": report.shipped,
                "wasted": report.wasted,
                "warnings": report.at(Level::Warn),
                "notes": report.at(Level::Note),
            });
            Some((platform.to_string(), summary))
        })
        .collect();
    if found.is_empty() {
        Value::Null
    } else {
        Value::Object(found)
    }
}
