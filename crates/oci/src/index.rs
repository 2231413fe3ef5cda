//! The index of a layer's paths: what it changes, without the contents and without times.
//!
//! Indexes of features are published beside them, so that two features can be found to agree
//! without downloading either.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Bound;

/// What a layer has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexedKind {
    File,
    Dir,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    /// The path is removed.
    Whiteout,
}

/// A path of a layer without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPath {
    pub kind: IndexedKind,
    /// The twelve permission bits; 0 for links and removals.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The sha256 of a file's content in hexadecimal, a link's target, a device's number in eight
    /// bytes; empty for everything else.
    pub content: Vec<u8>,
    /// The sha256 over the extended attributes in hexadecimal, empty when there are none.
    pub xattrs: Vec<u8>,
    /// A directory that hides everything below it.
    pub opaque: bool,
}

/// The paths of one layer or of several on top of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathIndex {
    pub paths: BTreeMap<Vec<u8>, IndexedPath>,
}

/// Why two indexes cannot be stacked in any order with the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both have the path, and not the same there.
    Different,
    /// One removes or replaces what the other has paths below.
    Hidden,
}

/// The first path at which two of the indexes disagree; `first` and `second` say which two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub path: Vec<u8>,
    pub first: usize,
    pub second: usize,
    pub why: ConflictKind,
}

/// Why bytes are not an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an index of paths: {0}")]
pub struct IndexError(&'static str);

impl IndexedPath {
    /// A path with nothing said but its kind.
    #[must_use]
    pub fn new(kind: IndexedKind) -> Self {
        Self {
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            content: Vec::new(),
            xattrs: Vec::new(),
            opaque: false,
        }
    }

    /// Whether nothing of the layers below shows below this path.
    fn hides(&self) -> bool {
        self.kind != IndexedKind::Dir || self.opaque
    }

    /// Equal but for what an opaque mark hides, which is looked at path by path.
    fn agrees(&self, other: &Self) -> bool {
        let comparable = |path: &Self| Self {
            opaque: false,
            ..path.clone()
        };
        self == other || comparable(self) == comparable(other)
    }
}

/// The version of the encoding; the records follow, compressed with zstd.
const MAGIC: &[u8] = b"launchway paths 1\n";
/// Far more than the largest images need; a bomb ends here.
const MAX_DECODED: u64 = 1 << 30;

impl PathIndex {
    /// The canonical bytes: equal indexes give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for (path, indexed) in &self.paths {
            let kind = match indexed.kind {
                IndexedKind::File => b'f',
                IndexedKind::Dir if indexed.opaque => b'o',
                IndexedKind::Dir => b'd',
                IndexedKind::Symlink => b'l',
                IndexedKind::Fifo => b'p',
                IndexedKind::CharDevice => b'c',
                IndexedKind::BlockDevice => b'b',
                IndexedKind::Whiteout => b'w',
            };
            records.push(kind);
            for number in [indexed.mode, indexed.uid, indexed.gid] {
                records.extend_from_slice(&number.to_le_bytes());
            }
            for bytes in [path, &indexed.content, &indexed.xattrs] {
                let length = u32::try_from(bytes.len()).expect("paths and links are short");
                records.extend_from_slice(&length.to_le_bytes());
                records.extend_from_slice(bytes);
            }
        }
        let mut out = MAGIC.to_vec();
        let packed = zstd::bulk::compress(&records, 3).expect("compressing in memory cannot fail");
        out.extend_from_slice(&packed);
        out
    }

    /// Reads what [`encode`](Self::encode) gives.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let packed = bytes
            .strip_prefix(MAGIC)
            .ok_or(IndexError("it starts with other bytes"))?;
        let mut records = Vec::new();
        zstd::stream::read::Decoder::with_buffer(packed)
            .and_then(|decoder| decoder.take(MAX_DECODED + 1).read_to_end(&mut records))
            .map_err(|_| IndexError("it is not compressed as it should be"))?;
        if records.len() as u64 > MAX_DECODED {
            return Err(IndexError("it is larger than 1 GiB"));
        }
        let mut rest = &records[..];
        let mut paths = BTreeMap::new();
        while let Some((&kind, after)) = rest.split_first() {
            rest = after;
            let (kind, opaque) = match kind {
                b'f' => (IndexedKind::File, false),
                b'd' => (IndexedKind::Dir, false),
                b'o' => (IndexedKind::Dir, true),
                b'l' => (IndexedKind::Symlink, false),
                b'p' => (IndexedKind::Fifo, false),
                b'c' => (IndexedKind::CharDevice, false),
                b'b' => (IndexedKind::BlockDevice, false),
                b'w' => (IndexedKind::Whiteout, false),
                _ => return Err(IndexError("a path has an unknown kind")),
            };
            let mut indexed = IndexedPath::new(kind);
            indexed.opaque = opaque;
            indexed.mode = take_number(&mut rest)?;
            indexed.uid = take_number(&mut rest)?;
            indexed.gid = take_number(&mut rest)?;
            let path = take_bytes(&mut rest)?;
            indexed.content = take_bytes(&mut rest)?;
            indexed.xattrs = take_bytes(&mut rest)?;
            if paths
                .last_key_value()
                .is_some_and(|(last, _)| *last >= path)
            {
                return Err(IndexError("its paths are not in order"));
            }
            paths.insert(path, indexed);
        }
        Ok(Self { paths })
    }

    /// The index of layers on top of each other, the bottom one first: the upper layer's word
    /// counts, and a removal stays, because there may be something to remove further below.
    #[must_use]
    pub fn stacked(layers: &[&Self]) -> Self {
        let mut paths: BTreeMap<Vec<u8>, IndexedPath> = BTreeMap::new();
        for layer in layers {
            for (path, indexed) in &layer.paths {
                if indexed.hides() {
                    for hidden in below(&paths, path) {
                        paths.remove(&hidden);
                    }
                }
                let mut indexed = indexed.clone();
                // A directory that takes the place of anything but a directory hides what was
                // below that.
                let old = paths.get(path);
                indexed.opaque |=
                    indexed.kind == IndexedKind::Dir && old.is_some_and(IndexedPath::hides);
                paths.insert(path.clone(), indexed);
            }
        }
        Self { paths }
    }

    /// The first conflict between any two of the indexes, by path; `None` when they can be stacked
    /// in any order.
    #[must_use]
    pub fn conflicts(indexes: &[&Self]) -> Option<Conflict> {
        let mut first_found: Option<Conflict> = None;
        for (first, a) in indexes.iter().enumerate() {
            for (second, b) in indexes.iter().enumerate().skip(first + 1) {
                if let Some((path, why)) = conflict(a, b)
                    && first_found.as_ref().is_none_or(|found| path < found.path)
                {
                    first_found = Some(Conflict {
                        path,
                        first,
                        second,
                        why,
                    });
                }
            }
        }
        first_found
    }
}

