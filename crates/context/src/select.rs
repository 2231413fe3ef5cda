//! Which entries of a tree a COPY source names, by BuildKit's rules, and what stands below them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use launchway_dockerfile::go_match;
use launchway_oci::{EntryKind, Tree, TreeEntry, resolve};
use rustix::io::Errno;

use crate::ContextError;
use crate::context::slashed;
use crate::filter::{Filter, Pivoted, Verdict};
use crate::missing::{Edge, why_missing};

/// One thing that a source names.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The path as it was named, relative to the root; empty for the root itself. Its last
    /// component is the name a copy gets.
    pub matched: PathBuf,
    /// Where it is, after following symlinks: never a symlink itself.
    pub path: PathBuf,
    pub entry: TreeEntry,
    /// What of it is taken.
    pub filter: Arc<Filter>,
}

/// An entry of a selection.
#[derive(Clone, Debug)]
pub struct Walked {
    /// Relative to the selected entry; empty for that entry itself.
    pub relative: PathBuf,
    /// Where it is in the tree.
    pub path: PathBuf,
    pub entry: TreeEntry,
}

/// What a source names in a tree, sorted.
///
/// A leading `/` means the root, `..` stops there. Wildcards are those of Go's `filepath.Match`,
/// one path component at a time; symlinks are not looked through by a wildcard, but are followed
/// when they are what is named, or stand before the first wildcard. A wildcard may match nothing,
/// as in `COPY package.json package-lock.json* ./`; a plain name may not.
///
/// `excludes` are patterns as in `.dockerignore`, relative to the entry that is selected; they
/// leave out what stands below it, never the entry itself.
pub fn select(
    tree: &dyn Tree,
    pattern: &str,
    excludes: &[String],
) -> Result<Vec<Selected>, ContextError> {
    select_in(tree, pattern, &Filter::excluding(excludes), Edge::Root)
}

/// What a source of `COPY --parents` names: the part before `/./`, or the root, and of that what
/// matches the part behind it. That part is a pattern as in `.dockerignore`, with `**`, and no
/// symlink is followed for it. Without a wildcard anywhere, what it names must exist.
pub fn select_with_parents(
    tree: &dyn Tree,
    source: &str,
    excludes: &[String],
) -> Result<Vec<Selected>, ContextError> {
    select_with_parents_in(tree, source, excludes, Edge::Root)
}

pub(crate) fn select_with_parents_in(
    tree: &dyn Tree,
    source: &str,
    excludes: &[String],
    edge: Edge,
) -> Result<Vec<Selected>, ContextError> {
    let pivoted = Pivoted::read(source, excludes);
    let selected = select_in(tree, &pivoted.base, &pivoted.filter, edge)?;
    if let (Some(required), Some(base)) = (&pivoted.required, selected.first()) {
        let path = joined(&base.path, Path::new(required));
        let found = tree.entry(&path).map_err(ContextError::reading(&path))?;
        if found.is_none() {
            return Err(why_missing(tree, &path, source, edge)?);
        }
    }
    Ok(selected)
}

pub(crate) fn select_in(
    tree: &dyn Tree,
    pattern: &str,
    filter: &Filter,
    edge: Edge,
) -> Result<Vec<Selected>, ContextError> {
    let filter = Arc::new(filter.clone());
    let names = cleaned(pattern);
    let plain = names.iter().take_while(|name| !has_wildcard(name)).count();
    let (prefix, wild) = names.split_at(plain);
    let prefix: PathBuf = prefix.iter().collect();
    let matched = if wild.is_empty() {
        vec![prefix]
    } else {
        let (base, entry) = follow(tree, &prefix, pattern, edge)?;
        let mut found = Vec::new();
        if entry.kind == EntryKind::Dir {
            matches_below(tree, &base, wild, pattern, &mut found)?;
        }
        found
    };
    matched
        .into_iter()
        .map(|matched| {
            let (path, entry) = follow(tree, &matched, pattern, edge)?;
            Ok(Selected {
                matched,
                path,
                entry,
                filter: Arc::clone(&filter),
            })
        })
        .collect()
}

