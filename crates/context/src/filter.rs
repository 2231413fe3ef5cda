//! What a COPY takes of a directory that it names: `--exclude`, and the pattern of `--parents`.

use launchway_dockerfile::IgnoreRules;

use crate::select::{cleaned, has_wildcard};

/// Which paths below a selected entry are taken. Paths are relative to that entry.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    excludes: IgnoreRules,
    parents: Option<Parents>,
}

/// What becomes of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    /// A directory that comes along only when something below it is taken.
    OnTheWay,
    LeftOut,
}

/// The pattern of `COPY --parents`: what matches it is taken, with everything below it.
#[derive(Clone, Debug)]
struct Parents {
    rules: IgnoreRules,
    /// The names before the first one that is no plain name: nothing elsewhere can match.
    stem: Vec<String>,
}

/// A source of `COPY --parents`, taken apart.
pub(crate) struct Pivoted {
    /// What is copied from: the part before `/./`, or the root.
    pub(crate) base: String,
    pub(crate) filter: Filter,
    /// A path below the base that has to be there, when there is no wildcard in the source.
    pub(crate) required: Option<String>,
}

impl Filter {
    /// A filter for `--exclude` alone.
    pub fn excluding<T: AsRef<str>>(excludes: &[T]) -> Self {
        Self {
            excludes: IgnoreRules::from_patterns(excludes),
            parents: None,
        }
    }

    /// What becomes of a path; the selected entry itself, whose path is empty, is always taken.
    pub fn verdict(&self, relative: &str, is_directory: bool) -> Verdict {
        if relative.is_empty() {
            return Verdict::Taken;
        }
        if self.excludes.is_excluded(relative) {
            return if is_directory && self.excludes.may_reinclude_below(relative) {
                Verdict::OnTheWay
            } else {
                Verdict::LeftOut
            };
        }
        match &self.parents {
            None => Verdict::Taken,
            // The rules of an ignore file, the other way round: a match is what is taken.
            Some(parents) if parents.rules.is_excluded(relative) => Verdict::Taken,
            Some(parents) if is_directory && parents.may_match_below(relative) => Verdict::OnTheWay,
            Some(_) => Verdict::LeftOut,
        }
    }
}

impl Parents {
    fn may_match_below(&self, directory: &str) -> bool {
        let mut names = directory.split('/').zip(&self.stem);
        !self.rules.is_empty() && names.all(|(name, wanted)| name == wanted)
    }
}

impl Pivoted {
    pub(crate) fn read(source: &str, excludes: &[String]) -> Self {
        let (base, pattern) = source.split_once("/./").unwrap_or(("", source));
        let names = cleaned(pattern);
        let is_plain = |name: &String| !has_wildcard(name) && !name.contains('\\');
        let stem = match names.first() {
            // An exception, which as the only pattern matches nothing.
            Some(first) if first.starts_with('!') => Vec::new(),
            _ => names
                .iter()
                .take_while(|name| is_plain(name))
                .cloned()
                .collect(),
        };
        let pattern = names.join("/");
        let plain = names.iter().chain(&cleaned(base)).all(is_plain);
        Self {
            base: base.to_owned(),
            required: plain.then(|| pattern.clone()),
            filter: Filter {
                excludes: IgnoreRules::from_patterns(excludes),
                parents: Some(Parents {
                    rules: IgnoreRules::from_patterns([&pattern]),
                    stem,
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pattern_of_parents_takes() {
        use Verdict::{LeftOut, OnTheWay, Taken};
        for (source, path, is_directory, want) in [
            ("a/b", "a", true, OnTheWay),
            ("a/b", "a", false, LeftOut),
            ("a/b", "a/b", true, Taken),
            ("a/b", "a/b/c/d", false, Taken),
            ("a/b", "a/x", true, LeftOut),
            ("a/b", "ab", true, LeftOut),
            ("/x/./a/*/c", "a/one", true, OnTheWay),
            ("/x/./a/*/c", "a/one/c", false, Taken),
            ("/x/./a/*/c", "a/one/d", false, LeftOut),
            ("/x/./a/*/c", "b", true, LeftOut),
            ("**/*.c", "deep/er", true, OnTheWay),
            ("**/*.c", "deep/er/main.c", false, Taken),
            ("./a", "a", true, Taken),
            ("a/./b/./c", "b/c", true, Taken),
            ("a/../b", "b", false, Taken),
            // Nothing is named, so nothing is taken.
            (".", "a", true, LeftOut),
            ("a/./", "b", true, LeftOut),
        ] {
            let pivoted = Pivoted::read(source, &[]);
            assert_eq!(
                pivoted.filter.verdict(path, is_directory),
                want,
                "{source} on {path}"
            );
        }
    }

    #[test]
    fn only_plain_sources_have_to_be_there() {
        for (source, base, required) in [
            ("a/b", "", Some("a/b")),
            ("/x/./a/b/", "/x", Some("a/b")),
            ("x*/./a", "x*", None),
            ("x/./a?", "x", None),
            ("a\\b", "", None),
        ] {
            let pivoted = Pivoted::read(source, &[]);
            assert_eq!(pivoted.base, base, "{source}");
            assert_eq!(pivoted.required.as_deref(), required, "{source}");
        }
    }
}
