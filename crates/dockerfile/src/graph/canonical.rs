//! The text of a Dockerfile that a content hash is made of.

use super::{StageBase, StageGraph};
use crate::Dockerfile;

/// The text that the result depends on, apart from files, arguments and the content of bases:
/// the instructions of reachable stages, comments and continuations removed.
///
/// Stages are told by their place among the reachable ones, so a stage that is not needed can be
/// added, changed or removed without a trace.
pub fn canonical(file: &Dockerfile, graph: &StageGraph) -> Vec<String> {
    let mut text = vec![format!("escape {}", file.directives.escape)];
    let globals = file.global_args.iter().flat_map(|arg| &arg.definitions);
    for definition in globals.filter(|definition| graph.declared_args.contains(&*definition.name)) {
        text.push(match &definition.default {
            Some(default) => format!("ARG {}={}", definition.name.value, default.value),
            None => format!("ARG {}", definition.name.value),
        });
    }
    let place = |index: usize| graph.stages.iter().position(|stage| stage.index == index);
    for resolved in &graph.stages {
        let stage = &file.stages[resolved.index];
        text.push(stage.text.clone());
        let sources = resolved.from_sources.iter();
        let sources = sources.map(|(name, base)| (name.as_str(), base));
        for (name, base) in [("FROM", &resolved.base)].into_iter().chain(sources) {
            let base = match base {
                StageBase::Scratch => "scratch".to_owned(),
                // Everything a reachable stage refers to is reachable.
                StageBase::Stage(index) => format!("stage {}", place(*index).unwrap_or(*index)),
                StageBase::Named(context) => format!("context {context}"),
                StageBase::External(reference) => format!("image {reference}"),
            };
            text.push(format!("{name} is {base}"));
        }
        text.extend(
            stage
                .instructions
                .iter()
                .map(|instruction| instruction.text.clone()),
        );
    }
    text
}
