//! A report as JSON, for programs to read. The same report gives the same bytes.

use serde_json::{Value, json};

use crate::{Finding, Policy, Report};

/// The form is described in `docs/lint.md`. Layers are counted from 1.
#[must_use]
pub fn to_json(report: &Report, policy: &Policy) -> Value {
    let layers: Vec<Value> = report
        .layers
        .iter()
        .map(|layer| {
            json!({
                "diff-id": layer.digest,
                "instruction": layer.instruction,
                "inherited": layer.inherited,
                "size": layer.size,
                "files": layer.files,
                "unpacked": layer.unpacked,
                "wasted": layer.wasted,
            })
        })
        .collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| finding_json(report, finding))
        .collect();
    let allowed: Vec<Value> = policy
        .allows
        .iter()
        .zip(&report.allowed)
        .map(|(allow, used)| {
            json!({
                "rule": allow.rule.name(),
                "path": allow.path.as_ref().map(|path| path.as_str()),
                "reason": allow.reason,
                "used": used,
            })
        })
        .collect();
    let exceeded: Vec<Value> = report
        .exceeded
        .iter()
        .map(|over| json!({ "budget": over.budget, "limit": over.limit, "found": over.found }))
        .collect();
    json!({
        "passed": report.is_passed(),
        "size": report.size,
        "unpacked": report.shipped,
        "wasted": report.wasted,
        "efficiency": f64::from(report.efficiency()) / 1000.0,
        "layers": layers,
        "findings": findings,
        "allowed": allowed,
        "exceeded": exceeded,
    })
}

fn finding_json(report: &Report, finding: &Finding) -> Value {
    let spots: Vec<Value> = finding
        .spots
        .iter()
        .map(|spot| {
            json!({
                "path": spot.path,
                "bytes": spot.bytes,
                "line": spot.line,
                "note": spot.note,
            })
        })
        .collect();
    let instruction = finding
        .layer
        .and_then(|layer| report.layers[layer].instruction.as_deref());
    json!({
        "rule": finding.rule.name(),
        "level": finding.level.name(),
        "title": finding.title,
        "layer": finding.layer.map(|layer| layer + 1),
        "instruction": instruction,
        "origin": finding.origin.map(|layer| layer + 1),
        "bytes": finding.bytes,
        "wasted": finding.wasted,
        "paths": spots,
        "notes": finding.notes,
        "help": finding.help,
    })
}
