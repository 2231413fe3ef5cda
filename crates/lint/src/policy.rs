//! What somebody asks of an image.

use std::collections::BTreeMap;

use crate::{Glob, Level, Rule};

/// The whole of it. The default asks what each rule does by itself, and sets no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Levels that differ from the rule's own.
    pub levels: BTreeMap<Rule, Level>,
    /// What is warned of is refused.
    pub deny_warnings: bool,
    pub allows: Vec<Allow>,
    pub budgets: Budgets,
}

/// Findings that are known and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    pub rule: Rule,
    /// The paths it is about; everything of the rule without one.
    pub path: Option<Glob>,
    /// Why, for people.
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// How much may be wasted, unpacked.
    pub wasted: Option<Limit>,
    /// How large the layers may be, as they travel.
    pub size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Bytes(u64),
    /// Of everything that is shipped, in tenths of a percent.
    PerMille(u32),
}

impl Policy {
    pub(crate) fn level(&self, rule: Rule, own: Level) -> Level {
        match self.levels.get(&rule).copied().unwrap_or(own) {
            Level::Warn if self.deny_warnings => Level::Deny,
            level => level,
        }
    }
}

impl Allow {
    pub(crate) fn covers(&self, rule: Rule, path: &str) -> bool {
        self.rule == rule && self.path.as_ref().is_none_or(|glob| glob.matches(path))
    }
}

impl Limit {
    /// Reads `50MB` or `2.5%`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, crate::AmountError> {
        let Some(number) = text.trim().strip_suffix('%') else {
            return crate::parse_bytes(text).map(Self::Bytes);
        };
        let wrong = crate::AmountError("a share is a number from 0 to 100, as in 2.5%");
        let share: f64 = number.trim().parse().map_err(|_| wrong)?;
        if !(0.0..=100.0).contains(&share) {
            return Err(wrong);
        }
        Ok(Self::PerMille((share * 10.0).round() as u32))
    }

    /// The limit in bytes, when so much is shipped.
    pub(crate) fn bytes(self, shipped: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::PerMille(share) => {
                u64::try_from(u128::from(shipped) * u128::from(share) / 1000).unwrap_or(u64::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_bytes_or_shares() {
        for (text, want) in [
            ("50MB", Some(Limit::Bytes(50_000_000))),
            ("0", Some(Limit::Bytes(0))),
            ("5%", Some(Limit::PerMille(50))),
            ("2.5 %", Some(Limit::PerMille(25))),
            ("101%", None),
            ("-1%", None),
            ("NaN%", None),
            ("much", None),
        ] {
            assert_eq!(Limit::parse(text).ok(), want, "{text}");
        }
        assert_eq!(Limit::PerMille(25).bytes(1_000_000), 25_000);
    }
}
