//! What a token is good for, as Docker's token protocol writes it: `repository:NAME:pull,push`.

use super::Action;

/// The kind of resource that repositories are.
pub(crate) const REPOSITORY: &str = "repository";
/// The kind and name of the list of repositories.
pub(crate) const CATALOG: (&str, &str) = ("registry", "catalog");

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<Action>,
}

impl Scope {
    /// Reads one scope; `None` for what is none. Actions that are not known are left out, since a
    /// client may ask for more than there is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // A name may hold a colon (`HOST:PORT/…`), the kind and the actions do not.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` is a repository all the same.
        let kind = kind.split('(').next().unwrap_or_default();
        if kind.is_empty() || name.is_empty() {
            return None;
        }
        let mut wanted = Vec::new();
        for action in actions.split(',') {
            match action {
                "*" => wanted.extend(Action::ALL),
                text => wanted.extend(Action::ALL.iter().find(|action| action.as_str() == text)),
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: wanted,
        })
    }

    pub(crate) fn covers(&self, kind: &str, name: &str, action: Action) -> bool {
        self.kind == kind && self.name == name && self.actions.contains(&action)
    }

    pub(crate) fn text(&self) -> String {
        let actions: Vec<_> = self.actions.iter().map(|action| action.as_str()).collect();
        format!("{}:{}:{}", self.kind, self.name, actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read() {
        for (text, want) in [
            ("repository:a/b:pull", Some("repository:a/b:pull")),
            (
                "repository:a:push,pull,pull",
                Some("repository:a:pull,push"),
            ),
            ("repository:a:*", Some("repository:a:pull,push,delete")),
            ("repository(plugin):a:pull", Some("repository:a:pull")),
            ("repository:h:5000/a:pull", Some("repository:h:5000/a:pull")),
            ("repository:a:fly", Some("repository:a:")),
            (
                "registry:catalog:*",
                Some("registry:catalog:pull,push,delete"),
            ),
            ("repository:a", None),
            ("repository::pull", None),
            ("", None),
        ] {
            let got = Scope::parse(text).map(|scope| scope.text());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
