//! Why a source leads to nothing.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use launchway_diagnostics::closest;
use launchway_oci::{EntryKind, Tree};

use crate::ContextError;
use crate::context::slashed;
use crate::select::joined;

/// What it means that a link is absolute or climbs above the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Nothing: the root of an image is where everything begins.
    Root,
    /// That it was made for the directory's surroundings, which a build cannot see.
    Context,
}

/// After so many links the search for the guilty one is given up.
const MAX_LINKS: usize = 40;

/// Why a path leads to nothing: a symlink on the way that leaves the tree or dangles, or a name
/// that is not there.
pub(crate) fn why_missing(
    tree: &dyn Tree,
    path: &Path,
    pattern: &str,
    edge: Edge,
) -> Result<ContextError, ContextError> {
    let mut current = path.to_owned();
    let mut last_link: Option<(PathBuf, PathBuf)> = None;
    for _ in 0..MAX_LINKS {
        let Some((link, rest)) = first_link(tree, &current)? else {
            break;
        };
        let target = tree
            .read_link(&link)
            .map_err(ContextError::reading(&link))?;
        let parent = link.parent().unwrap_or(Path::new(""));
        let (next, leaves) = target_below(parent, &target);
        if leaves && edge == Edge::Context {
            return Ok(ContextError::LinkLeaves { path: link, target });
        }
        last_link = Some((link, target));
        current = joined(&next, &rest);
    }
    if let Some((path, target)) = last_link {
        return Ok(ContextError::LinkDangles { path, target });
    }
    Ok(ContextError::Missing {
        pattern: pattern.to_owned(),
        closest: near(tree, path)?,
    })
}

/// The first symlink on a path, and what follows it.
fn first_link(tree: &dyn Tree, path: &Path) -> Result<Option<(PathBuf, PathBuf)>, ContextError> {
    let names: Vec<OsString> = path.iter().map(OsString::from).collect();
    let mut here = PathBuf::new();
    for (at, name) in names.iter().enumerate() {
        here.push(name);
        let entry = tree.entry(&here).map_err(ContextError::reading(&here))?;
        match entry {
            Some(entry) if entry.kind == EntryKind::Symlink => {
                return Ok(Some((here, names[at + 1..].iter().collect())));
            }
            Some(_) => {}
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// A link's target as a path in the tree, and whether it is absolute or climbs above the root.
fn target_below(parent: &Path, target: &Path) -> (PathBuf, bool) {
    let mut path = parent.to_owned();
    let mut leaves = false;
    for component in target.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => leaves |= !path.pop(),
            Component::RootDir | Component::Prefix(_) => {
                path = PathBuf::new();
                leaves = true;
            }
        }
    }
    (path, leaves)
}

/// A path that a missing one was perhaps meant to be: its first wrong name replaced by a similar
/// one.
fn near(tree: &dyn Tree, path: &Path) -> Result<Option<String>, ContextError> {
    let mut here = PathBuf::new();
    let mut names = path.iter();
    for name in names.by_ref() {
        let next = here.join(name);
        let entry = tree.entry(&next).map_err(ContextError::reading(&next))?;
        if entry.is_some() {
            here = next;
            continue;
        }
        let is_dir = tree
            .entry(&here)
            .map_err(ContextError::reading(&here))?
            .is_some_and(|entry| entry.kind == EntryKind::Dir);
        if !is_dir {
            return Ok(None);
        }
        let siblings: Vec<String> = tree
            .children(&here)
            .map_err(ContextError::reading(&here))?
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect();
        let Some(similar) = closest(&name.to_string_lossy(), siblings.iter().map(String::as_str))
        else {
            return Ok(None);
        };
        return Ok(Some(slashed(&joined(&here.join(similar), names.as_path()))));
    }
    Ok(None)
}