fn conflict(a: &PathIndex, b: &PathIndex) -> Option<(Vec<u8>, ConflictKind)> {
    let different = a
        .paths
        .iter()
        .find(|(path, indexed)| {
            b.paths
                .get(*path)
                .is_some_and(|other| !indexed.agrees(other))
        })
        .map(|(path, _)| (path.clone(), ConflictKind::Different));
    [different, hidden(a, b), hidden(b, a)]
        .into_iter()
        .flatten()
        .min_by(|x, y| x.0.cmp(&y.0))
}

/// The first path of `other` that would be hidden by `index` on top of it.
fn hidden(index: &PathIndex, other: &PathIndex) -> Option<(Vec<u8>, ConflictKind)> {
    index
        .paths
        .iter()
        .filter(|(_, indexed)| indexed.hides())
        .find_map(|(path, _)| {
            range_below(&other.paths, path)
                .find(|(path, indexed)| index.paths.get(*path) != Some(*indexed))
                .map(|(path, _)| (path.clone(), ConflictKind::Hidden))
        })
}

fn range_below<'a>(
    paths: &'a BTreeMap<Vec<u8>, IndexedPath>,
    directory: &[u8],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a IndexedPath)> {
    // In a path the byte after '/' is '0'.
    let end = [directory, b"0"].concat();
    let start = [directory, b"/"].concat();
    paths.range::<Vec<u8>, _>((Bound::Included(start), Bound::Excluded(end)))
}

fn below(paths: &BTreeMap<Vec<u8>, IndexedPath>, directory: &[u8]) -> Vec<Vec<u8>> {
    range_below(paths, directory)
        .map(|(path, _)| path.clone())
        .collect()
}

fn take_number(rest: &mut &[u8]) -> Result<u32, IndexError> {
    let (number, after) = rest
        .split_first_chunk::<4>()
        .ok_or(IndexError("it is cut off"))?;
    *rest = after;
    Ok(u32::from_le_bytes(*number))
}

