//! Layers applied on top of each other, as the OCI image specification's chapter on layers says.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::EntryType;

use super::{Entry, FlattenError, Kind};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// As the kernel has it.
const MOST_SYMLINKS: u32 = 40;

/// Paths, each with the number of what stands there; several paths may name one file.
pub(super) struct Tree {
    paths: BTreeMap<Vec<u8>, usize>,
    things: Vec<Entry>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut tree = Self {
            paths: BTreeMap::new(),
            things: Vec::new(),
        };
        tree.put(Vec::new(), implied_directory());
        tree
    }

    pub(super) fn apply(&mut self, layer: &[u8]) -> Result<(), FlattenError> {
        let read = |source| FlattenError::Read {
            what: "a layer".to_owned(),
            source,
        };
        // Whiteouts are about the layers below, wherever in the tar they stand.
        let mut archive = tar::Archive::new(layer);
        for entry in archive.entries().map_err(read)? {
            let entry = entry.map_err(read)?;
            let (parent, name) = split(&entry.path_bytes());
            let parent = self.resolve(&parent, 0)?;
            if name == OPAQUE {
                self.remove_below(&parent);
            } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                self.remove(&join(&parent, hidden));
            }
        }
        let mut archive = tar::Archive::new(layer);
        for entry in archive.entries().map_err(read)? {
            self.add(entry.map_err(read)?)?;
        }
        Ok(())
    }

    pub(super) fn into_entries(self) -> BTreeMap<Vec<u8>, Entry> {
        let mut groups: BTreeMap<usize, Vec<&Vec<u8>>> = BTreeMap::new();
        for (path, thing) in &self.paths {
            groups.entry(*thing).or_default().push(path);
        }
        let mut entries = BTreeMap::new();
        for (path, thing) in &self.paths {
            let mut entry = self.things[*thing].clone();
            let group = &groups[thing];
            if group.len() > 1 {
                entry.linked_with = Some(group[0].clone());
            }
            entries.insert(path.clone(), entry);
        }
        entries
    }

    fn add(&mut self, mut entry: tar::Entry<'_, &[u8]>) -> Result<(), FlattenError> {
        let name = entry.path_bytes().into_owned();
        let wrong = |what: String| {
            FlattenError::Wrong(format!("{}: {what}", String::from_utf8_lossy(&name)))
        };
        let read = |source: io::Error| FlattenError::Read {
            what: String::from_utf8_lossy(&name).into_owned(),
            source,
        };
        let (parent, last) = split(&name);
        if last.starts_with(WHITEOUT) {
            return Ok(());
        }
        let parent = self.resolve(&parent, 0)?;
        let path = join(&parent, &last);
        self.imply(&parent);

        let kind = entry.header().entry_type();
        if kind == EntryType::Link {
            let target = entry
                .link_name_bytes()
                .ok_or_else(|| wrong("a hard link to nothing".to_owned()))?;
            let (parent, last) = split(&target);
            let target = join(&self.resolve(&parent, 0)?, &last);
            let thing = *self
                .paths
                .get(&target)
                .ok_or_else(|| wrong("a hard link to what is not there".to_owned()))?;
            let meta = meta(&mut entry).map_err(read)?;
            self.remove(&path);
            self.paths.insert(path, thing);
            // As containerd does it: the owner is set for every name, which clears the capabilities;
            // then come the mode and the attributes that this name brings.
            if let Some(entry) = self.things.get_mut(thing) {
                entry.mode = meta.mode;
                (entry.uid, entry.gid) = (meta.uid, meta.gid);
                entry.xattrs.remove("security.capability");
                entry.xattrs.extend(meta.xattrs);
            }
            return Ok(());
        }
        let meta = meta(&mut entry).map_err(read)?;
        let kind = kind_of(&mut entry, kind).map_err(read)?;
        let kind = kind.ok_or_else(|| wrong("not a kind that a layer may hold".to_owned()))?;
        let stays = kind == Kind::Directory && self.is_directory(&path);
        if !stays {
            self.remove(&path);
        }
        self.put(path, Entry { kind, ..meta });
        Ok(())
    }

    /// Follows symbolic links in a path of directories; none may lead out.
    fn resolve(&self, path: &[u8], followed: u32) -> Result<Vec<u8>, FlattenError> {
        if followed > MOST_SYMLINKS {
            let path = String::from_utf8_lossy(path);
            return Err(FlattenError::Wrong(format!("{path}: too many links")));
        }
        let mut at: Vec<u8> = Vec::new();
        let mut parts = path.split(|byte| *byte == b'/');
        while let Some(part) = parts.next() {
            match part {
                b"" | b"." => continue,
                b".." => at = split(&at).0,
                _ => at = join(&at, part),
            }
            let Some(Kind::Symlink { target }) = self.kind(&at) else {
                continue;
            };
            let mut rest = if target.starts_with(b"/") {
                Vec::new()
            } else {
                split(&at).0
            };
            for part in std::iter::once(target.as_slice()).chain(parts) {
                rest.push(b'/');
                rest.extend_from_slice(part);
            }
            return self.resolve(&rest, followed + 1);
        }
        Ok(at)
    }

    /// Directories that no layer mentions are there all the same.
    fn imply(&mut self, path: &[u8]) {
        if self.is_directory(path) {
            return;
        }
        self.imply(&split(path).0);
        self.remove(path);
        self.put(path.to_owned(), implied_directory());
    }

    fn put(&mut self, path: Vec<u8>, entry: Entry) {
        self.things.push(entry);
        self.paths.insert(path, self.things.len() - 1);
    }

    fn remove(&mut self, path: &[u8]) {
        self.remove_below(path);
        if !path.is_empty() {
            self.paths.remove(path);
        }
    }

    fn remove_below(&mut self, path: &[u8]) {
        if path.is_empty() {
            self.paths.retain(|other, _| other.is_empty());
            return;
        }
        let first = join(path, b"");
        let below = self.paths.range(first.clone()..);
        let below = below.take_while(|(other, _)| other.starts_with(&first));
        let below: Vec<Vec<u8>> = below.map(|(other, _)| other.clone()).collect();
        for other in below {
            self.paths.remove(&other);
        }
    }

    fn kind(&self, path: &[u8]) -> Option<&Kind> {
        self.paths.get(path).map(|thing| &self.things[*thing].kind)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.kind(path) == Some(&Kind::Directory)
    }
}

