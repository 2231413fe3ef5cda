//! From a Dockerfile and the settings of one build to the stages that are needed.
//!
//! `references` says what a name is, `globals` what `FROM` lines can use, `known` what can be told
//! of variables without building; this file puts them together.

mod canonical;
pub(crate) mod globals;
pub(crate) mod known;
pub(crate) mod references;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span, Spanned, closest};
use launchway_model::Platform;

pub use canonical::canonical;
use globals::Globals;
pub use globals::{global_argument, is_proxy_arg};
use known::KnownVariables;
use references::References;
use walk::Walk;

use crate::{BaseImage, Dockerfile, Instruction, InstructionKind, MountKind, codes, parse_onbuild};

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
    /// URLs that `ADD` takes without saying what their content has to be, as far as it can be told
    /// without building.
    pub unpinned_urls: Vec<Span>,
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
    /// A named context stands in for the stage: its base is the result, and nothing of it is run.
    pub replaced: bool,
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
    /// `COPY --parents`: the source may have a `/./` and is matched from there.
    pub parents: bool,
    pub span: Span,
}

/// Finds the stages that a build needs, and everything they refer to. All problems of these stages
/// are reported; stages that are not needed may be wrong.
pub fn resolve(file: &Dockerfile, inputs: &BuildInputs<'_>) -> Result<StageGraph, Vec<Diagnostic>> {
    resolve_knowing(file, inputs, &BTreeMap::new())
}

/// The same with what is known of images from outside: what their triggers take files from is found
/// too.
pub fn resolve_knowing(
    file: &Dockerfile,
    inputs: &BuildInputs<'_>,
    images: &BTreeMap<(StageBase, Platform), BaseImage>,
) -> Result<StageGraph, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let target = match find_target(file, inputs) {
        Ok(target) => target,
        Err(problem) => return Err(vec![problem]),
    };
    let globals = Globals::evaluate(file, inputs, &mut problems);
    let references = References::new(file, inputs);
    let triggers = |base: &StageBase, platform: Option<&Platform>| {
        let platform = platform.unwrap_or(inputs.platform).clone();
        let image = images.get(&(base.clone(), platform));
        image.map_or_else(Vec::new, |image| image.onbuild.clone())
    };
    let reachable = reach(target, &references, &globals, &triggers, &mut problems);

    let mut graph = StageGraph {
        stages: Vec::new(),
        external: Vec::new(),
        declared_args: BTreeSet::new(),
        context_sources: Vec::new(),
        unpinned_urls: Vec::new(),
        warnings: Vec::new(),
    };
    let mut variables: BTreeMap<usize, KnownVariables> = BTreeMap::new();
    // A stage can refer to earlier ones only, so their order is the order of the file.
    for (index, found) in reachable {
        let stage = &file.stages[index];
        graph.declared_args.extend(found.used_globals);
        graph.warnings.extend(found.warnings);
        let platform = match &found.base {
            StageBase::Stage(base) => {
                let base = graph.stages.iter().find(|stage| stage.index == *base);
                base.map_or(inputs.platform, |base| &base.platform).clone()
            }
            // As in Docker, an empty image is of the target's platform whatever is asked for.
            StageBase::Scratch => inputs.platform.clone(),
            StageBase::Named(_) | StageBase::External(_) => {
                found.platform.unwrap_or_else(|| inputs.platform.clone())
            }
        };
        let bases = [(&found.base, stage.from.span, &platform)];
        let sources = found.from_sources.values();
        let sources = sources.map(|(base, span)| (base, *span, inputs.platform));
        for (base, span, platform) in bases.into_iter().chain(sources) {
            add_external(&mut graph.external, base, platform, span);
        }
        let before = variables_from(&found.base, &variables);
        let mut walk = Walk {
            escape: file.directives.escape,
            build_args: inputs.build_args,
            globals: &globals,
            variables: before,
            declared: &mut graph.declared_args,
            context_sources: &mut graph.context_sources,
            unpinned_urls: &mut graph.unpinned_urls,
            problems: &mut problems,
        };
        if !found.replaced {
            for instruction in found.triggers.iter().chain(&stage.instructions) {
                walk.instruction(instruction);
            }
        }
        variables.insert(index, walk.variables);
        let from_sources = found.from_sources.into_iter();
        graph.stages.push(ResolvedStage {
            index,
            base: found.base,
            platform,
            replaced: found.replaced,
            args: globals.values().clone(),
            triggers: found.triggers,
            from_sources: from_sources.map(|(text, (base, _))| (text, base)).collect(),
        });
    }
    if problems.iter().any(Diagnostic::is_error) {
        problems.sort_by_key(|problem| problem.labels.first().map(|label| label.span));
        return Err(problems);
    }
    graph.warnings.extend(problems);
    Ok(graph)
}