/// A selected entry and everything below it that is taken: parents before children, siblings sorted
/// bytewise. A directory that is not taken itself is there when something below it is.
pub fn walk(tree: &dyn Tree, selected: &Selected) -> Result<Vec<Walked>, ContextError> {
    let mut found = vec![Walked {
        relative: PathBuf::new(),
        path: selected.path.clone(),
        entry: selected.entry,
    }];
    if selected.entry.kind == EntryKind::Dir {
        walk_below(tree, selected, &selected.path, &PathBuf::new(), &mut found)?;
    }
    Ok(found)
}

fn walk_below(
    tree: &dyn Tree,
    selected: &Selected,
    directory: &Path,
    relative: &Path,
    found: &mut Vec<Walked>,
) -> Result<(), ContextError> {
    let listed = tree
        .list(directory)
        .map_err(ContextError::reading(directory))?;
    for (name, entry) in listed {
        let path = directory.join(&name);
        let relative = relative.join(&name);
        let is_dir = entry.kind == EntryKind::Dir;
        let verdict = selected.filter.verdict(&slashed(&relative), is_dir);
        if verdict == Verdict::LeftOut {
            continue;
        }
        let before = found.len();
        found.push(Walked {
            relative: relative.clone(),
            path: path.clone(),
            entry,
        });
        if is_dir {
            walk_below(tree, selected, &path, &relative, found)?;
            if verdict == Verdict::OnTheWay && found.len() == before + 1 {
                found.truncate(before);
            }
        }
    }
    Ok(())
}

/// The names that a source consists of: no `.`, no empty name, and `..` taken away together with
/// the name before it.
pub(crate) fn cleaned(pattern: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in pattern.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
    }
    names
}

/// Whether a name is a pattern. A name whose only special character is an escape is a plain name,
/// with its backslashes.
pub(crate) fn has_wildcard(name: &str) -> bool {
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}

fn matches_below(
    tree: &dyn Tree,
    directory: &Path,
    wild: &[String],
    pattern: &str,
    found: &mut Vec<PathBuf>,
) -> Result<(), ContextError> {
    let Some((first, rest)) = wild.split_first() else {
        return Ok(());
    };
    let bad_pattern = |source| ContextError::Pattern {
        pattern: pattern.to_owned(),
        source,
    };
    // A malformed pattern is an error also where there is nothing to compare it with.
    go_match(first, "").map_err(bad_pattern)?;
    let names = tree
        .children(directory)
        .map_err(ContextError::reading(directory))?;
    for name in names {
        if !go_match(first, &name.to_string_lossy()).map_err(bad_pattern)? {
            continue;
        }
        let path = directory.join(name);
        if rest.is_empty() {
            found.push(path);
            continue;
        }
        let entry = tree.entry(&path).map_err(ContextError::reading(&path))?;
        if entry.is_some_and(|entry| entry.kind == EntryKind::Dir) {
            matches_below(tree, &path, rest, pattern, found)?;
        }
    }
    Ok(())
}

