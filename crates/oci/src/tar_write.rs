//! The encoding of tar headers: one spelling for every entry, so that equal trees give equal bytes.
//!
//! The format is ustar; what does not fit its fields goes into a PAX header. Access and change
//! times and the names of users and groups are never written.

use crate::xattr::Xattrs;

pub(crate) const BLOCK: usize = 512;

/// What kind of entry a header announces; the value is its type flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TarKind {
    File,
    Link,
    Symlink,
    CharDevice,
    BlockDevice,
    Dir,
    Fifo,
}

impl TarKind {
    fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::Link => b'1',
            Self::Symlink => b'2',
            Self::CharDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Dir => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// An entry to be written. `path` has no leading slash; directories get their trailing one here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TarHeader<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) kind: TarKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) link: &'a [u8],
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: &'a Xattrs,
}

const MAX_ID: u64 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// Appends the header blocks of an entry to `out`. Fails with a reason when tar cannot hold it.
pub(crate) fn write_header(out: &mut Vec<u8>, header: &TarHeader<'_>) -> Result<(), &'static str> {
    let mut path = header.path.to_vec();
    if header.kind == TarKind::Dir && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let mut records = Vec::new();
    let (prefix, name) = match split_name(&path) {
        Some(parts) => parts,
        None => {
            record(&mut records, b"path", &path);
            (&b""[..], ascii_head(&path))
        }
    };
    let link = if plain(header.link) {
        header.link
    } else {
        record(&mut records, b"linkpath", header.link);
        ascii_head(header.link)
    };
    let mut number = |key: &[u8], value: u64, max: u64| {
        if value <= max {
            value
        } else {
            record(&mut records, key, value.to_string().as_bytes());
            0
        }
    };
    let uid = number(b"uid", header.uid.into(), MAX_ID);
    let gid = number(b"gid", header.gid.into(), MAX_ID);
    let size = number(b"size", header.size, MAX_SIZE);
    let mtime = match u64::try_from(header.mtime) {
        Ok(seconds) if seconds <= MAX_SIZE => seconds,
        _ => {
            record(&mut records, b"mtime", header.mtime.to_string().as_bytes());
            0
        }
    };
    for (name, value) in header.xattrs {
        let name = name.as_encoded_bytes();
        if name.contains(&b'=') {
            return Err("the name of an extended attribute has an equals sign");
        }
        record(&mut records, &[b"SCHILY.xattr.", name].concat(), value);
    }
    if u64::from(header.device.0.max(header.device.1)) > MAX_ID {
        return Err("its device number is too large for a tar");
    }
    if !records.is_empty() {
        let pax = Fields {
            name: b"PaxHeaders.0/entry",
            prefix: b"",
            flag: b'x',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: records.len() as u64,
            mtime: 0,
            link: b"",
            device: (0, 0),
        };
        out.extend_from_slice(&pax.encode());
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    let fields = Fields {
        name,
        prefix,
        flag: header.kind.flag(),
        mode: header.mode & 0o7777,
        uid,
        gid,
        size,
        mtime,
        link,
        device: header.device,
    };
    out.extend_from_slice(&fields.encode());
    Ok(())
}

struct Fields<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    link: &'a [u8],
    device: (u32, u32),
}

impl Fields<'_> {
    fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..self.name.len()].copy_from_slice(self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.uid);
        octal(&mut block[116..124], self.gid);
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime);
        block[148..156].fill(b' ');
        block[156] = self.flag;
        block[157..157 + self.link.len()].copy_from_slice(self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        block[345..345 + self.prefix.len()].copy_from_slice(self.prefix);
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut block[148..155], sum);
        block[155] = b' ';
        block
    }
}

/// Zero-padded octal digits that end in a NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}

/// Whether a text can stand in a 100-byte field without doubt about its encoding. Bytes that are
/// not UTF-8 have no PAX spelling, so they stand in the field as they are when they fit.
fn plain(text: &[u8]) -> bool {
    text.len() <= 100 && (text.is_ascii() || std::str::from_utf8(text).is_err())
}

/// The prefix and name fields for a path, when it fits them.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if plain(path) {
        return Some((b"", path));
    }
    if !path.is_ascii() {
        return None;
    }
    // The slash between the two is not stored; a directory's own last slash is no place to split.
    (path.len().saturating_sub(101)..path.len().saturating_sub(1).min(156))
        .find(|&at| at > 0 && path[at] == b'/')
        .map(|at| (&path[..at], &path[at + 1..]))
}

/// What stands in a field whose true value is in a PAX record: for people with old tools.
fn ascii_head(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .take(100)
        .position(|byte| !byte.is_ascii())
        .unwrap_or(text.len().min(100));
    &text[..end]
}

/// A PAX record; its length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        for size in [0, 1, 80, 88, 89, 90, 91, 985, 990, 995, 9_990] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'x'; size]);
            let space = out.iter().position(|&byte| byte == b' ').unwrap();
            let said: usize = std::str::from_utf8(&out[..space]).unwrap().parse().unwrap();
            assert_eq!(said, out.len(), "{size}");
        }
    }

    #[test]
    fn long_names_are_split_only_at_a_slash_that_fits() {
        let long = |a: usize, b: usize| [vec![b'a'; a], b"/".to_vec(), vec![b'b'; b]].concat();
        for (path, want) in [
            (vec![b'a'; 100], Some((0, 100))),
            (vec![b'a'; 101], None),
            (long(155, 100), Some((155, 100))),
            (long(156, 100), None),
            (long(20, 101), None),
            (long(90, 30), Some((90, 30))),
            ("ä".repeat(10).into_bytes(), None),
            (vec![0xff; 90], Some((0, 90))),
            (vec![0xff; 101], None),
        ] {
            let got = split_name(&path).map(|(prefix, name)| (prefix.len(), name.len()));
            assert_eq!(got, want, "{}", String::from_utf8_lossy(&path));
        }
    }
}
