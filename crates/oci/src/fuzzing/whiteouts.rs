//! Layers on top of each other: what unpacking and the merged view make of them is what a simple model
//! says, and a layer that is packed and unpacked again is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::hash::Hasher;
use crate::index_layer::index;
use crate::pack::pack;
use crate::tar_write::{TarHeader, TarKind, write_header};
use crate::unpack::unpack_tar;
use crate::xattr::Xattrs;
use crate::{EntryKind, Flavour, Layer, Stack, Tree as _, UnpackOptions, Whiteouts, walk};

const NAMES: [&str; 3] = ["a", "b", "c"];
const MOST_LAYERS: usize = 4;
const MOST_ENTRIES: usize = 40;

/// What the model has at a path; a file by the number of the entry it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(u8),
}

/// What one layer says.
#[derive(Default)]
struct Said {
    own: BTreeMap<String, Node>,
    /// Nothing of the layers below shows at these paths and below them.
    hidden: BTreeSet<String>,
    /// Nothing of the layers below shows below these.
    opaque: BTreeSet<String>,
}

fn is_below(path: &str, above: &str) -> bool {
    above.is_empty()
        || path
            .strip_prefix(above)
            .is_some_and(|rest| rest.starts_with('/'))
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

impl Said {
    /// An entry takes the place of what its layer had there, unless both are directories.
    fn put(&mut self, path: &str, node: Node) {
        self.make_parents(path);
        if node == Node::Dir && self.own.get(path) == Some(&Node::Dir) {
            return;
        }
        self.own
            .retain(|own, _| own != path && !is_below(own, path));
        if node != Node::Dir {
            self.hidden.insert(path.to_owned());
        }
        self.own.insert(path.to_owned(), node);
    }

    fn make_parents(&mut self, path: &str) {
        for parent in parents(path) {
            if self.own.get(parent) != Some(&Node::Dir) {
                self.own.remove(parent);
                self.own.insert(parent.to_owned(), Node::Dir);
            }
        }
    }

    fn over(self, below: &BTreeMap<String, Node>) -> BTreeMap<String, Node> {
        let covered = |path: &String, node: &Node| {
            let hidden = |by: &String| by == path || is_below(path, by);
            self.hidden.iter().any(hidden)
                || self.opaque.iter().any(|by| is_below(path, by))
                // A directory takes the place of a file, whose name has nothing below it.
                || (*node != Node::Dir && self.own.contains_key(path))
        };
        let mut merged: BTreeMap<String, Node> = below
            .iter()
            .filter(|(path, node)| !covered(path, node))
            .map(|(path, node)| (path.clone(), *node))
            .collect();
        merged.extend(self.own);
        merged
    }
}

/// Reads a stack of layers out of any bytes; three bytes are an entry.
pub fn whiteouts(bytes: &[u8], scratch: &Path) {
    let flavour = if rustix::process::geteuid().is_root() {
        Flavour::Trusted
    } else {
        Flavour::User
    };
    let mut stack = Stack::default();
    let mut model: BTreeMap<String, Node> = BTreeMap::new();
    let mut entries = bytes.chunks_exact(3).take(MOST_ENTRIES).peekable();
    for number in 0..MOST_LAYERS {
        if entries.peek().is_none() {
            break;
        }
        let mut said = Said::default();
        let mut tar = Vec::new();
        for entry in entries.by_ref() {
            let [what, one, two] = *entry else {
                continue;
            };
            if what & 0x80 != 0 {
                break;
            }
            add(&mut said, &mut tar, what, path(one, two), one ^ two);
        }
        tar.extend_from_slice(&[0; 1024]);
        let layer = unpacked(&tar, &scratch.join(number.to_string()), flavour, number);
        packs_again(&layer, &scratch.join(format!("{number}-again")), flavour);
        stack.layers.push(layer);
        model = said.over(&model);
    }
    assert_eq!(seen(&stack), model, "{bytes:?}");
}

/// One to three names.
fn path(one: u8, two: u8) -> String {
    let names = [one & 3, (one >> 2) & 3, two & 3];
    let length = 1 + usize::from(two >> 2) % names.len();
    let names = names[..length]
        .iter()
        .map(|at| NAMES[usize::from(*at) % NAMES.len()]);
    names.collect::<Vec<_>>().join("/")
}

fn add(said: &mut Said, tar: &mut Vec<u8>, what: u8, path: String, content: u8) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let within = |name: String| match parent {
        "" => name,
        parent => format!("{parent}/{name}"),
    };
    match what % 5 {
        0 | 1 => {
            said.put(&path, Node::File(content));
            entry(tar, &path, TarKind::File, &[content]);
        }
        2 => {
            said.put(&path, Node::Dir);
            entry(tar, &path, TarKind::Dir, &[]);
        }
        3 => {
            said.make_parents(&path);
            said.hidden.insert(path.clone());
            entry(tar, &within(format!(".wh.{name}")), TarKind::File, &[]);
        }
        _ => {
            said.make_parents(&path);
            // The root hides everything below it as any other directory does.
            said.opaque.insert(parent.to_owned());
            entry(tar, &within(".wh..wh..opq".to_owned()), TarKind::File, &[]);
        }
    }
}

fn entry(tar: &mut Vec<u8>, path: &str, kind: TarKind, body: &[u8]) {
    let header = TarHeader {
        path: path.as_bytes(),
        kind,
        mode: 0o755,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        size: body.len() as u64,
        mtime: 1,
        link: b"",
        device: (0, 0),
        xattrs: &Xattrs::new(),
    };
    write_header(tar, &header).expect("the paths are short");
    tar.extend_from_slice(body);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn unpacked(tar: &[u8], folder: &Path, flavour: Flavour, number: usize) -> Layer {
    fs::create_dir(folder).expect("the folder is empty");
    let options = UnpackOptions {
        whiteouts: Whiteouts::Overlay(flavour),
        owner: None,
    };
    let mut input = tar;
    let done = unpack_tar(&mut input, folder, &options).expect("it is a good archive");
    // Layers that are equal would be taken for one.
    let diff_id = Hasher::digest(number.to_string().as_bytes());
    Layer::new(
        diff_id,
        folder,
        tar.len() as u64,
        done.entries,
        done.has_root,
    )
}

fn packs_again(layer: &Layer, folder: &Path, flavour: Flavour) {
    let mut tar = Vec::new();
    pack(&layer.dir, layer.has_root, flavour, &mut tar).expect("it can be packed");
    tar.extend_from_slice(&[0; 1024]);
    let again = unpacked(&tar, folder, flavour, 99);
    let (first, second) = (index(layer, flavour), index(&again, flavour));
    assert_eq!(first.expect("it is read"), second.expect("it is read"));
}

fn seen(stack: &Stack) -> BTreeMap<String, Node> {
    let mut seen = BTreeMap::new();
    walk::<std::io::Error>(stack, Path::new(""), &mut |path, entry| {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let node = match entry.kind {
            EntryKind::Dir => Node::Dir,
            EntryKind::File => {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut stack.open(path)?, &mut content)?;
                Node::File(content[0])
            }
            other => panic!("{other:?} at {}", path.display()),
        };
        seen.insert(path.to_string_lossy().into_owned(), node);
        Ok(())
    })
    .expect("the view can be read");
    seen
}