pub(crate) fn follow(
    tree: &dyn Tree,
    path: &Path,
    pattern: &str,
    edge: Edge,
) -> Result<(PathBuf, TreeEntry), ContextError> {
    let resolved = match resolve(tree, path, true) {
        Ok(resolved) => resolved,
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(ContextError::LinkLoop {
                path: path.to_owned(),
            });
        }
        Err(source) => {
            return Err(ContextError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    match tree
        .entry(&resolved)
        .map_err(ContextError::reading(&resolved))?
    {
        Some(entry) => Ok((resolved, entry)),
        None => Err(why_missing(tree, path, pattern, edge)?),
    }
}

/// A path below another; the standard library adds a slash when that is empty.
pub(crate) fn joined(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() {
        path.to_owned()
    } else {
        path.join(below)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use launchway_dockerfile::IgnoreRules;

    use super::*;
    use crate::{Context, JunkRules};

    fn sample() -> tempfile::TempDir {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        let root = outer.path().join("context");
        for path in [
            "a.txt",
            "b.md",
            "dir/c.txt",
            "dir/e.md",
            "dir/sub/d.txt",
            "dir-x/f",
            "package.json",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        for (link, target) in [
            ("link", "a.txt"),
            ("dirlink", "dir"),
            ("dir/up", "../a.txt"),
            ("far-up", "../../../a.txt"),
            ("absolute", "/dir/sub"),
            ("out", "../secret"),
            ("out-dir", ".."),
            ("passwd", "/etc/passwd"),
            ("dangling", "dir/nothing"),
            ("second", "passwd"),
            ("loop", "loop"),
            // Read without following `dirlink`, this leads to itself.
            ("twisted", "dirlink/../dir/sub/../../absolute/../twisted"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        outer
    }

    fn context(outer: &tempfile::TempDir, rules: &str) -> Context {
        let root = outer.path().join("context");
        Context::open(&root, IgnoreRules::parse(rules), JunkRules::default()).unwrap()
    }

    /// `matched` or, where a link was followed, `matched=path`.
    fn shown(selected: &[Selected]) -> Vec<String> {
        let show = |one: &Selected| {
            if one.matched == one.path {
                one.path.display().to_string()
            } else {
                format!("{}={}", one.matched.display(), one.path.display())
            }
        };
        selected.iter().map(show).collect()
    }

    #[test]
    fn sources_name_what_buildkit_takes() {
        let outer = sample();
        let context = context(&outer, "");
        for (pattern, want) in [
            ("a.txt", &["a.txt"][..]),
            ("/a.txt", &["a.txt"]),
            ("./dir/../a.txt", &["a.txt"]),
            ("../../a.txt", &["a.txt"]),
            (".", &[""]),
            ("/", &[""]),
            ("dir/", &["dir"]),
            ("*.txt", &["a.txt"]),
            ("[a-b].*", &["a.txt", "b.md"]),
            ("dir*/[cf]*", &["dir/c.txt", "dir-x/f"]),
            ("package-lock.json*", &[]),
            ("link", &["link=a.txt"]),
            ("lin?", &["link=a.txt"]),
            ("dirlink/c*", &["dir/c.txt"]),
            // A wildcard does not look through the link; `dir` itself it does.
            ("d*/c.txt", &["dir/c.txt"]),
            ("dir/up", &["dir/up=a.txt"]),
            ("far-up", &["far-up=a.txt"]),
            ("absolute", &["absolute=dir/sub"]),
            ("absolute/d.txt", &["absolute/d.txt=dir/sub/d.txt"]),
            // The context's parent is the context itself.
            ("out-dir", &["out-dir="]),
        ] {
            let selected = context.select(pattern, &[]).unwrap();
            assert_eq!(shown(&selected), want, "{pattern}");
        }
    }

    #[test]
    fn in_an_image_absolute_links_are_as_good_as_others() {
        let outer = sample();
        let context = context(&outer, "");
        let error = select(&context, "second", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the symlink passwd points to /etc/passwd, which does not exist"
        );
    }

    #[test]
    fn a_source_that_leads_nowhere_says_why() {
        let outer = sample();
        let context = context(&outer, "dir-x\n");
        for (pattern, want) in [
            ("a.tx", "there is no \"a.tx\"; did you mean \"a.txt\"?"),
            (
                "dri/sub/d.txt",
                "there is no \"dri/sub/d.txt\"; did you mean \"dir/sub/d.txt\"?",
            ),
            ("zzzzzz", "there is no \"zzzzzz\""),
            ("zzzzzz/*.txt", "there is no \"zzzzzz/*.txt\""),
            ("a.txt/x", "there is no \"a.txt/x\""),
            (
                "dir-x/f",
                "\"dir-x/f\" is left out of the build context by its ignore rules",
            ),
            (
                "out",
                "the symlink out leaves the context: it points to ../secret",
            ),
            (
                "second",
                "the symlink passwd leaves the context: it points to /etc/passwd",
            ),
            (
                "out-dir/secret",
                "the symlink out-dir leaves the context: it points to ..",
            ),
            (
                "dangling",
                "the symlink dangling points to dir/nothing, which does not exist",
            ),
            (
                "twisted",
                "the symlink twisted points to dirlink/../dir/sub/../../absolute/../twisted, \
                 which does not exist",
            ),
            ("loop", "the symlink loop leads in a circle"),
            ("a[", "cannot use the wildcard pattern \"a[\""),
        ] {
            let error = context.select(pattern, &[]).unwrap_err();
            assert_eq!(error.to_string(), want, "{pattern}");
        }
    }

    fn walked(context: &Context, pattern: &str, excludes: &[&str]) -> Vec<String> {
        let excludes: Vec<String> = excludes.iter().map(|text| (*text).to_owned()).collect();
        taken(context, &context.select(pattern, &excludes).unwrap())
    }

    fn taken(context: &Context, selected: &[Selected]) -> Vec<String> {
        let mut paths = Vec::new();
        for one in selected {
            for walked in walk(context, one).unwrap() {
                assert_eq!(
                    context.entry(&walked.path).unwrap(),
                    Some(walked.entry),
                    "{walked:?}"
                );
                paths.push(format!(
                    "{}:{}",
                    one.matched.display(),
                    walked.relative.display()
                ));
            }
        }
        paths
    }

    #[test]
    fn excludes_count_from_the_entry_that_was_named() {
        let outer = sample();
        let context = context(&outer, "");
        for (pattern, excludes, want) in [
            (
                "dir",
                &["*.txt"][..],
                &["dir:", "dir:e.md", "dir:sub", "dir:sub/d.txt", "dir:up"][..],
            ),
            ("dir", &["**/*.txt", "up"], &["dir:", "dir:e.md", "dir:sub"]),
            (
                "dir",
                &["sub", "!sub/d.txt", "*.md", "up"],
                &["dir:", "dir:c.txt", "dir:sub", "dir:sub/d.txt"],
            ),
            (
                "dir",
                &["sub", "!sub/other", "*.md", "up"],
                &["dir:", "dir:c.txt"],
            ),
            ("a.txt", &["*.txt"], &["a.txt:"]),
            ("dir/[es]*", &["*.md", "d.txt"], &["dir/e.md:", "dir/sub:"]),
            ("dir-*", &[], &["dir-x:", "dir-x:f"]),
        ] {
            assert_eq!(
                walked(&context, pattern, excludes),
                want,
                "{pattern} {excludes:?}"
            );
        }
    }

    #[test]
    fn parents_are_kept_from_the_pivot_on() {
        let outer = sample();
        let context = context(&outer, "dir-x\n");
        for (source, excludes, want) in [
            ("dir/c.txt", &[][..], &[":", ":dir", ":dir/c.txt"][..]),
            ("dir/./sub", &[], &["dir:", "dir:sub", "dir:sub/d.txt"]),
            (
                "./dir/sub/d.txt",
                &[],
                &[":", ":dir", ":dir/sub", ":dir/sub/d.txt"],
            ),
            ("di[r]/./*.txt", &[], &["dir:", "dir:c.txt"]),
            ("absolute/./d.txt", &[], &["absolute:", "absolute:d.txt"]),
            (
                "**/*.txt",
                &["a.txt", "dir/sub"],
                &[":", ":dir", ":dir/c.txt"],
            ),
            ("nothing*", &[], &[":"]),
            // A link is copied, not looked through.
            ("dirlin*/c.txt", &[], &[":"]),
            ("dirlink", &[], &[":", ":dirlink"]),
        ] {
            let excludes: Vec<String> = excludes.iter().map(|text| (*text).to_owned()).collect();
            let selected = context.select_with_parents(source, &excludes).unwrap();
            assert_eq!(taken(&context, &selected), want, "{source} {excludes:?}");
        }
        for (source, want) in [
            ("dir/sub/x", "there is no \"dir/sub/x\""),
            ("dir/./sub/x", "there is no \"dir/./sub/x\""),
            ("dri/./sub", "there is no \"dri\"; did you mean \"dir\"?"),
            (
                "dir-x/f",
                "\"dir-x/f\" is left out of the build context by its ignore rules",
            ),
        ] {
            let error = context.select_with_parents(source, &[]).unwrap_err();
            assert_eq!(error.to_string(), want, "{source}");
        }
    }
}
