//! What a name after `FROM`, `--from=` or `from=` stands for.

use std::collections::BTreeSet;

use launchway_diagnostics::{Diagnostic, Spanned};
use launchway_model::{Platform, Reference};

use super::{BuildInputs, StageBase};
use crate::{Dockerfile, codes};

pub(crate) struct References<'a> {
    file: &'a Dockerfile,
    named_contexts: &'a BTreeSet<String>,
    /// What is built for, which names of the form `NAME::PLATFORM` are for.
    platform: &'a Platform,
}

impl<'a> References<'a> {
    pub(crate) fn new(file: &'a Dockerfile, inputs: &BuildInputs<'a>) -> Self {
        Self {
            file,
            named_contexts: inputs.named_contexts,
            platform: inputs.platform,
        }
    }

    pub(super) fn file(&self) -> &'a Dockerfile {
        self.file
    }

    /// What an expanded `FROM` of a stage for a platform is: an earlier stage, a named context or an
    /// image.
    pub(crate) fn base(
        &self,
        index: usize,
        name: &Spanned<String>,
        platform: Option<&Platform>,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<StageBase, Diagnostic> {
        let named = |stage: &usize| {
            let stage = &self.file.stages[*stage];
            stage
                .name
                .as_ref()
                .is_some_and(|own| own.value == name.value)
        };
        if let Some(stage) = (0..index).rev().find(named) {
            return Ok(self.stage(stage));
        }
        let base = self.image(name, platform.unwrap_or(self.platform))?;
        if matches!(base, StageBase::External(_))
            && let Some(later) = (index..self.file.stages.len()).find(named)
            && let Some(own) = &self.file.stages[later].name
        {
            warnings.push(
                Diagnostic::warning(
                    codes::BAD_STAGE_REFERENCE,
                    format!("`{}` is taken for an image of a registry", name.value),
                )
                .at(name.span, "no stage of this name stands above")
                .also(own.span, "this one stands below"),
            );
        }
        Ok(base)
    }

    /// What a `COPY --from` is: an earlier stage by name or number, a named context or an image.
    pub(super) fn copy_source(
        &self,
        index: usize,
        from: &Spanned<String>,
    ) -> Result<StageBase, Diagnostic> {
        let Ok(number) = from.parse::<i64>() else {
            return self.mount_source(index, from);
        };
        let known = usize::try_from(number)
            .ok()
            .filter(|n| *n < self.file.stages.len());
        match known {
            Some(stage) => self.earlier(index, stage, from),
            None => Err(Diagnostic::error(
                codes::BAD_STAGE_REFERENCE,
                format!("no stage {number}"),
            )
            .at(from.span, "stages are counted from 0")
            .note(format!("the file has {} stages", self.file.stages.len()))),
        }
    }

    /// What the `from` of a mount is: as [`Self::copy_source`], but a number is no stage.
    pub(super) fn mount_source(
        &self,
        index: usize,
        from: &Spanned<String>,
    ) -> Result<StageBase, Diagnostic> {
        match last_named(self.file, from) {
            Some(stage) => self.earlier(index, stage, from),
            None if from.bytes().all(|byte| byte.is_ascii_digit()) => Err(Diagnostic::error(
                codes::BAD_STAGE_REFERENCE,
                "a mount names no stage by number",
            )
            .at(from.span, "not the name of a stage")
            .help("name the stage with `FROM … AS name`, and use the name")),
            None => self.image(from, self.platform),
        }
    }

    fn earlier(
        &self,
        index: usize,
        stage: usize,
        from: &Spanned<String>,
    ) -> Result<StageBase, Diagnostic> {
        if stage < index {
            return Ok(self.stage(stage));
        }
        let what = if stage == index {
            "a stage refers to itself"
        } else {
            "a stage refers to a later one"
        };
        let other = &self.file.stages[stage];
        Err(Diagnostic::error(codes::BAD_STAGE_REFERENCE, what)
            .at(from.span, "must be an earlier stage")
            .also(other.span, "this is the stage"))
    }

    /// A stage, unless a named context stands in for it.
    fn stage(&self, stage: usize) -> StageBase {
        self.stand_in(stage).unwrap_or(StageBase::Stage(stage))
    }

    /// The named context that stands in for a stage of its name.
    pub(super) fn stand_in(&self, stage: usize) -> Option<StageBase> {
        let name = self.file.stages[stage].name.as_ref()?;
        self.context(name, self.platform)
    }

    fn image(&self, name: &Spanned<String>, platform: &Platform) -> Result<StageBase, Diagnostic> {
        if name.value == "scratch" {
            return Ok(StageBase::Scratch);
        }
        if let Some(context) = self.context(name, platform) {
            return Ok(context);
        }
        if name.is_empty() {
            return Err(Diagnostic::error(codes::BAD_IMAGE, "this names no image")
                .at(name.span, "expands to nothing")
                .help("give the build arguments in it, or give them defaults before the FROM"));
        }
        match name.parse::<Reference>() {
            Ok(_) => Ok(StageBase::External(name.value.clone())),
            Err(error) => {
                let message = format!("`{}` is neither a stage nor an image", name.value);
                let problem =
                    Diagnostic::error(codes::BAD_IMAGE, message).at(name.span, error.to_string());
                Err(match last_named(self.file, name) {
                    Some(_) => problem.help("FROM knows stages by their lower-case names"),
                    None => problem,
                })
            }
        }
    }

    /// The context for this platform, or else for all.
    fn context(&self, name: &str, platform: &Platform) -> Option<StageBase> {
        let names = || usable(self.named_contexts.iter());
        let only_here = |context: &&String| {
            context.split_once("::").is_some_and(|(context, wanted)| {
                same_name(context, name)
                    && wanted
                        .parse()
                        .is_ok_and(|wanted: Platform| wanted == *platform)
            })
        };
        let found = names()
            .find(only_here)
            .or_else(|| names().find(|context| same_name(context, name)))?;
        Some(StageBase::Named(found.clone()))
    }
}

/// The last stage of a name, in any case.
pub(super) fn last_named(file: &Dockerfile, name: &str) -> Option<usize> {
    let lower = name.to_lowercase();
    let stages = file.stages.iter().rev();
    let mut named = stages.filter(|stage| stage.name.as_ref().is_some_and(|own| **own == lower));
    named.next().map(|stage| stage.index)
}

/// Named contexts without those whose names mean something else.
fn usable<'s>(names: impl Iterator<Item = &'s String>) -> impl Iterator<Item = &'s String> {
    names.filter(|name| {
        !name.eq_ignore_ascii_case("scratch") && !name.eq_ignore_ascii_case("context")
    })
}

/// Whether two names are one image: `debian` is `docker.io/library/debian:latest`.
fn same_name(a: &str, b: &str) -> bool {
    fn full(name: &str) -> String {
        let Ok(reference) = name.parse::<Reference>() else {
            return name.to_owned();
        };
        let text = reference.to_string();
        match text.strip_suffix(":latest") {
            Some(bare) if reference.digest.is_none() => bare.to_owned(),
            _ => text,
        }
    }
    a == b || full(a) == full(b)
}
