//! The rules of `.dockerignore`.

/// Patterns in their order; the last one that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    rules: Vec<String>,
}

impl IgnoreRules {
    /// Reads a file; lines that are no pattern at all are left out, see [`IgnoreRules::problems`].
    pub fn parse(text: &str) -> Self {
        Self { rules: vec![text.to_owned()] }
    }

    /// These rules after a list of patterns that they can make exceptions from.
    #[must_use]
    pub fn with_defaults(self, patterns: &[&str]) -> Self {
        let _ = patterns;
        self
    }

    /// Lines that are no pattern: number, counted from one, and text.
    pub fn problems(&self) -> &[(usize, String)] {
        &[]
    }

    /// Whether nothing is excluded.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a path, relative to the context and separated by slashes, is left out.
    pub fn is_excluded(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Whether something below an excluded directory may be taken in again by a `!` rule.
    pub fn may_reinclude_below(&self, dir: &str) -> bool {
        let _ = dir;
        true
    }
}
