//! Which checks are wanted: the `check` directive, the build argument in its place, and comments
//! above single instructions.

use std::collections::BTreeSet;

use launchway_diagnostics::closest;

use super::Rule;
use crate::Dockerfile;

/// What is looked at, and how much it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckSettings {
    skip: Selection,
    experimental: Selection,
    /// What is found is an error.
    pub error: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Selection {
    All,
    Named(BTreeSet<String>),
}

/// Why a text is no list of options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckSettingsError {
    #[error("`{0}` is no option: there are skip=, error= and experimental=")]
    Option(String),
    #[error("`{0}` is neither true nor false")]
    Boolean(String),
}

impl CheckSettings {
    /// Reads `skip=RULE,RULE;error=true;experimental=all`. Names that are no rules mean nothing.
    pub fn parse(text: &str) -> Result<Self, CheckSettingsError> {
        let mut settings = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(settings);
        }
        for part in text.splitn(3, ';') {
            let unknown = || CheckSettingsError::Option(part.trim().to_owned());
            let (option, value) = part.split_once('=').ok_or_else(unknown)?;
            let value = value.trim();
            match option.trim() {
                "skip" => settings.skip = Selection::parse(value),
                "experimental" => settings.experimental = Selection::parse(value),
                "error" => {
                    settings.error = match value {
                        "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
                        "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
                        _ => return Err(CheckSettingsError::Boolean(value.to_owned())),
                    };
                }
                _ => return Err(unknown()),
            }
        }
        Ok(settings)
    }

    /// Those of the directive at the top of a file.
    pub fn of(file: &Dockerfile) -> Self {
        let directive = file.directives.check.as_ref();
        let settings = directive.map(|check| Self::parse(first_word(check)));
        // The parser has refused what cannot be read.
        settings.and_then(Result::ok).unwrap_or_default()
    }

    /// Names of rules that do not exist, each with the name it is close to.
    pub fn unknown_rules(&self) -> Vec<(&str, Option<&'static str>)> {
        let named = [&self.skip, &self.experimental]
            .into_iter()
            .filter_map(|selection| match selection {
                Selection::All => None,
                Selection::Named(names) => Some(names),
            });
        named
            .flatten()
            .map(String::as_str)
            .filter(|name| Rule::ALL.iter().all(|rule| rule.name() != *name))
            .map(|name| (name, closest(name, Rule::ALL.map(Rule::name))))
            .collect()
    }

    /// Whether a rule is looked at, at a place with these comments above it.
    pub(super) fn wants(&self, rule: Rule, comments: &[String]) -> bool {
        let own = comments.iter().find_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let value = value.trim();
            let is_check = name.trim().eq_ignore_ascii_case("check") && !value.is_empty();
            is_check.then(|| Self::parse(first_word(value)))
        });
        let own = own.and_then(Result::ok).unwrap_or_default();
        if rule.is_experimental() {
            self.experimental.has(rule) || own.experimental.has(rule)
        } else {
            !self.skip.has(rule) && !own.skip.has(rule)
        }
    }
}

/// As in Docker, options end at the first space.
pub(crate) fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

impl Selection {
    fn parse(value: &str) -> Self {
        if value == "all" {
            return Self::All;
        }
        let names = value.split(',').map(|name| name.trim().to_owned());
        Self::Named(names.filter(|name| !name.is_empty()).collect())
    }

    fn has(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(rule.name()),
        }
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_select_rules() {
        let settings = CheckSettings::parse(" skip=FromAsCasing, UndefinedVar ;error=1").unwrap();
        assert!(settings.error);
        assert!(!settings.wants(Rule::FromAsCasing, &[]));
        assert!(!settings.wants(Rule::UndefinedVar, &[]));
        assert!(settings.wants(Rule::StageNameCasing, &[]));
        assert!(!settings.wants(Rule::InvalidDefinitionDescription, &[]));
        let above = ["other".to_owned(), "Check = skip=all more".to_owned()];
        assert!(!settings.wants(Rule::StageNameCasing, &above));
        let all = CheckSettings::parse("experimental=all").unwrap();
        assert!(all.wants(Rule::InvalidDefinitionDescription, &[]));
        assert_eq!(CheckSettings::parse(""), Ok(CheckSettings::default()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, said) in [
            ("nothing", "`nothing` is no option"),
            ("skipp=all", "`skipp=all` is no option"),
            ("error=maybe", "`maybe` is neither"),
        ] {
            let error = CheckSettings::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let settings = CheckSettings::parse("skip=UndefinedVars,Nonsense").unwrap();
        assert_eq!(
            settings.unknown_rules(),
            [("Nonsense", None), ("UndefinedVars", Some("UndefinedVar"))]
        );
    }
}
