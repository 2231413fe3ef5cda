//! Version ranges as npm reads them (the grammar in the README of the `semver` package of npm):
//! `0.75`, `1.x`, `~1.2`, `^1.2.3`, `>=1 <2`, `1.2 - 2.3`, `||`.

use std::str::FromStr;

use semver::{Prerelease, Version};

/// A range: alternatives, each a list of comparisons that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    alternatives: Vec<Vec<Comparison>>,
}

/// The text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is no part of a version range")]
pub struct RangeError {
    pub part: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    operator: Operator,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

impl Range {
    /// Whether a version is in the range. A prerelease is only when the range names a prerelease
    /// of the very same version: `>=1.2.3-rc.1` takes 1.2.3-rc.2, but not 1.3.0-rc.1.
    pub fn contains(&self, version: &Version) -> bool {
        let same_triple = |other: &Version| {
            (other.major, other.minor, other.patch) == (version.major, version.minor, version.patch)
        };
        self.alternatives.iter().any(|comparisons| {
            let named = || {
                comparisons
                    .iter()
                    .any(|c| !c.version.pre.is_empty() && same_triple(&c.version))
            };
            comparisons.iter().all(|c| c.holds(version)) && (version.pre.is_empty() || named())
        })
    }
}

impl Comparison {
    fn holds(&self, version: &Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Equal => order.is_eq(),
        }
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let alternatives = text.split("||").map(|part| alternative(part.trim()));
        Ok(Self {
            alternatives: alternatives.collect::<Result<_, _>>()?,
        })
    }
}

fn alternative(text: &str) -> Result<Vec<Comparison>, RangeError> {
    if let Some((low, high)) = text.split_once(" - ") {
        let mut comparisons = compared(">=", &partial(low.trim())?);
        comparisons.extend(compared("<=", &partial(high.trim())?));
        return Ok(comparisons);
    }
    let mut comparisons = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let operator = ["<=", ">=", "~>", "<", ">", "=", "~", "^"]
            .into_iter()
            .find(|operator| rest.starts_with(operator))
            .unwrap_or("");
        let after = rest[operator.len()..].trim_start();
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        comparisons.extend(simple(operator, &after[..end])?);
        rest = after[end..].trim_start();
    }
    Ok(comparisons)
}

/// A version with its last parts missing or written `x`, `X` or `*`.
struct Partial {
    major: Option<u64>,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: Prerelease,
    /// Whether a number follows a wildcard, as in `1.x.3`.
    is_mixed: bool,
}

impl Partial {
    /// The lowest version that it stands for.
    fn floor(&self) -> Version {
        Version {
            pre: self.pre.clone(),
            ..Version::new(
                self.major.unwrap_or(0),
                self.minor.unwrap_or(0),
                self.patch.unwrap_or(0),
            )
        }
    }

    /// The first version above all that it stands for; `None` when it stands for all.
    fn above(&self) -> Option<Version> {
        let major = self.major?;
        Some(match (self.minor, self.patch) {
            (None, _) => Version::new(major.saturating_add(1), 0, 0),
            (Some(minor), None) => Version::new(major, minor.saturating_add(1), 0),
            (Some(minor), Some(patch)) => Version::new(major, minor, patch.saturating_add(1)),
        })
    }

    fn is_whole(&self) -> bool {
        self.patch.is_some()
    }
}

