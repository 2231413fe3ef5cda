//! Files that tools and file managers leave behind and that belong in no image.

use std::path::Path;

use launchway_dockerfile::IgnoreRules;

use crate::context::slashed;

/// What counts as junk: `__pycache__`, `*.pyc`, `.DS_Store`, `._*` at any depth, and what the user
/// adds. Everything below a junk directory is junk.
#[derive(Clone, Debug)]
pub struct JunkRules {
    usual: bool,
    added: Option<IgnoreRules>,
}

impl Default for JunkRules {
    fn default() -> Self {
        Self::with(std::iter::empty())
    }
}

impl JunkRules {
    /// The usual junk and some patterns, written as in `.dockerignore`, except that a pattern
    /// without a slash counts at any depth.
    pub fn with<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let added: Vec<String> = patterns.into_iter().map(at_any_depth).collect();
        Self {
            usual: true,
            added: (!added.is_empty()).then(|| IgnoreRules::parse(&added.join("\n"))),
        }
    }

    /// Nothing is junk.
    pub fn none() -> Self {
        Self {
            usual: false,
            added: None,
        }
    }

    /// Whether a path, relative to the root, is junk or lies in a junk directory.
    pub fn is_junk(&self, path: &Path) -> bool {
        let usual = || {
            path.iter()
                .any(|name| is_usual_junk(name.as_encoded_bytes()))
        };
        (self.usual && usual()) || self.is_added_junk(path)
    }

    /// Whether the user's own patterns make a path junk.
    pub(crate) fn is_added_junk(&self, path: &Path) -> bool {
        self.added
            .as_ref()
            .is_some_and(|rules| rules.is_excluded(&slashed(path)))
    }

    pub(crate) fn includes_the_usual(&self) -> bool {
        self.usual
    }
}

/// Whether a name at the end of a path is junk wherever it stands.
pub(crate) fn is_junk_file_name(name: &[u8]) -> bool {
    name.ends_with(b".pyc") || name == b".DS_Store" || name.starts_with(b"._")
}

fn is_usual_junk(name: &[u8]) -> bool {
    name == b"__pycache__" || is_junk_file_name(name)
}

fn at_any_depth(pattern: &str) -> String {
    let pattern = pattern.trim();
    let (negation, bare) = match pattern.strip_prefix('!') {
        Some(bare) => ("!", bare),
        None => ("", pattern),
    };
    if bare.trim_end_matches('/').contains('/') {
        pattern.to_owned()
    } else {
        format!("{negation}**/{bare}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_junk_is_found_at_any_depth() {
        let rules = JunkRules::default();
        for (path, want) in [
            ("__pycache__", true),
            ("a/__pycache__/b/c.txt", true),
            ("a/b.pyc", true),
            (".DS_Store", true),
            ("a/._b", true),
            ("a/b.py", false),
            ("a/DS_Store", false),
            ("a.b/_c", false),
            ("pycache", false),
        ] {
            assert_eq!(rules.is_junk(Path::new(path)), want, "{path}");
            assert!(!JunkRules::none().is_junk(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn own_patterns_count_at_any_depth_unless_they_name_a_place() {
        let rules = JunkRules::with(["*.swp", "/top", "docs/*.md", "build/", "!keep.swp"]);
        for (path, want) in [
            ("a/b/x.swp", true),
            ("keep.swp", false),
            ("a/keep.swp", false),
            ("top", true),
            ("a/top", false),
            ("docs/a.md", true),
            ("a/docs/a.md", false),
            ("a/build/x", true),
            ("a/b.pyc", true),
        ] {
            assert_eq!(rules.is_junk(Path::new(path)), want, "{path}");
        }
    }
}
