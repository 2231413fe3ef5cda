//! From a Dockerfile and the settings of one build to the stages that are needed.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span};
use launchway_model::Platform;

use crate::{Dockerfile, Instruction};

/// The settings of one build.
#[derive(Clone, Copy, Debug)]
pub struct BuildInputs<'a> {
    /// A stage by name or number; the last stage when not given.
    pub target: Option<&'a str>,
    pub build_args: &'a BTreeMap<String, String>,
    pub platform: &'a Platform,
    pub build_platform: &'a Platform,
    /// Names that win over images and stages of the same name.
    pub named_contexts: &'a BTreeSet<String>,
}

/// What a build of one target needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageGraph {
    /// The reachable stages, dependencies first, the target last.
    pub stages: Vec<ResolvedStage>,
    /// Every image of a registry that is used, once per platform.
    pub external: Vec<ExternalImage>,
    /// Build arguments that can change the result: declared in a reachable stage, or used by a
    /// `FROM` of one, or by the default of such a global argument.
    pub declared_args: BTreeSet<String>,
    /// What is read from the build context.
    pub context_sources: Vec<ContextSource>,
    pub warnings: Vec<Diagnostic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedStage {
    /// Into [`Dockerfile::stages`].
    pub index: usize,
    pub base: StageBase,
    /// What the steps run on. A stage from a stage has that one's; a named context's image may
    /// have another than this says.
    pub platform: Platform,
    /// What `ARG NAME` without a default takes when no build argument is given.
    pub args: BTreeMap<String, String>,
    /// `ONBUILD` instructions of the stage it is from, to be run before its own.
    pub triggers: Vec<Instruction>,
    /// The text of every `--from` and mount `from=`, and what it is.
    pub from_sources: BTreeMap<String, StageBase>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageBase {
    Scratch,
    /// Into [`Dockerfile::stages`].
    Stage(usize),
    /// A named context, as [`BuildInputs::named_contexts`] spells it.
    Named(String),
    /// An image reference as written, variables filled in.
    External(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalImage {
    pub reference: String,
    pub platform: Platform,
    pub span: Span,
}

/// One source of a `COPY`, `ADD` or bind mount in the build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextSource {
    /// `None`: cannot be known without building; take the whole context.
    pub pattern: Option<String>,
    /// `--exclude`, relative to the source.
    pub excludes: Vec<String>,
    pub span: Span,
}

/// Finds the stages that a build needs, and everything they refer to. All problems are reported.
pub fn resolve(file: &Dockerfile, inputs: &BuildInputs<'_>) -> Result<StageGraph, Vec<Diagnostic>> {
    let _ = (file, inputs);
    Err(Vec::new())
}

/// The text that the result depends on, apart from files, arguments and bases: reachable stages
/// in file order, comments and continuations removed.
pub fn canonical(file: &Dockerfile, graph: &StageGraph) -> Vec<String> {
    let _ = (file, graph);
    Vec::new()
}