fn partial(text: &str) -> Result<Partial, RangeError> {
    let wrong = || RangeError {
        part: text.to_owned(),
    };
    let bare = text.trim_start_matches(['=', 'v']);
    let (bare, build) = match bare.split_once('+') {
        Some((bare, build)) => (bare, Some(build)),
        None => (bare, None),
    };
    let (numbers, pre) = match bare.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (bare, None),
    };
    let mut parts = Vec::new();
    for part in numbers.split('.') {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit())
            && !part.is_empty()
            && (part == "0" || !part.starts_with('0'));
        parts.push(match part {
            "x" | "X" | "*" => None,
            number if is_number => Some(number.parse::<u64>().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        });
    }
    if parts.len() > 3 {
        return Err(wrong());
    }
    let part = |at: usize| parts.get(at).copied().flatten();
    let major = part(0);
    let minor = major.and(part(1));
    let patch = minor.and(part(2));
    if (pre.is_some() || build.is_some()) && parts.len() < 3 {
        return Err(wrong());
    }
    let pre = match pre {
        // After a wildcard a prerelease says nothing.
        Some(_) if patch.is_none() => Prerelease::EMPTY,
        Some("") => return Err(wrong()),
        Some(pre) => Prerelease::new(pre).map_err(|_| wrong())?,
        None => Prerelease::EMPTY,
    };
    Ok(Partial {
        major,
        minor,
        patch,
        pre,
        is_mixed: parts
            .iter()
            .skip_while(|part| part.is_some())
            .any(Option::is_some),
    })
}

fn simple(operator: &str, text: &str) -> Result<Vec<Comparison>, RangeError> {
    let partial = partial(text)?;
    // npm passes over what follows a wildcard after `^` and `~`, and refuses it elsewhere.
    if partial.is_mixed && !matches!(operator, "^" | "~" | "~>") {
        return Err(RangeError {
            part: format!("{operator}{text}"),
        });
    }
    Ok(compared(operator, &partial))
}

fn compared(operator: &str, partial: &Partial) -> Vec<Comparison> {
    let above = partial.above();
    let below = |version: Version| compare(Operator::Less, before_prereleases(version));
    let from = |version: Version| compare(Operator::GreaterOrEqual, version);
    match operator {
        "" | "=" if partial.is_whole() => vec![compare(Operator::Equal, partial.floor())],
        "" | "=" => within(partial, above),
        ">=" => vec![from(partial.floor())],
        ">" if partial.is_whole() => vec![compare(Operator::Greater, partial.floor())],
        ">" => vec![above.map_or_else(nothing, from)],
        "<" if partial.is_whole() => vec![compare(Operator::Less, partial.floor())],
        "<" => vec![below(partial.floor())],
        "<=" if partial.is_whole() => vec![compare(Operator::LessOrEqual, partial.floor())],
        "<=" => above.map(below).into_iter().collect(),
        "~" | "~>" => {
            let above = tilde_limit(partial);
            within(partial, above)
        }
        // What is left is `^`.
        _ => within(partial, caret_limit(partial)),
    }
}

/// The next minor version, or major where only that is named.
fn tilde_limit(partial: &Partial) -> Option<Version> {
    let major = partial.major?;
    Some(match partial.minor {
        Some(minor) => Version::new(major, minor.saturating_add(1), 0),
        None => Version::new(major.saturating_add(1), 0, 0),
    })
}

/// The first version that breaks compatibility: the next of the leftmost number that is not zero.
fn caret_limit(partial: &Partial) -> Option<Version> {
    let major = partial.major?;
    Some(match (major, partial.minor, partial.patch) {
        (0, Some(0), Some(patch)) => Version::new(0, 0, patch.saturating_add(1)),
        (0, Some(minor), _) => Version::new(0, minor.saturating_add(1), 0),
        _ => Version::new(major.saturating_add(1), 0, 0),
    })
}

fn within(partial: &Partial, above: Option<Version>) -> Vec<Comparison> {
    let mut comparisons = vec![compare(Operator::GreaterOrEqual, partial.floor())];
    comparisons.extend(above.map(|version| compare(Operator::Less, before_prereleases(version))));
    comparisons
}

fn compare(operator: Operator, version: Version) -> Comparison {
    Comparison { operator, version }
}

/// `<2.0.0` as the end of `1.x` leaves out 2.0.0's prereleases as well.
fn before_prereleases(version: Version) -> Version {
    Version {
        pre: Prerelease::new("0").expect("0 is a prerelease"),
        ..version
    }
}