fn take_bytes(rest: &mut &[u8]) -> Result<Vec<u8>, IndexError> {
    let length = take_number(rest)? as usize;
    let (bytes, after) = rest
        .split_at_checked(length)
        .ok_or(IndexError("it is cut off"))?;
    *rest = after;
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index from lines: `f path content`, `d path mode`, `o path mode`, `w path`.
    fn index(lines: &[&str]) -> PathIndex {
        let paths = lines.iter().map(|line| {
            let mut words = line.split(' ');
            let kind = words.next().unwrap();
            let path = words.next().unwrap().as_bytes().to_vec();
            let value = words.next().unwrap_or("0");
            let mut indexed = IndexedPath::new(match kind {
                "f" => IndexedKind::File,
                "d" | "o" => IndexedKind::Dir,
                "l" => IndexedKind::Symlink,
                "w" => IndexedKind::Whiteout,
                other => panic!("{other}"),
            });
            indexed.opaque = kind == "o";
            if indexed.kind == IndexedKind::Dir {
                indexed.mode = value.parse().unwrap();
            } else {
                indexed.content = value.as_bytes().to_vec();
            }
            (path, indexed)
        });
        PathIndex {
            paths: paths.collect(),
        }
    }

    #[test]
    fn conflicts_are_found_by_path() {
        let check = |a: &[&str], b: &[&str], want: Option<(&str, ConflictKind)>| {
            let want = want.map(|(path, why)| (path.as_bytes().to_vec(), why));
            for (x, y) in [(a, b), (b, a)] {
                let found = PathIndex::conflicts(&[&index(x), &index(y)]);
                assert_eq!(found.map(|c| (c.path, c.why)), want, "{x:?} {y:?}");
            }
        };
        use ConflictKind::{Different, Hidden};
        check(&[], &["f a 1"], None);
        check(&["d usr", "f usr/a 1"], &["d usr", "f usr/b 1"], None);
        check(&["f a 1", "f b 2"], &["f a 1"], None);
        check(&["f a 1"], &["f a 2"], Some(("a", Different)));
        check(&["d a 493"], &["d a 448"], Some(("a", Different)));
        check(&["f a 1"], &["l a 1"], Some(("a", Different)));
        check(&["w a"], &["w a"], None);
        check(&["w a"], &["f a 1"], Some(("a", Different)));
        check(&["w a"], &["f a/b 1"], Some(("a/b", Hidden)));
        check(&["w a"], &["f a-b 1", "f ab 1", "f a0 1"], None);
        check(&["l a x"], &["f a/b 1"], Some(("a/b", Hidden)));
        check(&["o a", "f a/b 1"], &["d a", "f a/b 1"], None);
        check(
            &["o a", "f a/b 1"],
            &["d a", "f a/c 1"],
            Some(("a/c", Hidden)),
        );
        check(&["o a", "f a/b 1"], &["o a", "f a/b 1"], None);
        check(&["o a", "f a/b 1"], &["o a"], Some(("a/b", Hidden)));
        check(&["o a"], &["d a"], None);
    }

    #[test]
    fn the_first_conflict_of_several_names_both_sides() {
        let (a, b, c) = (
            index(&["f z 1"]),
            index(&["f m 1"]),
            index(&["f m 2", "f z 2"]),
        );
        let found = PathIndex::conflicts(&[&a, &b, &c]).unwrap();
        assert_eq!((found.first, found.second), (1, 2));
        assert_eq!(found.path, b"m");
    }

    #[test]
    fn an_upper_layer_has_the_last_word() {
        let check = |layers: &[&[&str]], want: &[&str]| {
            let layers: Vec<_> = layers.iter().map(|lines| index(lines)).collect();
            let layers: Vec<_> = layers.iter().collect();
            assert_eq!(PathIndex::stacked(&layers), index(want));
        };
        check(&[&["f a 1"], &["f a 2", "f b 1"]], &["f a 2", "f b 1"]);
        check(&[&["d a", "f a/b 1"], &["w a"]], &["w a"]);
        check(&[&["d a", "f a/b 1"], &["w a/b"]], &["d a", "w a/b"]);
        check(
            &[&["d a", "f a/b 1"], &["o a", "f a/c 1"]],
            &["o a", "f a/c 1"],
        );
        check(&[&["w a"], &["d a", "f a/c 1"]], &["o a", "f a/c 1"]);
        check(&[&["o a"], &["d a", "f a/c 1"]], &["o a", "f a/c 1"]);
        check(&[&["d a", "f a/c 1"], &["l a x"]], &["l a x"]);
    }

    #[test]
    fn reads_back_what_it_encodes() {
        let index = index(&["f a 1", "o b 448", "d c", "l c/\u{e4} ../x", "w d"]);
        let bytes = index.encode();
        assert_eq!(PathIndex::decode(&bytes).unwrap(), index);
        assert_eq!(PathIndex::decode(&bytes).unwrap().encode(), bytes);
        for wrong in [&b""[..], b"launchway paths 2\n", &bytes[..bytes.len() - 3]] {
            assert!(PathIndex::decode(wrong).is_err());
        }
    }
}