fn implied_directory() -> Entry {
    Entry {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
        linked_with: None,
    }
}

/// Everything but the kind. What a PAX header says wins over the plain header.
fn meta(entry: &mut tar::Entry<'_, &[u8]>) -> io::Result<Entry> {
    let mut found = Entry {
        mode: entry.header().mode()? & 0o7777,
        uid: entry.header().uid()?,
        gid: entry.header().gid()?,
        mtime: i64::try_from(entry.header().mtime()?).unwrap_or(i64::MAX),
        ..implied_directory()
    };
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let number = || {
            let text = record.value().map_err(io::Error::other)?;
            let whole = text.split('.').next().unwrap_or_default();
            whole.parse::<i64>().map_err(io::Error::other)
        };
        match record.key_bytes() {
            b"uid" => found.uid = number()?.unsigned_abs(),
            b"gid" => found.gid = number()?.unsigned_abs(),
            b"mtime" => found.mtime = number()?,
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = String::from_utf8_lossy(name).into_owned();
                    found.xattrs.insert(name, record.value_bytes().to_vec());
                }
            }
        }
    }
    Ok(found)
}

fn kind_of(entry: &mut tar::Entry<'_, &[u8]>, kind: EntryType) -> io::Result<Option<Kind>> {
    let device = |entry: &tar::Entry<'_, &[u8]>| -> io::Result<(u32, u32)> {
        let header = entry.header();
        let number = |number: Option<u32>| number.unwrap_or_default();
        Ok((
            number(header.device_major()?),
            number(header.device_minor()?),
        ))
    };
    Ok(Some(match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            Kind::File {
                size: bytes.len() as u64,
                content: crate::sha256(&bytes),
            }
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink {
            target: entry.link_name_bytes().unwrap_or_default().into_owned(),
        },
        EntryType::Char => {
            let (major, minor) = device(entry)?;
            Kind::CharDevice { major, minor }
        }
        EntryType::Block => {
            let (major, minor) = device(entry)?;
            Kind::BlockDevice { major, minor }
        }
        EntryType::Fifo => Kind::Fifo,
        _ => return Ok(None),
    }))
}

/// Parent and last part of a path, cleaned of dots and slashes.
fn split(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    let last = parts.pop().unwrap_or_default();
    (parts.join(&b'/'), last.to_vec())
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}
