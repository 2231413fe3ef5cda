//! Where content that several registries hold is read from.
//!
//! Content goes by its digest, so any registry of the family may give it. One that could not is
//! asked last from then on; this is about reading alone and says nothing about writing to it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use launchway_manifest::RegistryPrefix;
use launchway_model::Repository;
use launchway_registry::RegistryError;

/// The registries of a family, as places to read from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    registries: Vec<RegistryPrefix>,
    unwell: Mutex<BTreeSet<Repository>>,
}

impl Sources {
    pub(crate) fn new(registries: Vec<RegistryPrefix>) -> Self {
        Self {
            registries,
            unwell: Mutex::default(),
        }
    }

    /// Reads something from a repository, or from the same repository of another registry. When
    /// nobody can give it, the error is the first one.
    pub(crate) async fn read<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        repository: &Repository,
        read: impl Fn(Repository) -> F,
    ) -> Result<T, RegistryError> {
        let mut first = None;
        for source in self.order(repository) {
            match read(source.clone()).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.unwell().insert(source);
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.expect("the repository itself is always asked"))
    }

    /// The repository and its siblings, those that failed before at the end.
    fn order(&self, repository: &Repository) -> Vec<Repository> {
        let mut order = vec![repository.clone()];
        for sibling in self.siblings(repository) {
            if !order.contains(&sibling) {
                order.push(sibling);
            }
        }
        let unwell = self.unwell();
        order.sort_by_key(|source| unwell.contains(source));
        order
    }

    fn siblings(&self, repository: &Repository) -> Vec<Repository> {
        let mut siblings = Vec::new();
        for home in self
            .registries
            .iter()
            .filter(|one| one.host == *repository.host())
        {
            let below = match &home.prefix {
                Some(prefix) => repository
                    .path()
                    .strip_prefix(prefix.as_str())
                    .and_then(|rest| rest.strip_prefix('/')),
                None => Some(repository.path()),
            };
            let Some(below) = below else { continue };
            let others = self.registries.iter().filter(|other| *other != home);
            siblings.extend(others.filter_map(|other| other.repository(below).ok()));
        }
        siblings
    }

    fn unwell(&self) -> MutexGuard<'_, BTreeSet<Repository>> {
        self.unwell.lock().expect("no holder of the sources panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_the_same_repository_elsewhere() {
        let registries = ["a.io/me", "b.io", "c.io/x/y"];
        let sources = Sources::new(registries.iter().map(|one| one.parse().unwrap()).collect());
        let order = |repository: &str| {
            let order = sources.order(&repository.parse().unwrap());
            let names: Vec<String> = order.iter().map(ToString::to_string).collect();
            names.join(" ")
        };
        assert_eq!(order("a.io/me/dev"), "a.io/me/dev b.io/dev c.io/x/y/dev");
        assert_eq!(order("c.io/x/y/t/z"), "c.io/x/y/t/z a.io/me/t/z b.io/t/z");
        // Nobody else has what is not the family's.
        assert_eq!(order("a.io/others/dev"), "a.io/others/dev");
        assert_eq!(order("d.io/dev"), "d.io/dev");
        sources.unwell().insert("a.io/me/dev".parse().unwrap());
        assert_eq!(order("a.io/me/dev"), "b.io/dev c.io/x/y/dev a.io/me/dev");
        assert_eq!(order("b.io/dev"), "b.io/dev c.io/x/y/dev a.io/me/dev");
    }
}
