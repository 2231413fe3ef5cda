//! What `git ls-remote` prints.

use launchway_dockerfile::{is_commit, is_reference};

/// What a reference of a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Option<String>,
    pub(crate) object: String,
    /// The same as the object, unless that is an annotated tag.
    pub(crate) commit: String,
}

/// The default branch, out of `ls-remote --symref … HEAD`. Servers of plain files do not tell its name.
pub(crate) fn head(output: &str) -> Option<Found> {
    let mut name = None;
    let mut object = None;
    for line in output.lines() {
        let (value, of) = line.split_once('\t')?;
        match value.strip_prefix("ref: ") {
            _ if of != "HEAD" => {}
            Some(target) => name = Some(target.to_owned()),
            None => object = Some(value.to_owned()),
        }
    }
    let object = object.filter(|object| is_commit(object))?;
    Some(Found {
        name: name.filter(|name| name.starts_with("refs/heads/") && is_reference(name)),
        commit: object.clone(),
        object,
    })
}

/// A reference by its name: as it stands below `refs`, else the branch, else the tag.
pub(crate) fn reference(output: &str, reference: &str) -> Option<Found> {
    let within = |prefix: &str| {
        let rest = reference.strip_prefix(prefix).unwrap_or(reference);
        format!("{prefix}{rest}")
    };
    let of = |name: &str| {
        let mut lines = output.lines().filter_map(|line| line.split_once('\t'));
        let found = lines.find(|(_, listed)| *listed == name);
        found.map(|(object, _)| object.to_owned())
    };
    let names = ["refs/", "refs/heads/", "refs/tags/"].map(within);
    let (name, object) = names
        .into_iter()
        .find_map(|name| of(&name).map(|object| (name, object)))?;
    let peeled = of(&format!("{name}^{{}}")).filter(|_| name.starts_with("refs/tags/"));
    let commit = peeled.unwrap_or_else(|| object.clone());
    let good = is_commit(&object) && is_commit(&commit) && is_reference(&name);
    good.then_some(Found {
        name: Some(name),
        object,
        commit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    #[test]
    fn names_in_their_order() {
        let output = format!(
            "{}\trefs/heads/v1\n{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\trefs/heads/x/v1\n{}\trefs/pull/1/head\n",
            id('1'),
            id('2'),
            id('3'),
            id('4'),
            id('5'),
        );
        for (name, found) in [
            ("v1", Some(("refs/heads/v1", '1', '1'))),
            ("heads/v1", Some(("refs/heads/v1", '1', '1'))),
            ("tags/v1", Some(("refs/tags/v1", '2', '3'))),
            ("refs/tags/v1", Some(("refs/tags/v1", '2', '3'))),
            ("x/v1", Some(("refs/heads/x/v1", '4', '4'))),
            ("pull/1/head", Some(("refs/pull/1/head", '5', '5'))),
            ("refs/pull/1/head", Some(("refs/pull/1/head", '5', '5'))),
            ("v2", None),
            ("HEAD", None),
        ] {
            let want = found.map(|(name, object, commit)| Found {
                name: Some(name.to_owned()),
                object: id(object),
                commit: id(commit),
            });
            assert_eq!(reference(&output, name), want, "{name}");
        }
        assert_eq!(reference("no commit\trefs/heads/v1\n", "v1"), None);
        assert_eq!(reference("", "v1"), None);
    }

    #[test]
    fn the_default_branch() {
        let found = |name: Option<&str>| {
            Some(Found {
                name: name.map(str::to_owned),
                object: id('1'),
                commit: id('1'),
            })
        };
        let told = format!("ref: refs/heads/main\tHEAD\n{}\tHEAD\n", id('1'));
        assert_eq!(head(&told), found(Some("refs/heads/main")));
        assert_eq!(head(&format!("{}\tHEAD\n", id('1'))), found(None));
        let hostile = format!("ref: refs/heads/--x\u{7}\tHEAD\n{}\tHEAD\n", id('1'));
        assert_eq!(head(&hostile), found(None));
        assert_eq!(head(""), None);
        assert_eq!(head("fatal: nothing\n"), None);
    }
}
