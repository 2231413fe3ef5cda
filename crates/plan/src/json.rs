//! A plan as JSON, for programs to read. The same plan gives the same bytes.

use serde_json::{Value, json};

use crate::value::{Action, Expect, NodeState, Plan};
use crate::{Make, Node, Role};

/// The form is versioned by its `schema` field and described in `docs/reference/plan-json.md`.
pub fn to_json(plan: &Plan) -> Value {
    let nodes: Vec<Value> = plan
        .graph
        .nodes
        .iter()
        .map(|node| node_json(plan, node))
        .collect();
    let actions: Vec<Value> = plan
        .actions
        .iter()
        .map(|action| action_json(plan, action))
        .collect();
    let degraded: Vec<Value> = plan
        .degraded
        .iter()
        .map(|d| json!({ "registry": plan.registries[d.registry].to_string(), "why": d.why }))
        .collect();
    let registries: Vec<String> = plan.registries.iter().map(ToString::to_string).collect();
    json!({
        "schema": "launchway.plan.v1",
        "version": plan.version.as_ref().map(ToString::to_string),
        "registries": registries,
        "degraded": degraded,
        "nodes": nodes,
        "actions": actions,
        "remarks": plan.remarks,
    })
}

fn node_json(plan: &Plan, node: &Node) -> Value {
    let planned = plan.nodes.get(&node.id);
    let (state, digest) = match planned.map(|planned| &planned.state) {
        Some(NodeState::Reuse { digest, .. }) => ("reuse", Some(digest.to_string())),
        Some(NodeState::Make) => ("make", None),
        Some(NodeState::NotNeeded) | None => ("not-needed", None),
    };
    let (role, feature, variant) = match &node.role {
        Role::Image => ("image", None, None),
        Role::Feature(name) => ("feature", Some(name.to_string()), None),
        Role::Variant(name) => ("variant", None, Some(name.to_string())),
    };
    let make = match &node.make {
        Make::Build(recipe) => json!({
            "build": {
                "dockerfile": recipe.dockerfile,
                "context": recipe.context,
                "target": recipe.target,
                "args": recipe.args,
                "base": recipe.base.as_ref().map(|(_, id)| id.to_string()),
                "neutral": recipe.neutral,
            }
        }),
        Make::Graft(recipe) => json!({
            "graft": {
                "base": recipe.base.to_string(),
                "features": recipe.features.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "on-conflict": "the later feature is built on top of the earlier ones",
            }
        }),
    };
    json!({
        "id": node.id.to_string(),
        "image": node.image.to_string(),
        "role": role,
        "feature": feature,
        "variant": variant,
        "repository": node.repository,
        "content-tag": node.content_tag.to_string(),
        "input-hash": node.hash.to_string(),
        "platforms": node.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "inputs": node.inputs,
        "make": make,
        "release-tags": node.release_tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rolling-tags": node.rolling_tags.iter().map(|rolling| rolling.tag.to_string()).collect::<Vec<_>>(),
        "state": state,
        "tested": plan.tested.contains(&node.id),
        "digest": digest,
        "reason": planned.map(|planned| planned.reason.clone()),
    })
}

fn action_json(plan: &Plan, action: &Action) -> Value {
    let registry = |at: usize| plan.registries[at].to_string();
    let expect = |expect: &Expect| match expect {
        Expect::Absent => json!("absent"),
        Expect::Digest(digest) => json!(digest.to_string()),
    };
    match action {
        Action::Build { node, platform } => {
            json!({ "action": "build", "node": node.to_string(), "platform": platform.to_string() })
        }
        Action::Graft { node, platform } => {
            json!({ "action": "graft", "node": node.to_string(), "platform": platform.to_string() })
        }
        Action::Push {
            node,
            registry: at,
            content_tag,
            expect: e,
        } => json!({
            "action": "push", "node": node.to_string(), "registry": registry(*at),
            "reference": content_tag.to_string(), "expect": expect(e),
        }),
        Action::Copy {
            node,
            digest,
            from,
            to,
            content_tag,
            expect: e,
        } => json!({
            "action": "copy", "node": node.to_string(), "digest": digest.to_string(),
            "from": registry(*from), "registry": registry(*to),
            "reference": content_tag.to_string(), "expect": expect(e),
        }),
        Action::Lint { node, platform } => {
            json!({ "action": "lint", "node": node.to_string(), "platform": platform.to_string() })
        }
        Action::Smoke { node, platform } => {
            json!({ "action": "smoke", "node": node.to_string(), "platform": platform.to_string() })
        }
        Action::Tag {
            node,
            registry: at,
            reference,
            expect: e,
        } => json!({
            "action": "tag", "node": node.to_string(), "registry": registry(*at),
            "reference": reference.to_string(), "expect": expect(e),
        }),
        Action::Verify { registry: at } => json!({ "action": "verify", "registry": registry(*at) }),
        Action::Roll {
            node,
            registry: at,
            reference,
            expect: e,
        } => json!({
            "action": "roll", "node": node.to_string(), "registry": registry(*at),
            "reference": reference.to_string(), "expect": expect(e),
        }),
        Action::Record {
            registry: at,
            reference,
        } => json!({
            "action": "record", "registry": registry(*at), "reference": reference.to_string(),
        }),
    }
}