/// What a stage starts with, by what the stages before it ended with.
pub(crate) fn variables_from(
    base: &StageBase,
    of_stages: &BTreeMap<usize, KnownVariables>,
) -> KnownVariables {
    match base {
        StageBase::Stage(base) => of_stages
            .get(base)
            .map(KnownVariables::for_next_stage)
            .unwrap_or_default(),
        StageBase::Scratch => KnownVariables::of_an_empty_image(),
        StageBase::Named(_) | StageBase::External(_) => KnownVariables::of_an_unknown_image(),
    }
}

/// A stage that is needed, and what its names stand for.
struct Found {
    base: StageBase,
    replaced: bool,
    platform: Option<Platform>,
    triggers: Vec<Instruction>,
    from_sources: BTreeMap<String, (StageBase, Span)>,
    used_globals: BTreeSet<String>,
    warnings: Vec<Diagnostic>,
}

/// The triggers that an image from outside is known to have, for a platform.
type Triggers<'a> = dyn Fn(&StageBase, Option<&Platform>) -> Vec<String> + 'a;

/// Everything the target needs, by index.
fn reach(
    target: usize,
    references: &References<'_>,
    globals: &Globals,
    triggers: &Triggers<'_>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<usize, Found> {
    let mut reachable = BTreeMap::new();
    let mut pending = vec![target];
    while let Some(index) = pending.pop() {
        if reachable.contains_key(&index) {
            continue;
        }
        let found = find_stage(index, references, globals, triggers, problems);
        let others = found.from_sources.values().map(|(base, _)| base);
        for base in others.chain([&found.base]) {
            if let StageBase::Stage(other) = base {
                pending.push(*other);
            }
        }
        reachable.insert(index, found);
    }
    reachable
}

