//! What must not be overwritten, and how a node is told from others.

use std::collections::BTreeMap;

use launchway_diagnostics::Diagnostic;
use launchway_model::Reference;

use crate::inventory::annotation;
use crate::{Node, codes, reason};

/// Whether annotations say that something was made from this node's inputs.
pub(super) fn says_ours(node: &Node, annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(annotation::INPUT_HASH) == Some(&node.hash.to_string())
}

/// Whether what stands under a content tag was made from this node's inputs. Tags of an older
/// recipe carry no annotations; their name is all there is to go by.
pub(super) fn is_ours(node: &Node, annotations: &BTreeMap<String, String>) -> bool {
    let unsaid = !annotations.contains_key(annotation::INPUT_HASH);
    says_ours(node, annotations) || node.legacy && unsaid
}

pub(super) fn foreign(
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

pub(super) fn taken(
    reference: &Reference,
    node: &Node,
    annotations: &BTreeMap<String, String>,
) -> Diagnostic {
    let message = format!("{reference} is published already, with other content");
    let before = reason::inputs_of(annotations);
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
