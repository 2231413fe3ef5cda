//! Checks of stages: what they start from, and for which platform. Their instructions are `walk`'s.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::Spanned;
use launchway_model::{Platform, Reference};

use super::walk::{State, Walk};
use super::{At, BaseImage, CheckInputs, Findings, Rule, Told};
use crate::graph::globals::Globals;
use crate::graph::known::KnownVariables;
use crate::graph::references::References;
use crate::{
    BuildInputs, Dockerfile, Instruction, InstructionKind, Stage, StageBase, expand, parse_onbuild,
};

pub(super) fn check(file: &Dockerfile, inputs: &CheckInputs<'_>, findings: &mut Findings<'_>) {
    default_images(file, inputs, findings);
    let globals = Globals::evaluate(file, &inputs.build, &mut Vec::new());
    let references = References::new(file, &inputs.build);
    let mut states: BTreeMap<usize, State> = BTreeMap::new();
    for stage in &file.stages {
        let from = from_line(stage, &globals, findings);
        let is_built = inputs.stages.contains(&stage.index);
        if !is_built && !inputs.all_stages {
            continue;
        }
        let platform = asked_platform(stage, &inputs.build, &globals);
        let base = from.and_then(|from| {
            let base = references.base(stage.index, &from, Some(&platform), &mut Vec::new());
            base.ok()
        });
        let key = base.clone().map(|base| (base, platform.clone()));
        let image = key.and_then(|key| inputs.images.get(&key));
        if let Some(image) = image {
            base_platform(stage, image, &platform, findings);
        }
        let state = match &base {
            Some(StageBase::Stage(index)) => states.get(index).map(State::next),
            Some(StageBase::Scratch) => Some(State::new(KnownVariables::of_an_empty_image())),
            _ => image.map(State::of),
        };
        let mut walk = Walk {
            file,
            inputs,
            globals: &globals,
            findings,
            trigger: Some(stage),
            state: state.unwrap_or_else(|| State::new(KnownVariables::of_an_unknown_image())),
        };
        if is_built {
            for trigger in triggers(file, stage, base.as_ref(), image) {
                walk.instruction(&trigger);
            }
        }
        walk.trigger = None;
        for instruction in &stage.instructions {
            walk.instruction(instruction);
        }
        states.insert(stage.index, walk.state);
    }
}

pub(super) fn outside_bases(
    file: &Dockerfile,
    build: &BuildInputs<'_>,
) -> BTreeSet<(StageBase, Platform)> {
    let globals = Globals::evaluate(file, build, &mut Vec::new());
    let references = References::new(file, build);
    file.stages
        .iter()
        .filter_map(|stage| {
            let name = globals.expand(&stage.from, &mut BTreeSet::new()).ok()?;
            let platform = asked_platform(stage, build, &globals);
            let base = references.base(stage.index, &name, Some(&platform), &mut Vec::new());
            let base = base.ok()?;
            let outside = matches!(base, StageBase::Named(_) | StageBase::External(_));
            outside.then_some((base, platform))
        })
        .collect()
}

/// The platform that a stage's base is taken for.
fn asked_platform(stage: &Stage, build: &BuildInputs<'_>, globals: &Globals) -> Platform {
    let asked = stage.platform.as_ref();
    asked
        .and_then(|platform| globals.platform(platform, &mut BTreeSet::new()).ok())
        .unwrap_or_else(|| build.platform.clone())
}

/// The `ONBUILD` instructions that a stage's base has for it.
fn triggers(
    file: &Dockerfile,
    stage: &Stage,
    base: Option<&StageBase>,
    image: Option<&BaseImage>,
) -> Vec<Instruction> {
    if let Some(StageBase::Stage(base)) = base {
        let instructions = file.stages[*base].instructions.iter();
        return instructions
            .filter_map(|instruction| match &instruction.kind {
                InstructionKind::Onbuild(onbuild) => Some((*onbuild.instruction).clone()),
                _ => None,
            })
            .collect();
    }
    let texts = image.into_iter().flat_map(|image| &image.onbuild);
    // One that cannot be read is a matter of the build.
    texts
        .filter_map(|text| parse_onbuild(stage.span.source, text).ok())
        .collect()
}