fn find_stage(
    index: usize,
    references: &References<'_>,
    globals: &Globals,
    triggers: &Triggers<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Found {
    let file = references.file();
    let stage = &file.stages[index];
    let mut found = Found {
        base: StageBase::Scratch,
        replaced: false,
        platform: None,
        triggers: Vec::new(),
        from_sources: BTreeMap::new(),
        used_globals: BTreeSet::new(),
        warnings: Vec::new(),
    };
    if let Some(platform) = &stage.platform {
        match globals.platform(platform, &mut found.used_globals) {
            Ok(platform) => found.platform = Some(platform),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(context) = references.stand_in(index) {
        found.base = context;
        found.replaced = true;
        return found;
    }
    match globals.expand(&stage.from, &mut found.used_globals) {
        Ok(name) => {
            match references.base(index, &name, found.platform.as_ref(), &mut found.warnings) {
                Ok(base) => found.base = base,
                Err(problem) => problems.push(problem),
            }
        }
        Err(problem) => problems.push(problem),
    }
    if let StageBase::Stage(base) = found.base {
        let instructions = file.stages[base].instructions.iter();
        let triggers = instructions.filter_map(|instruction| match &instruction.kind {
            InstructionKind::Onbuild(onbuild) => Some((*onbuild.instruction).clone()),
            _ => None,
        });
        found.triggers = triggers.collect();
    }
    // What is wrong with a trigger from outside is shown where the image is named.
    let place = stage.from.span;
    let inherited: Vec<Instruction> = triggers(&found.base, found.platform.as_ref())
        .iter()
        .filter_map(|text| parse_onbuild(place.source, text).ok())
        .collect();
    let froms = inherited.iter().flat_map(|trigger| {
        let froms = sources(trigger);
        froms.map(|(from, is_copy)| (Spanned::new(from.value.clone(), place), is_copy))
    });
    let own = found.triggers.iter().chain(&stage.instructions);
    let own = own.flat_map(|instruction| {
        sources(instruction).map(|(from, is_copy)| (from.clone(), is_copy))
    });
    for (from, is_copy) in froms.chain(own).collect::<Vec<_>>() {
        let base = match is_copy {
            true => references.copy_source(index, &from),
            false => references.mount_source(index, &from),
        };
        match base {
            Ok(base) => {
                found.from_sources.insert(from.value, (base, from.span));
            }
            Err(problem) => problems.push(problem),
        }
    }
    found
}

/// What an instruction takes files from, and whether a COPY does.
pub fn sources(instruction: &Instruction) -> impl Iterator<Item = (&Spanned<String>, bool)> {
    let (copy, mounts) = match &instruction.kind {
        InstructionKind::Copy(copy) => (copy.from.as_ref(), None),
        InstructionKind::Run(run) => (None, Some(&run.mounts)),
        _ => (None, None),
    };
    let with_content = mounts
        .into_iter()
        .flatten()
        .filter(|mount| matches!(mount.kind, None | Some(MountKind::Bind | MountKind::Cache)));
    let mounts = with_content.filter_map(|mount| mount.from.as_ref());
    copy.map(|from| (from, true))
        .into_iter()
        .chain(mounts.map(|from| (from, false)))
}

fn find_target(file: &Dockerfile, inputs: &BuildInputs<'_>) -> Result<usize, Diagnostic> {
    let index = match inputs.target {
        None => Some(file.stages.len() - 1),
        Some(target) => references::last_named(file, target).or_else(|| {
            let number = target.parse::<usize>().ok();
            number.filter(|number| *number < file.stages.len())
        }),
    };
    let Some(index) = index else {
        let target = inputs.target.unwrap_or_default();
        let message = format!("the Dockerfile has no stage `{target}`");
        let place = file.stages[file.stages.len() - 1].span;
        let mut problem =
            Diagnostic::error(codes::UNKNOWN_TARGET, message).at(place, "the last of its stages");
        let names = file.stages.iter().filter_map(|stage| stage.name.as_ref());
        let names = names.map(|name| name.as_str());
        if let Some(near) = closest(&target.to_lowercase(), names) {
            problem = problem.help(format!("did you mean `{near}`?"));
        }
        return Err(problem.note(format!("its stages are {}", listed(file))));
    };
    Ok(index)
}

/// The stages by their names, or else by their numbers, as `--target` takes them.
fn listed(file: &Dockerfile) -> String {
    /// Nobody reads more.
    const MOST: usize = 30;
    let names = file.stages.iter().map(|stage| match &stage.name {
        Some(name) => name.value.clone(),
        None => stage.index.to_string(),
    });
    let mut names: Vec<String> = names.take(MOST).collect();
    if file.stages.len() > MOST {
        names.push(format!("… and {} more", file.stages.len() - MOST));
    }
    names.join(", ")
}

fn add_external(
    external: &mut Vec<ExternalImage>,
    base: &StageBase,
    platform: &Platform,
    span: Span,
) {
    let StageBase::External(reference) = base else {
        return;
    };
    let known =
        |image: &ExternalImage| image.reference == *reference && image.platform == *platform;
    if !external.iter().any(known) {
        external.push(ExternalImage {
            reference: reference.clone(),
            platform: platform.clone(),
            span,
        });
    }
}
