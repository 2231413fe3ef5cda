//! The variables an instruction sees.

use std::collections::BTreeMap;

use launchway_diagnostics::{Diagnostic, Spanned};
use launchway_dockerfile::{ArgDef, ExpandError, expand, expand_words};

use crate::codes;

/// Build arguments that every RUN sees without an ARG, and that never enter a cache key
/// (Dockerfile reference, "Predefined ARGs").
pub(crate) const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// ENV and ARG of a stage so far; ARG values are seen like ENV but do not enter the image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) variables: BTreeMap<String, String>,
    /// The ARGs declared so far, in order.
    pub(crate) declared: Vec<String>,
    pub(crate) escape: char,
}

impl Scope {
    pub(crate) fn lookup(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |name| self.variables.get(name).cloned()
    }

    pub(crate) fn expand(&self, word: &Spanned<String>) -> Result<String, Diagnostic> {
        expand(&word.value, self.escape, &self.lookup()).map_err(|error| bad_word(word, &error))
    }

    pub(crate) fn words(&self, word: &Spanned<String>) -> Result<Vec<String>, Diagnostic> {
        expand_words(&word.value, self.escape, &self.lookup())
            .map_err(|error| bad_word(word, &error))
    }

    /// Declares an ARG: the build argument given, else its default, else what the global scope has.
    /// Gives what history says of it.
    pub(crate) fn declare(
        &mut self,
        definition: &ArgDef,
        given: &BTreeMap<String, String>,
        global: &BTreeMap<String, String>,
    ) -> Result<String, Diagnostic> {
        let name = &definition.name.value;
        let value = match (given.get(name), &definition.default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => Some(self.expand(default)?),
            (None, None) => global.get(name).cloned(),
        };
        self.declared.push(name.clone());
        Ok(match value {
            Some(value) => {
                let told = format!("{name}={value}");
                self.variables.insert(name.clone(), value);
                told
            }
            None => name.clone(),
        })
    }
}

fn bad_word(word: &Spanned<String>, error: &ExpandError) -> Diagnostic {
    Diagnostic::error(codes::BAD_WORD, format!("cannot expand `{}`", word.value))
        .at(word.span, error.to_string())
}