/// `FROM` lines as they are without build arguments.
fn default_images(file: &Dockerfile, inputs: &CheckInputs<'_>, findings: &mut Findings<'_>) {
    if !inputs.args_are_known {
        // Whoever builds this always gives the arguments.
        return;
    }
    let mut args = inputs.build.build_args.clone();
    args.retain(|name, _| Globals::is_predefined(name));
    let without = BuildInputs {
        build_args: &args,
        ..inputs.build
    };
    let mut problems = Vec::new();
    let globals = Globals::evaluate(file, &without, &mut problems);
    if !problems.is_empty() {
        return;
    }
    for stage in &file.stages {
        let Ok(name) = globals.expand(&stage.from, &mut BTreeSet::new()) else {
            return;
        };
        if name.parse::<Reference>().is_err() {
            findings.add(
                At {
                    comments: &[],
                    ..stage.written.at(stage.from.span)
                },
                Rule::InvalidDefaultArgInFrom,
                Told::new(
                    format!("`{}` is no image without build arguments", stage.from.value),
                    if name.is_empty() {
                        "is empty by default".to_owned()
                    } else {
                        format!("is `{}` by default", name.value)
                    },
                    "give the argument a default at its ARG",
                ),
            );
        }
    }
}

/// Checks the words of a `FROM` line and gives the name after it.
fn from_line(
    stage: &Stage,
    globals: &Globals,
    findings: &mut Findings<'_>,
) -> Option<Spanned<String>> {
    let name = global_word(stage, &stage.from, globals, findings);
    if let Some(platform) = &stage.platform {
        let expanded = global_word(stage, platform, globals, findings);
        if let Some(expanded) = expanded {
            from_platform(stage, platform, &expanded, globals, findings);
        }
    }
    name.map(|name| Spanned::new(name.text, stage.from.span))
}

struct Expanded {
    text: String,
    set: BTreeSet<String>,
    unset: BTreeSet<String>,
}

fn global_word(
    stage: &Stage,
    word: &Spanned<String>,
    globals: &Globals,
    findings: &mut Findings<'_>,
) -> Option<Expanded> {
    let set = RefCell::new(BTreeSet::new());
    let unset = RefCell::new(BTreeSet::new());
    let escape = globals.escape();
    let text = expand(word, escape, &|name| {
        let value = globals.values().get(name).cloned();
        let names = if value.is_some() { &set } else { &unset };
        names.borrow_mut().insert(name.to_owned());
        value
    });
    let unset = unset.into_inner();
    for name in unset.iter().filter(|name| !globals.is_declared(name)) {
        let help = match findings.near(name, globals.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write `ARG {name}` before the first FROM"),
        };
        findings.add(
            stage.written.at(word.span),
            Rule::UndefinedArgInFrom,
            Told::new(
                format!("FROM uses `{name}`, which is not declared"),
                "only arguments from before the first FROM are known here",
                help,
            ),
        );
    }
    Some(Expanded {
        text: text.ok()?,
        set: set.into_inner(),
        unset,
    })
}

fn from_platform(
    stage: &Stage,
    written: &Spanned<String>,
    expanded: &Expanded,
    globals: &Globals,
    findings: &mut Findings<'_>,
) {
    const TARGET: &str = "TARGETPLATFORM";
    let at = stage.written.at(written.span);
    if expanded.set.is_empty() && expanded.unset.is_empty() {
        let Ok(platform) = globals.platform(written, &mut BTreeSet::new()) else {
            return;
        };
        let name = stage.name.as_ref().map_or("", |name| name.as_str());
        if !name.contains(platform.os()) && !name.contains(platform.architecture()) {
            findings.add(
                at,
                Rule::FromPlatformFlagConstDisallowed,
                Told::new(
                    format!("this stage is always built for {}", expanded.text),
                    "the same for every platform that is built",
                    "use a variable such as `$BUILDPLATFORM`, or name the stage after the platform",
                ),
            );
        }
    } else if expanded.unset.is_empty()
        && expanded.set.iter().eq([TARGET])
        && globals.values().get(TARGET) == Some(&expanded.text)
    {
        findings.add(
            at,
            Rule::RedundantTargetPlatform,
            Told::new(
                "a stage is built for the target's platform anyway",
                "changes nothing",
                "remove the flag",
            ),
        );
    }
}

fn base_platform(stage: &Stage, image: &BaseImage, wanted: &Platform, findings: &mut Findings<'_>) {
    if let Some(actual) = &image.platform
        && (actual.os() != wanted.os() || actual.architecture() != wanted.architecture())
    {
        let at = At {
            comments: &[],
            ..stage.written.at(stage.from.span)
        };
        findings.add(
            at,
            Rule::InvalidBaseImagePlatform,
            Told::new(
                format!("the base image is for {actual}, and {wanted} is built"),
                "of another platform",
                "use an image of the platform, or ask for the other one with --platform",
            ),
        );
    }
}
