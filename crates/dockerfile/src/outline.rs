//! What can be said of a Dockerfile without building it: its targets, and what one of them takes.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span};

use crate::graph::globals::Globals;
use crate::graph::known::KnownVariables;
use crate::graph::variables_from;
use crate::graph::walk::Walk;
use crate::{
    ArgDef, BuildInputs, Dockerfile, InstructionKind, ResolvedStage, RunMount, Written, expand,
    resolve,
};

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `None`: it has no name, and can be built by its number.
    pub name: Option<String>,
    /// From a comment above it that starts with its name.
    pub description: Option<String>,
    /// Not expanded.
    pub base: String,
    /// Not expanded.
    pub platform: Option<String>,
    /// Built when no target is asked for.
    pub is_default: bool,
    pub statement: Span,
}

/// What a target takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    pub name: Option<String>,
    pub description: Option<String>,
    pub args: Vec<OutlineArg>,
    pub secrets: Vec<OutlineNeed>,
    /// Agents of ssh.
    pub agents: Vec<OutlineNeed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    pub name: String,
    pub description: Option<String>,
    /// The value it has in this build; none when it is empty, or made of what only an image knows.
    pub value: Option<String>,
    pub statement: Span,
}

/// A secret or an agent that steps mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineNeed {
    pub id: String,
    pub required: bool,
    pub statement: Span,
}

/// All stages, in their order.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    file.stages
        .iter()
        .map(|stage| {
            let name = stage.name.as_ref().map(|name| name.value.clone());
            Target {
                description: name
                    .as_ref()
                    .and_then(|name| description(&stage.written, name)),
                name,
                base: stage.from.value.clone(),
                platform: stage
                    .platform
                    .as_ref()
                    .map(|platform| platform.value.clone()),
                is_default: stage.index == last,
                statement: stage.written.whole,
            }
        })
        .collect()
}

/// What the target takes: arguments of its stages and of their `FROM` lines, and secrets.
pub fn outline(file: &Dockerfile, build: &BuildInputs<'_>) -> Result<Outline, Vec<Diagnostic>> {
    let graph = resolve(file, build)?;
    let globals = Globals::evaluate(file, build, &mut Vec::new());
    let mut found = Found {
        build,
        globals: &globals,
        escape: file.directives.escape,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        agents: BTreeMap::new(),
    };
    for arg in &file.global_args {
        for definition in &arg.definitions {
            if graph.declared_args.contains(&*definition.name) {
                let value = globals.values().get(&*definition.name).cloned();
                found.arg(definition, &arg.written, value);
            }
        }
    }
    let mut variables = BTreeMap::new();
    for stage in &graph.stages {
        let before = variables_from(&stage.base, &variables);
        variables.insert(stage.index, found.stage(file, stage, before));
    }
    let target = graph.stages.last().map(|stage| &file.stages[stage.index]);
    let name = target
        .and_then(|stage| stage.name.as_ref())
        .map(|name| name.value.clone());
    let mut args: Vec<OutlineArg> = found.args.into_values().collect();
    args.sort_by_key(|arg| arg.statement.start);
    let in_order = |needs: BTreeMap<String, OutlineNeed>| {
        let mut needs: Vec<OutlineNeed> = needs.into_values().collect();
        needs.sort_by_key(|need| need.statement.start);
        needs
    };
    Ok(Outline {
        description: name
            .as_ref()
            .zip(target)
            .and_then(|(name, stage)| description(&stage.written, name)),
        name,
        args,
        secrets: in_order(found.secrets),
        agents: in_order(found.agents),
    })
}

struct Found<'a> {
    build: &'a BuildInputs<'a>,
    globals: &'a Globals,
    escape: char,
    args: BTreeMap<String, OutlineArg>,
    secrets: BTreeMap<String, OutlineNeed>,
    agents: BTreeMap<String, OutlineNeed>,
}

impl Found<'_> {
    /// What a stage takes; gives its variables at its end.
    fn stage(
        &mut self,
        file: &Dockerfile,
        stage: &ResolvedStage,
        before: KnownVariables,
    ) -> KnownVariables {
        let escape = self.escape;
        let mut walk = Walk {
            escape,
            build_args: self.build.build_args,
            globals: self.globals,
            variables: before,
            declared: &mut BTreeSet::new(),
            context_sources: &mut Vec::new(),
            unpinned_urls: &mut Vec::new(),
            problems: &mut Vec::new(),
        };
        if stage.replaced {
            return walk.variables;
        }
        let own = &file.stages[stage.index].instructions;
        for instruction in stage.triggers.iter().chain(own) {
            match &instruction.kind {
                InstructionKind::Arg(definitions) => {
                    for definition in definitions {
                        walk.declare(definition);
                        self.declare(definition, &instruction.written, &walk.variables);
                    }
                }
                InstructionKind::Env(_) => walk.instruction(instruction),
                InstructionKind::Run(run) => {
                    for mount in &run.mounts {
                        let resolved = walk
                            .variables
                            .expand(|lookup| mount.resolve(&|word| expand(word, escape, lookup)));
                        let (needs, id, required) = match resolved {
                            Some(Ok(RunMount::Secret { id, required, .. })) => {
                                (&mut self.secrets, id, required)
                            }
                            Some(Ok(RunMount::Ssh { id, required, .. })) => {
                                (&mut self.agents, id, required)
                            }
                            _ => continue,
                        };
                        let need = OutlineNeed {
                            id: id.clone(),
                            required,
                            statement: instruction.written.whole,
                        };
                        needs.entry(id).or_insert(need).required |= required;
                    }
                }
                _ => {}
            }
        }
        walk.variables
    }

    fn declare(&mut self, definition: &ArgDef, written: &Written, variables: &KnownVariables) {
        let name = &definition.name.value;
        // What has its value from before the first FROM is told there.
        if definition.default.is_none() && self.globals.is_declared(name) {
            return;
        }
        let has_value = definition.default.is_some() || self.build.build_args.contains_key(name);
        let value = variables.value(name).filter(|_| has_value);
        self.arg(definition, written, value.map(str::to_owned));
    }

    fn arg(&mut self, definition: &ArgDef, written: &Written, value: Option<String>) {
        let name = definition.name.value.clone();
        // The last of several definitions says what the value is.
        let before = self.args.remove(&name);
        let arg = OutlineArg {
            description: description(written, &name).or(before.and_then(|arg| arg.description)),
            name: name.clone(),
            value: value.filter(|value| !value.is_empty()),
            statement: written.whole,
        };
        self.args.insert(name, arg);
    }
}

