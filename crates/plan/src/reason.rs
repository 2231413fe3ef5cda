//! Why a node is built, in words: the difference between the inputs it was last published with and
//! those it has now.

use std::collections::{BTreeMap, BTreeSet};

use launchway_model::Reference;

use crate::inventory::annotation;
use crate::{Graph, Inventory, Make, Node, NodeId, Observed, Role};

/// The inputs a node had when its rolling tag was last moved, if any registry knows.
pub(crate) fn previous_inputs(
    graph: &Graph,
    node: &Node,
    inventory: &Inventory,
    rolling: &dyn Fn(&Node) -> Vec<Reference>,
) -> Option<BTreeMap<String, String>> {
    let published = |node: &Node| {
        rolling(node)
            .iter()
            .find_map(|reference| match inventory.of(reference) {
                Observed::Present { annotations, .. } => inputs_of(&annotations),
                Observed::Absent | Observed::Unknown { .. } => None,
            })
    };
    match &node.role {
        Role::Image | Role::Variant(_) => published(node),
        Role::Feature(feature) => {
            let prefix = format!("{feature}/");
            let users = graph.nodes.iter().filter(|other| uses(other, &node.id));
            users.filter_map(published).find_map(|inputs| {
                let own: BTreeMap<String, String> = inputs
                    .into_iter()
                    .filter_map(|(name, value)| {
                        name.strip_prefix(&prefix)
                            .map(|name| (name.to_owned(), value))
                    })
                    .collect();
                (!own.is_empty()).then_some(own)
            })
        }
    }
}

fn uses(node: &Node, feature: &NodeId) -> bool {
    matches!(&node.make, Make::Graft(recipe) if recipe.features.contains(feature))
}

pub(crate) fn inputs_of(
    annotations: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    let value: serde_json::Value =
        serde_json::from_str(annotations.get(annotation::INPUTS)?).ok()?;
    let object = value.as_object()?;
    object
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The difference in words, changed things first: `OPENCODE_VERSION 1.15.12 → 1.15.13; base
/// unchanged`.
pub(crate) fn difference(node: &Node, before: Option<&BTreeMap<String, String>>) -> String {
    let Some(before) = before else {
        return "not published yet".to_owned();
    };
    let names: BTreeSet<&String> = before.keys().chain(node.inputs.keys()).collect();
    let mut changes = Vec::new();
    let mut told: BTreeSet<String> = BTreeSet::new();
    for name in names {
        let (old, new) = (before.get(name), node.inputs.get(name));
        if old == new {
            continue;
        }
        // What a feature shares with its variants is told once, without the feature.
        let shared = name.split_once('/').map(|(_, plain)| plain);
        if shared.is_some_and(|plain| (before.get(plain), node.inputs.get(plain)) == (old, new)) {
            continue;
        }
        // A feature's inputs stand in its variants as `feature/input`; the change is told once.
        let plain = name
            .rsplit_once('/')
            .map_or(name.as_str(), |(_, plain)| plain);
        let is_version = plain
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let text = match (old, new) {
            (Some(old), Some(new)) if is_version => format!("{plain} {old} → {new}"),
            (Some(_), Some(_)) => format!("{name} changed"),
            (None, Some(new)) if is_version => format!("{plain} {new} is new"),
            (None, _) => format!("{name} is new"),
            (_, None) => format!("{name} is gone"),
        };
        if told.insert(text.clone()) {
            changes.push(text);
        }
    }
    if changes.is_empty() {
        return "the same inputs, but not published under this tag".to_owned();
    }
    let base = parent_name(node).filter(|name| before.get(name) == node.inputs.get(name));
    if let Some(base) = base {
        changes.push(format!("{base} unchanged"));
    }
    changes.join("; ")
}

fn parent_name(node: &Node) -> Option<String> {
    match &node.make {
        Make::Build(recipe) => recipe.base.as_ref().map(|(name, _)| name.to_string()),
        Make::Graft(recipe) => Some(recipe.base.to_string()),
    }
}
