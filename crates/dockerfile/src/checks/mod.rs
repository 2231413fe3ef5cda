//! BuildKit's build checks: what builds, and yet is seldom meant.
//!
//! Pure, like all of this crate: what base images set and what the ignore rules leave out is
//! brought by the caller, and where it is not known, nothing is claimed. Rules keep BuildKit's
//! names and conditions, so that one directive steers both builders.

mod rule;
mod settings;
mod stages;
mod text;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span, closest};
use launchway_model::Platform;

pub use rule::Rule;
pub(crate) use settings::first_word;
pub use settings::{CheckSettings, CheckSettingsError};

use crate::{BuildInputs, Dockerfile, IgnoreRules, StageBase};

/// What is checked, and against what.
#[derive(Clone, Copy, Debug)]
pub struct CheckInputs<'a> {
    pub build: BuildInputs<'a>,
    pub settings: &'a CheckSettings,
    /// The stages that are built. Triggers of their bases run in these.
    pub stages: &'a BTreeSet<usize>,
    /// Whether instructions of other stages are looked at, too.
    pub all_stages: bool,
    /// Whether `build` has every build argument there will be.
    pub args_are_known: bool,
    /// The rules of `.dockerignore`.
    pub ignore: Option<&'a IgnoreRules>,
    /// What is known of images from outside, for those of [`outside_bases`].
    pub images: &'a BTreeMap<(StageBase, Platform), BaseImage>,
}

/// What checks have to know of an image that a stage starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseImage {
    pub env: Vec<(String, String)>,
    pub has_shell: bool,
    pub onbuild: Vec<String>,
    pub platform: Option<Platform>,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub message: String,
    /// The very words it is about.
    pub place: Span,
    /// The lines of the instruction it is about.
    pub statement: Span,
    label: String,
    also: Option<(Span, String)>,
    help: String,
}

impl Finding {
    /// The finding as a problem of the file: a warning, unless findings are errors.
    pub fn diagnostic(&self, error: bool) -> Diagnostic {
        let message = format!("{} ({})", self.message, self.rule.name());
        let code = self.rule.code();
        let mut problem = if error {
            Diagnostic::error(code, message)
        } else {
            Diagnostic::warning(code, message)
        };
        problem = problem.at(self.place, self.label.as_str());
        if let Some((place, text)) = &self.also {
            problem = problem.also(*place, text.as_str());
        }
        problem.help(self.help.as_str())
    }
}

/// Runs all checks, in the order of the file.
pub fn check(file: &Dockerfile, inputs: &CheckInputs<'_>) -> Vec<Finding> {
    let mut findings = Findings {
        settings: inputs.settings,
        found: Vec::new(),
    };
    text::check(file, &mut findings);
    stages::check(file, inputs, &mut findings);
    let mut found = findings.found;
    found.sort_by_key(|finding| (finding.statement.start, finding.rule, finding.place.start));
    found
}

/// The images from outside that stages start from, and for which platform.
pub fn outside_bases(
    file: &Dockerfile,
    build: &BuildInputs<'_>,
) -> BTreeSet<(StageBase, Platform)> {
    stages::outside_bases(file, build)
}

/// Collects what is found, unless it is not wanted.
struct Findings<'a> {
    settings: &'a CheckSettings,
    found: Vec<Finding>,
}

/// Where something was found.
#[derive(Clone, Copy)]
struct At<'a> {
    place: Span,
    statement: Span,
    /// Those above the instruction, which can switch checks off.
    comments: &'a [String],
}

/// What is said of it.
struct Told {
    message: String,
    label: String,
    also: Option<(Span, String)>,
    help: String,
}

impl Told {
    fn new(message: impl Into<String>, label: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            label: label.into(),
            also: None,
            help: help.into(),
        }
    }

    fn also(mut self, place: Span, text: &str) -> Self {
        self.also = Some((place, text.to_owned()));
        self
    }
}

impl Findings<'_> {
    /// The name that was probably meant. Not where so much is wrong that nobody reads it: each look
    /// goes over all names.
    fn near<'n>(&self, name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        const READ: usize = 100;
        (self.found.len() < READ)
            .then(|| closest(name, names))
            .flatten()
    }

    fn add(&mut self, at: At<'_>, rule: Rule, told: Told) {
        if self.settings.wants(rule, at.comments) {
            self.found.push(Finding {
                rule,
                message: told.message,
                place: at.place,
                statement: at.statement,
                label: told.label,
                also: told.also,
                help: told.help,
            });
        }
    }
}