/// What a comment above says of a name that it starts with.
fn description(written: &Written, name: &str) -> Option<String> {
    let of_name = |comment: &String| {
        let rest = comment.strip_prefix(name)?.strip_prefix(' ')?;
        Some(rest.to_owned())
    };
    written.comments.iter().find_map(of_name)
}

#[cfg(test)]
mod tests {
    use launchway_diagnostics::SourceMap;
    use launchway_model::Platform;

    use super::*;

    const TEXT: &str = "\
# VERSION the version
ARG VERSION=12
ARG UNUSED=1
# base the base
FROM scratch AS base
# OTHER an other
ARG OTHER=$VERSION
ARG VERSION
# app the app
FROM base AS app
ARG TARGETARCH
ARG MORE
RUN --mount=type=secret,id=a --mount=type=secret,id=b,required --mount=type=ssh true
FROM scratch
";

    fn file() -> Dockerfile {
        let mut sources = SourceMap::new();
        let parsed = crate::parse(sources.add("Dockerfile", TEXT), TEXT);
        parsed.dockerfile.unwrap()
    }

    #[test]
    fn targets_with_their_descriptions() {
        let told: Vec<_> = targets(&file())
            .into_iter()
            .map(|target| (target.name, target.description, target.is_default))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                (text("base"), text("the base"), false),
                (text("app"), text("the app"), false),
                (None, None, true),
            ]
        );
    }

    #[test]
    fn what_a_target_takes() {
        let file = file();
        let platform = Platform::new("linux", "amd64", None).unwrap();
        let args = BTreeMap::from([("MORE".to_owned(), "x".to_owned())]);
        let build = BuildInputs {
            target: Some("app"),
            build_args: &args,
            platform: &platform,
            build_platform: &platform,
            named_contexts: &BTreeSet::new(),
        };
        let outline = outline(&file, &build).unwrap();
        assert_eq!(outline.description.as_deref(), Some("the app"));
        let args = outline.args.iter();
        let args: Vec<_> = args
            .map(|arg| {
                (
                    arg.name.as_str(),
                    arg.value.as_deref(),
                    arg.description.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            args,
            [
                ("VERSION", Some("12"), Some("the version")),
                ("OTHER", None, Some("an other")),
                ("MORE", Some("x"), None),
            ]
        );
        let secrets = outline.secrets.iter();
        let secrets: Vec<_> = secrets
            .map(|secret| (secret.id.as_str(), secret.required))
            .collect();
        assert_eq!(secrets, [("a", false), ("b", true)]);
        let agents = outline.agents.iter();
        let agents: Vec<_> = agents
            .map(|agent| (agent.id.as_str(), agent.required))
            .collect();
        assert_eq!(agents, [("default", false)]);
    }

    #[test]
    fn variables_of_stages_below_and_triggers_count() {
        let text = "FROM scratch AS base\nENV X=1 Y=${X}2\nONBUILD ARG T=t$X\nFROM base\nARG B=${X}b$Y\n\
                    RUN --mount=type=secret,id=s$X x\nFROM elsewhere\n";
        let mut sources = SourceMap::new();
        let parsed = crate::parse(sources.add("Dockerfile", text), text);
        let platform: Platform = "linux/amd64".parse().unwrap();
        let build = BuildInputs {
            target: Some("1"),
            build_args: &BTreeMap::new(),
            platform: &platform,
            build_platform: &platform,
            named_contexts: &BTreeSet::new(),
        };
        let outline = outline(&parsed.dockerfile.unwrap(), &build).unwrap();
        let args = outline.args.iter();
        let args: Vec<_> = args
            .map(|arg| (arg.name.as_str(), arg.value.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(args, [("T", "t1"), ("B", "1b2")]);
        let secrets: Vec<_> = outline.secrets.iter().map(|need| &*need.id).collect();
        assert_eq!(secrets, ["s1"]);
    }

    #[test]
    fn of_several_definitions_the_last_one_is_told() {
        let text = "ARG A=1\nARG B=$A-\n# A the last\nARG A=${A}2$B\nFROM scratch\nARG A\nARG B\nARG C=1\nARG C=${C}2\n";
        let mut sources = SourceMap::new();
        let parsed = crate::parse(sources.add("Dockerfile", text), text);
        let platform: Platform = "linux/amd64".parse().unwrap();
        let build = BuildInputs {
            target: None,
            build_args: &BTreeMap::new(),
            platform: &platform,
            build_platform: &platform,
            named_contexts: &BTreeSet::new(),
        };
        let outline = outline(&parsed.dockerfile.unwrap(), &build).unwrap();
        let args: Vec<_> = outline
            .args
            .iter()
            .map(|arg| (arg.name.as_str(), arg.value.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(args, [("B", "1-"), ("A", "121-"), ("C", "12")]);
    }
}
