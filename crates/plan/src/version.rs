//! Release versions: semantic versions, with the letter that marks a rebuild (`1.15.12b`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// `MAJOR.MINOR.PATCH[letter][-prerelease]`. A letter says: the same upstream version, built again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReleaseVersion {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    pub letter: Option<char>,
    pre: semver::Prerelease,
}

/// Why a text is not a release version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a release version has the form 1.2.3, 1.2.3b or 1.2.3-rc.1")]
pub struct VersionError;

impl ReleaseVersion {
    /// Whether rolling tags may follow this version.
    pub fn is_stable(&self) -> bool {
        self.pre.is_empty()
    }
}

impl FromStr for ReleaseVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (
                core,
                semver::Prerelease::new(pre).map_err(|_| VersionError)?,
            ),
            None => (text, semver::Prerelease::EMPTY),
        };
        if text.ends_with('-') {
            return Err(VersionError);
        }
        let letter = core.chars().last().filter(char::is_ascii_lowercase);
        let digits = letter.map_or(core, |_| &core[..core.len() - 1]);
        let parsed = semver::Version::parse(digits).map_err(|_| VersionError)?;
        if !parsed.build.is_empty() {
            return Err(VersionError);
        }
        Ok(Self {
            major: parsed.major,
            minor: parsed.minor,
            patch: parsed.patch,
            letter,
            pre,
        })
    }
}

impl Ord for ReleaseVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| self.letter.cmp(&other.letter))
            .then_with(|| self.pre.cmp(&other.pre))
    }
}

impl PartialOrd for ReleaseVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if let Some(letter) = self.letter {
            write!(f, "{letter}")?;
        }
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_releases() {
        let order = [
            "1.2.3-rc.1",
            "1.2.3-rc.2",
            "1.2.3",
            "1.2.3b-rc.1",
            "1.2.3b",
            "1.2.3c",
            "1.2.4",
            "1.10.0",
        ];
        let versions: Vec<ReleaseVersion> =
            order.iter().map(|text| text.parse().unwrap()).collect();
        assert!(versions.is_sorted());
        for (text, version) in order.iter().zip(&versions) {
            assert_eq!(version.to_string(), *text);
            assert_eq!(version.is_stable(), !text.contains("rc"));
        }
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in [
            "",
            "1.2",
            "v1.2.3",
            "1.2.3bb",
            "1.2.3B",
            "1.2.3-",
            "1.2.3+b",
            "1.2.3-a b",
            "latest",
        ] {
            assert_eq!(text.parse::<ReleaseVersion>(), Err(VersionError), "{text}");
        }
    }
}
