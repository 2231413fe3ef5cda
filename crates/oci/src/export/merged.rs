//! Walking all that a stack holds. A [`Stack`] answers for one path at a time and asks every layer;
//! here a directory is listed in the layers that have it, and only they are asked for what is below.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags, statat};

use crate::error::At;
use crate::pack::{is_whiteout, names_in};
use crate::stack::{is_opaque_itself, open_in};
use crate::tree::TreeEntry;
use crate::{Layer, Stack, StoreError};

type Visit<'v> = dyn FnMut(&Path, &TreeEntry, &Layer) -> Result<(), StoreError> + 'v;

/// Calls `visit` for everything but the root, with the layer it comes from: parents before children,
/// siblings sorted bytewise.
pub(super) fn walk(stack: &Stack, visit: &mut Visit<'_>) -> Result<(), StoreError> {
    let mut layers = Vec::new();
    for layer in stack.layers.iter().rev() {
        layers.push(layer);
        if layer.hides_all_below().at("look at", &layer.dir)? {
            break;
        }
    }
    directory(&layers, Path::new(""), visit)
}

/// One directory. All layers have it as one, the uppermost comes first, and none hides the next.
fn directory(layers: &[&Layer], path: &Path, visit: &mut Visit<'_>) -> Result<(), StoreError> {
    for (name, here) in names(layers, path)? {
        let child = path.join(OsStr::from_bytes(&name));
        let Some((entry, layer)) = here.shown else {
            continue;
        };
        visit(&child, &entry, layer)?;
        let mut below = Vec::new();
        for layer in here.directories {
            below.push(layer);
            let full = || layer.dir.join(&child);
            if is_opaque_itself(layer, &child).at("read the attributes of", full())? {
                break;
            }
        }
        if !below.is_empty() {
            directory(&below, &child, visit)?;
        }
    }
    Ok(())
}

/// What the layers have under a name, the uppermost first.
#[derive(Default)]
struct Here<'a> {
    /// What is seen, and where it comes from.
    shown: Option<(TreeEntry, &'a Layer)>,
    /// The layers that have a directory there, down to the first that has anything else.
    directories: Vec<&'a Layer>,
    /// What the layers below have does not count.
    ends: bool,
}

/// The names in one directory. Each layer's own is opened once, and closed before anything below it is.
fn names<'a>(layers: &[&'a Layer], path: &Path) -> Result<BTreeMap<Vec<u8>, Here<'a>>, StoreError> {
    let mut names: BTreeMap<Vec<u8>, Here<'a>> = BTreeMap::new();
    for &layer in layers {
        let shown = || layer.dir.join(path);
        let opened =
            open_in(layer, path, OFlags::RDONLY | OFlags::DIRECTORY).at("open", shown())?;
        for name in names_in(&opened).at("list", shown())? {
            let stat = statat(&opened, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW)
                .at("look at", shown())?;
            let here = names.entry(name).or_default();
            if here.ends {
                continue;
            }
            if is_whiteout(&stat) {
                here.ends = true;
                continue;
            }
            here.shown
                .get_or_insert_with(|| (TreeEntry::of(&stat), layer));
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                here.directories.push(layer);
            } else {
                here.ends = true;
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;
    use crate::Flavour;
    use crate::hash::Hasher;
    use crate::xattr::set_opaque;

    /// A layer: paths of files, of directories with a `/` at the end, of removals with a `-` before.
    fn layer(folder: &Path, number: usize, paths: &[&str]) -> Layer {
        let dir = folder.join(number.to_string());
        fs::create_dir(&dir).unwrap();
        for path in paths {
            if let Some(removed) = path.strip_prefix('-') {
                let path = dir.join(removed);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
            } else if let Some(opaque) = path.strip_prefix('!') {
                fs::create_dir_all(dir.join(opaque)).unwrap();
                let handle = fs::File::open(dir.join(opaque)).unwrap();
                set_opaque(&handle, Flavour::User.opaque()).unwrap();
            } else if path.ends_with('/') {
                fs::create_dir_all(dir.join(path)).unwrap();
            } else {
                let path = dir.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, number.to_string()).unwrap();
            }
        }
        Layer::new(Hasher::digest(&[number as u8]), &dir, 0, 1, false)
    }

    #[test]
    fn a_walk_sees_what_the_stack_shows() {
        let folder = tempfile::tempdir().unwrap();
        let layers: &[&[&str]] = &[
            &[
                "a/x",
                "a/deep/y",
                "b",
                "c/one",
                "d/e/f",
                "gone/z",
                "turned/into",
                "same",
            ],
            &[
                "a/x",
                "-gone",
                "!d",
                "d/new",
                "c/two",
                "turned",
                "b/now/a/folder",
                "empty/",
            ],
            &[
                "gone/again",
                "-a/deep",
                "c/one",
                "-nothing",
                "d/e/",
                "!d/e",
                "same",
            ],
        ];
        let layers = layers.iter().enumerate();
        let stack = Stack {
            layers: layers
                .map(|(number, paths)| layer(folder.path(), number, paths))
                .collect(),
        };
        let mut want: Vec<(PathBuf, TreeEntry)> = Vec::new();
        crate::tree::walk(&stack, Path::new(""), &mut |path, entry| {
            if !path.as_os_str().is_empty() {
                want.push((path.to_owned(), *entry));
            }
            std::io::Result::Ok(())
        })
        .unwrap();
        let mut found = Vec::new();
        walk(&stack, &mut |path, entry, layer| {
            assert!(
                fs::symlink_metadata(layer.dir.join(path)).is_ok(),
                "{path:?}"
            );
            found.push((path.to_owned(), *entry));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, want);
        let names: Vec<_> = found
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert_eq!(
            names.join(" "),
            "a a/x b b/now b/now/a b/now/a/folder c c/one c/two d d/e d/new empty gone gone/again same turned"
        );
    }
    #[test]
    fn a_root_can_hide_everything_below() {
        let folder = tempfile::tempdir().unwrap();
        let layers = [["below", "-x"], ["!", "shown"], ["above", "a/b"]];
        let layers = layers.iter().enumerate();
        let stack = Stack {
            layers: layers
                .map(|(number, paths)| layer(folder.path(), number, paths))
                .collect(),
        };
        let mut found = Vec::new();
        walk(&stack, &mut |path, _, _| {
            found.push(path.display().to_string());
            Ok(())
        })
        .unwrap();
        assert_eq!(found, ["a", "a/b", "above", "shown"]);
    }
}
