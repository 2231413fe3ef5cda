//! What can be told of a stage's variables without building: images of a registry bring some that
//! nobody knows here.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::ExpandError;

/// What `PATH` is in an image that sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Debug, Default)]
pub(crate) struct KnownVariables {
    /// `None`: has a value that is not known.
    values: BTreeMap<String, Option<String>>,
    /// Those of them that the image itself keeps: what `ENV` set, not `ARG`.
    of_image: BTreeMap<String, Option<String>>,
    /// A name that is not in `values` may have a value all the same.
    others_unknown: bool,
}

impl KnownVariables {
    pub(crate) fn of_an_empty_image() -> Self {
        let mut variables = Self::default();
        variables.set("PATH", Some(DEFAULT_PATH.to_owned()));
        variables
    }

    pub(crate) fn of_an_unknown_image() -> Self {
        Self {
            others_unknown: true,
            ..Self::default()
        }
    }

    /// What a stage from this one starts with: arguments are inherited, but whatever the image
    /// sets is stronger than an argument of the same name, even a later one.
    pub(crate) fn for_next_stage(&self) -> Self {
        let mut next = self.clone();
        for (name, value) in &mut next.values {
            if let Some(of_image) = self.of_image.get(name) {
                value.clone_from(of_image);
            } else if self.others_unknown {
                *value = None;
            }
        }
        next
    }

    /// What an image sets, when all of it is known.
    pub(crate) fn of_image(env: &[(String, String)]) -> Self {
        let mut variables = Self::of_an_empty_image();
        for (name, value) in env {
            variables.set(name, Some(value.clone()));
        }
        variables
    }

    /// Whether a name has no value, as far as it can be told.
    pub(crate) fn is_unset(&self, name: &str) -> bool {
        !self.values.contains_key(name) && (!self.others_unknown || never_set(name))
    }

    /// The names that have a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// What a name stands for; nothing when that is not known.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_deref()
    }

    /// `ENV`.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        self.of_image.insert(name.to_owned(), value.clone());
        self.values.insert(name.to_owned(), value);
    }

    /// `ARG`: within its stage it is stronger than an earlier `ENV`.
    pub(crate) fn declare(&mut self, name: &str, value: Option<String>) {
        self.values.insert(name.to_owned(), value);
    }

    /// From here on nothing is known: a variable whose name is unknown was set.
    pub(crate) fn forget(&mut self) {
        *self = Self::of_an_unknown_image();
    }

    /// Runs an expansion. `None` when its result depends on something unknown, even if it failed.
    pub(crate) fn expand<T, E>(
        &self,
        expansion: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let met_unknown = Cell::new(false);
        let result = expansion(&|name| match self.values.get(name) {
            Some(Some(value)) => Some(value.clone()),
            Some(None) => {
                met_unknown.set(true);
                None
            }
            None => {
                if self.others_unknown && !never_set(name) {
                    met_unknown.set(true);
                }
                None
            }
        });
        (!met_unknown.get()).then_some(result)
    }

    /// One word; `None` when it cannot be known.
    pub(crate) fn word(&self, word: &str, escape: char) -> Result<Option<String>, ExpandError> {
        self.expand(|lookup| crate::expand(word, escape, lookup))
            .transpose()
    }
}

/// The shell's parameters, `$1` and `$@`: Docker knows none of them.
fn never_set(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
