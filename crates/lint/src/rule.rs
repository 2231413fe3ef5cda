//! The rules, by name.

use std::fmt;
use std::str::FromStr;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not looked for.
    Allow,
    /// Told, and no more.
    Note,
    Warn,
    /// The image is refused.
    Deny,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Caches of package managers in a layer.
    PackageCache,
    /// Files left in /tmp, /var/tmp and /var/log.
    Leftovers,
    /// Manuals and translations.
    Documentation,
    /// The same content more than once.
    DuplicateFile,
    /// Files that a later layer deletes; they are shipped all the same.
    DeletedFile,
    /// Files that a later layer replaces.
    OverwrittenFile,
    /// Files that are stored again because only their owner or mode changed.
    MetadataChange,
    /// Files and directories that everybody can write to.
    WorldWritable,
    /// Programs that run with the rights of their owner or group.
    Setuid,
    /// Keys, credentials and tokens in files.
    SecretFile,
    /// Keys, credentials and tokens in the configuration and the history.
    SecretConfig,
    /// Programs where a volume or a mount will hide them.
    ShadowedProgram,
    /// Other files where a volume or a mount will hide them.
    ShadowedData,
}

impl Rule {
    pub const ALL: [Self; 13] = [
        Self::SecretFile,
        Self::SecretConfig,
        Self::ShadowedProgram,
        Self::ShadowedData,
        Self::PackageCache,
        Self::Leftovers,
        Self::DeletedFile,
        Self::OverwrittenFile,
        Self::MetadataChange,
        Self::DuplicateFile,
        Self::WorldWritable,
        Self::Setuid,
        Self::Documentation,
    ];

    /// The names of all, in the same order.
    pub const NAMES: [&'static str; 13] = {
        let mut names = [""; 13];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PackageCache => "package-cache",
            Self::Leftovers => "leftovers",
            Self::Documentation => "documentation",
            Self::DuplicateFile => "duplicate-file",
            Self::DeletedFile => "deleted-file",
            Self::OverwrittenFile => "overwritten-file",
            Self::MetadataChange => "metadata-change",
            Self::WorldWritable => "world-writable",
            Self::Setuid => "setuid",
            Self::SecretFile => "secret-file",
            Self::SecretConfig => "secret-config",
            Self::ShadowedProgram => "shadowed-program",
            Self::ShadowedData => "shadowed-data",
        }
    }

    /// What it looks for, in a line.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::PackageCache => "what package managers downloaded and will not need again",
            Self::Leftovers => "temporary files and logs of the build",
            Self::Documentation => "manuals and translations, from 5 MB on",
            Self::DuplicateFile => "the same content more than once, from 1 MB on",
            Self::DeletedFile => {
                "files that a later layer deletes, and that are shipped all the same"
            }
            Self::OverwrittenFile => "files that a later layer replaces",
            Self::MetadataChange => {
                "files that are stored again because their owner or mode changed"
            }
            Self::WorldWritable => "files and directories that everybody can write to",
            Self::Setuid => "programs that run with the rights of their owner or group",
            Self::SecretFile => "private keys, credentials and tokens in files of any layer",
            Self::SecretConfig => "secrets in ENV, LABEL, build arguments and the history",
            Self::ShadowedProgram => "programs installed where a volume or a mount will hide them",
            Self::ShadowedData => "other files that a volume or a mount will hide",
        }
    }

    /// How much it matters unless somebody says otherwise.
    #[must_use]
    pub fn default_level(self) -> Level {
        match self {
            Self::SecretFile | Self::SecretConfig | Self::ShadowedProgram => Level::Deny,
            Self::PackageCache
            | Self::Leftovers
            | Self::DuplicateFile
            | Self::DeletedFile
            | Self::OverwrittenFile
            | Self::MetadataChange
            | Self::WorldWritable
            | Self::ShadowedData => Level::Warn,
            Self::Setuid | Self::Documentation => Level::Note,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rule {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.name() == text)
            .ok_or(())
    }
}

impl Level {
    pub const NAMES: [&'static str; 4] = ["allow", "note", "warn", "deny"];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Allow, Self::Note, Self::Warn, Self::Deny]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for rule in Rule::ALL {
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        let mut all = Rule::ALL.to_vec();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), Rule::ALL.len());
        for name in Level::NAMES {
            assert_eq!(name.parse::<Level>().map(Level::name), Ok(name));
        }
        assert!("waste".parse::<Rule>().is_err());
    }
}