/// `>*`: no version.
fn nothing() -> Comparison {
    compare(Operator::Less, before_prereleases(Version::new(0, 0, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let parsed: Range = range.parse().unwrap();
        for version in inside {
            assert!(
                parsed.contains(&version.parse().unwrap()),
                "{version} in {range}"
            );
        }
        for version in outside {
            assert!(
                !parsed.contains(&version.parse().unwrap()),
                "{version} not in {range}"
            );
        }
    }

    #[test]
    fn ranges_mean_what_npm_says() {
        for (range, inside, outside) in [
            (
                "0.75",
                &["0.75.0", "0.75.5"][..],
                &["0.74.9", "0.76.0", "0.75.0-rc.1", "0.76.0-0"][..],
            ),
            ("1", &["1.0.0", "1.9.9"], &["0.9.9", "2.0.0", "2.0.0-alpha"]),
            ("1.x", &["1.0.0", "1.9.9"], &["2.0.0"]),
            ("1.2.X", &["1.2.0"], &["1.3.0"]),
            (
                "v1.2.3",
                &["1.2.3", "1.2.3+build"],
                &["1.2.4", "1.2.3-rc.1"],
            ),
            ("=1.2.3", &["1.2.3"], &["1.2.2"]),
            ("1.2.3-rc.1", &["1.2.3-rc.1"], &["1.2.3", "1.2.3-rc.2"]),
            ("*", &["0.0.0", "99.0.0"], &["1.0.0-rc.1"]),
            ("", &["0.0.0", "99.0.0"], &["1.0.0-rc.1"]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]),
            ("~1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
            ("~1", &["1.0.0", "1.9.0"], &["2.0.0"]),
            ("~> 1.2", &["1.2.0"], &["1.3.0"]),
            (
                "~1.2.3-beta.2",
                &["1.2.3-beta.4", "1.2.4"],
                &["1.2.4-beta.2", "1.2.3-beta.1"],
            ),
            ("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0.0.x", &["0.0.9"], &["0.1.0"]),
            ("^0.x", &["0.0.0", "0.9.9"], &["1.0.0"]),
            ("^1.x", &["1.0.0", "1.9.9"], &["2.0.0"]),
            (
                "^1.2.3-beta.2",
                &["1.2.3-beta.3", "1.3.0"],
                &["1.3.0-beta.3"],
            ),
            (">1", &["2.0.0"], &["1.0.0", "1.9.9"]),
            (">1.2", &["1.3.0"], &["1.2.9"]),
            (">1.2.3", &["1.2.4"], &["1.2.3"]),
            (">=1.2", &["1.2.0", "9.0.0"], &["1.1.9"]),
            ("<1", &["0.9.9"], &["1.0.0", "1.0.0-rc.1"]),
            ("<1.2.3", &["1.2.2"], &["1.2.3"]),
            ("<=1", &["1.9.9"], &["2.0.0"]),
            ("<=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("<=*", &["1.0.0"], &[]),
            (">*", &[], &["0.0.0", "1.0.0"]),
            (">=1 <2", &["1.0.0", "1.9.9"], &["2.0.0", "0.9.0"]),
            (">= 1.2.0   < 1.4", &["1.2.0", "1.3.9"], &["1.4.0"]),
            ("1.2.3 - 2.3.4", &["1.2.3", "2.3.4"], &["2.3.5"]),
            ("1.2 - 2.3", &["1.2.0", "2.3.9"], &["2.4.0"]),
            ("1 - 2", &["1.0.0", "2.9.9"], &["3.0.0"]),
            (
                "^1.2 || ~3.1 || 5.0.0",
                &["1.9.0", "3.1.7", "5.0.0"],
                &["2.0.0", "3.2.0", "5.0.1"],
            ),
            ("1||2", &["1.1.0", "2.2.0"], &["3.0.0"]),
        ] {
            check(range, inside, outside);
        }
    }

    #[test]
    fn what_is_no_range_is_a_dist_tag_or_wrong() {
        for text in [
            "latest",
            "next",
            "beta-1",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "a.b",
            ">",
            "^",
            "1.-2",
            ">=1 foo",
            "1.2-rc",
            "1.x.3",
            "99999999999999999999999",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
