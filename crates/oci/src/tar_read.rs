//! Reading tar archives: ustar, PAX, and what GNU tar writes.
//!
//! Bodies are streamed. What cannot be read faithfully (sparse files, several volumes) is refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use crate::UnpackError;
use crate::tar_write::{BLOCK, TarKind};
use crate::xattr::Xattrs;

/// An entry's metadata; names are bytes as they stand in the archive.
#[derive(Clone, Debug)]
pub(crate) struct TarEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: TarKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Xattrs,
}

impl TarEntry {
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// Longer extended headers are damage or an attack: a path has at most 4096 bytes and the
/// attributes of a file 64 KiB.
const MAX_EXTENDED: u64 = 1 << 20;

pub(crate) struct TarReader<R> {
    input: R,
    position: u64,
    body_left: u64,
    padding: u64,
    end_seen: bool,
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extended {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            position: 0,
            body_left: 0,
            padding: 0,
            end_seen: false,
        }
    }

    /// Whether the archive had its end mark. Some writers leave it out, so an archive without one
    /// may be whole, or cut off between two entries.
    pub(crate) fn end_seen(&self) -> bool {
        self.end_seen
    }

    /// The next entry, `None` at the end of the archive. What is left of the body before is
    /// passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, UnpackError> {
        let mut extended = Extended::default();
        let mut pending = false;
        loop {
            self.skip_body()?;
            let start = self.position;
            let damaged = |reason| UnpackError::Damaged { at: start, reason };
            let Some(block) = self.block()? else {
                if pending {
                    return Err(damaged("it ends after an extended header"));
                }
                return Ok(None);
            };
            if block.iter().all(|&byte| byte == 0) {
                // Two such blocks are the end. Writers that make one are forgiven, what is cut off
                // in between or goes on is not.
                if let Some(second) = self.block()?
                    && second.iter().any(|&byte| byte != 0)
                {
                    return Err(damaged("something follows its end mark"));
                }
                self.end_seen = true;
                return Ok(None);
            }
            check_sum(&block).map_err(damaged)?;
            let flag = block[156];
            let size = number(&block[124..136])
                .and_then(|size| u64::try_from(size).ok())
                .ok_or(damaged("a size is not a number"))?;
            match flag {
                b'x' | b'X' | b'g' | b'L' | b'K' => {
                    let body = self.extended_body(size).map_err(|error| match error {
                        Some(error) => UnpackError::Read(error),
                        None => damaged("an extended header is cut off or longer than 1 MiB"),
                    })?;
                    match flag {
                        b'L' => extended.long_name = Some(until_nul(&body).to_vec()),
                        b'K' => extended.long_link = Some(until_nul(&body).to_vec()),
                        // Global headers carry comments, such as the commit of a `git archive`.
                        b'g' => drop(parse_pax(&body).map_err(damaged)?),
                        // The last one counts alone, as in Go's reader: that any number of them took
                        // room at once would be a way to take all there is.
                        _ => extended.pax = parse_pax(&body).map_err(damaged)?,
                    }
                    pending = flag != b'g';
                }
                // The label of a volume names no file.
                b'V' => self.expect_body(size),
                _ => return self.entry(&block, size, extended, start).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        size: u64,
        extended: Extended,
        start: u64,
    ) -> Result<TarEntry, UnpackError> {
        let damaged = |reason| UnpackError::Damaged { at: start, reason };
        let Extended {
            long_name,
            long_link,
            mut pax,
        } = extended;
        let name = pax
            .remove(&b"path"[..])
            .or(long_name)
            .unwrap_or_else(|| header_name(block));
        let refused = |reason| UnpackError::Refused {
            entry: String::from_utf8_lossy(&name).into_owned(),
            reason,
        };
        if pax.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(refused("sparse files are not supported"));
        }
        let kind = match block[156] {
            b'0' | b'7' | 0 if name.ends_with(b"/") => TarKind::Dir,
            b'0' | b'7' | 0 => TarKind::File,
            b'1' => TarKind::Link,
            b'2' => TarKind::Symlink,
            b'3' => TarKind::CharDevice,
            b'4' => TarKind::BlockDevice,
            b'5' => TarKind::Dir,
            b'6' => TarKind::Fifo,
            b'S' => return Err(refused("sparse files are not supported")),
            b'M' => return Err(refused("archives of several volumes are not supported")),
            _ => return Err(refused("its type is not known")),
        };
        let pax_number = |pax: &mut BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8]| match pax.remove(key) {
            None => Ok(None),
            Some(value) => std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
                .map(Some)
                .ok_or(damaged("a number in an extended header is none")),
        };
        let size = pax_number(&mut pax, b"size")?.unwrap_or(size);
        let mut id = |key: &[u8], field: &[u8]| -> Result<u32, UnpackError> {
            let value = match pax_number(&mut pax, key)? {
                Some(value) => Some(value),
                None => number(field).and_then(|value| u64::try_from(value).ok()),
            };
            value
                .and_then(|value| u32::try_from(value).ok())
                .ok_or(damaged("the owner of an entry is not a number of 32 bits"))
        };
        let uid = id(b"uid", &block[108..116])?;
        let gid = id(b"gid", &block[116..124])?;
        let mtime = match pax.remove(&b"mtime"[..]) {
            Some(text) => whole_seconds(&text).ok_or(damaged("a time is not a number"))?,
            None => number(&block[136..148]).ok_or(damaged("a time is not a number"))?,
        };
        let mode = number(&block[100..108]).ok_or(damaged("a mode is not a number"))?;
        let link = pax
            .remove(&b"linkpath"[..])
            .or(long_link)
            .unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        let is_device = matches!(kind, TarKind::CharDevice | TarKind::BlockDevice);
        let device = if is_device {
            let part = |field: &[u8]| {
                number(field)
                    .and_then(|value| u32::try_from(value).ok())
                    .ok_or(damaged("a device number is no number"))
            };
            (part(&block[329..337])?, part(&block[337..345])?)
        } else {
            (0, 0)
        };
        // Only files have a body, whatever the size field of the others says.
        let size = if kind == TarKind::File { size } else { 0 };
        self.expect_body(size);
        Ok(TarEntry {
            kind,
            mode: (mode & 0o7777) as u32,
            uid,
            gid,
            mtime,
            link,
            device,
            xattrs: xattrs(pax),
            name,
        })
    }

    /// The body of the entry given last.
    pub(crate) fn body(&mut self) -> Body<'_, R> {
        Body { archive: self }
    }

    fn expect_body(&mut self, size: u64) {
        self.body_left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_body(&mut self) -> Result<(), UnpackError> {
        let mut left = self.body_left.saturating_add(self.padding);
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let want = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let got = self.read_some(&mut buffer[..want])?;
            if got == 0 {
                return Err(UnpackError::Damaged {
                    at: self.position,
                    reason: "it ends inside an entry",
                });
            }
            left -= got as u64;
        }
        self.body_left = 0;
        self.padding = 0;
        Ok(())
    }

    /// A header block; `None` when the input ends right here.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_some(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => {
                    return Err(UnpackError::Damaged {
                        at: self.position,
                        reason: "it ends inside a header",
                    });
                }
                got => filled += got,
            }
        }
        Ok(Some(block))
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        loop {
            match self.input.read(buffer) {
                Ok(got) => {
                    self.position += got as u64;
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
    }

    /// The body of an extended header; `Err(None)` when it is too long or cut off.
    fn extended_body(&mut self, size: u64) -> Result<Vec<u8>, Option<io::Error>> {
        if size > MAX_EXTENDED {
            return Err(None);
        }
        self.expect_body(size);
        let mut body = Vec::with_capacity(size as usize);
        self.body().read_to_end(&mut body).map_err(Some)?;
        if body.len() as u64 == size {
            Ok(body)
        } else {
            Err(None)
        }
    }
}

/// Reads the body of one entry.
pub(crate) struct Body<'a, R> {
    archive: &'a mut TarReader<R>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.archive.body_left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let got = self.archive.input.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.archive.body_left -= got as u64;
        self.archive.position += got as u64;
        Ok(got)
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// The name in a header block. GNU's format keeps other things where ustar has its prefix, and
/// star's prefix is shorter.
fn header_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = match (&block[257..263], &block[508..512]) {
        (b"ustar\0", b"tar\0") => until_nul(&block[345..476]),
        (b"ustar\0", _) => until_nul(&block[345..500]),
        _ => b"",
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// The sum over the header with its own field blank; some old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let said = number(&block[148..156]).ok_or("a header has no checksum")?;
    let bytes = || {
        block
            .iter()
            .enumerate()
            .map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte })
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    if said == unsigned || said == signed {
        Ok(())
    } else {
        Err("the checksum of a header is wrong")
    }
}

/// A number in octal or in GNU's base-256. An empty field is 0.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative {
            i64::from(field[0].cast_signed())
        } else {
            i64::from(field[0] & 0x7f)
        };
        return field[1..].iter().try_fold(first, |value, &byte| {
            Some(value.checked_mul(256)? | i64::from(byte))
        });
    }
    let text = until_nul(field).trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    text.iter().try_fold(0_i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// The seconds of a PAX time, rounded down.
fn whole_seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let rounds_down = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    seconds.checked_sub(i64::from(rounds_down))
}

fn parse_pax(mut body: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, &'static str> {
    const WRONG: &str = "a record of an extended header is malformed";
    let mut into = BTreeMap::new();
    while body.first().is_some_and(|byte| *byte != 0) {
        let space = body.iter().position(|&byte| byte == b' ').ok_or(WRONG)?;
        let length: usize = std::str::from_utf8(&body[..space])
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(WRONG)?;
        let record = body.get(space + 1..length).ok_or(WRONG)?;
        let record = record.strip_suffix(b"\n").ok_or(WRONG)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or(WRONG)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if matches!(key, b"path" | b"linkpath") && value.contains(&0) {
            return Err("a name in an extended header has a NUL");
        }
        if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            into.remove(key);
        } else {
            into.insert(key.to_vec(), value.to_vec());
        }
        body = &body[length..];
    }
    Ok(into)
}

fn xattrs(pax: BTreeMap<Vec<u8>, Vec<u8>>) -> Xattrs {
    pax.into_iter()
        .filter_map(|(key, value)| {
            let name = key.strip_prefix(b"SCHILY.xattr.")?;
            Some((OsString::from_vec(name.to_vec()), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar_write::{TarHeader, write_header};

    #[test]
    fn reads_back_what_the_writer_writes() {
        let xattrs = Xattrs::from([("user.a".into(), vec![0, b'\n', b'=', 255])]);
        let long = [b"d/".repeat(120), vec![b'x'; 90]].concat();
        for (path, link, uid, size, mtime) in [
            (&b"a"[..], &b""[..], 0, 0, 0_i64),
            (&long, b"", 70_000_000, 0, -5),
            ("ä/ö".as_bytes(), &long, u32::MAX - 1, 0, 1 << 40),
            (b"big", b"", 5, 1 << 40, 3),
            (b"\xff\xfe", b"\xff", 5, 5, 3),
        ] {
            let header = TarHeader {
                path,
                kind: TarKind::File,
                mode: 0o4755,
                uid,
                gid: 7,
                size,
                mtime,
                link,
                device: (0, 0),
                xattrs: &xattrs,
            };
            let mut bytes = Vec::new();
            write_header(&mut bytes, &header).unwrap();
            let mut reader = TarReader::new(&bytes[..]);
            let entry = reader.next_entry().unwrap().unwrap();
            assert_eq!(entry.name, path);
            assert_eq!(entry.link, link);
            assert_eq!((entry.uid, entry.gid, entry.mode), (uid, 7, 0o4755));
            assert_eq!((reader.body_left, entry.mtime), (size, mtime));
            assert_eq!(entry.xattrs, xattrs);
        }
    }

    #[test]
    fn numbers_are_read_in_both_forms() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"12x4567\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), want, "{field:?}");
        }
    }

    #[test]
    fn times_are_rounded_down() {
        for (text, want) in [
            (&b"12"[..], Some(12)),
            (b"12.9", Some(12)),
            (b"-12.0", Some(-12)),
            (b"-12.1", Some(-13)),
            (b"-9223372036854775808.1", None),
            (b"1e3", None),
            (b"1.x", None),
        ] {
            assert_eq!(whole_seconds(text), want);
        }
    }

    #[test]
    fn extended_headers_do_not_add_up() {
        let mut bytes = Vec::new();
        for number in 0..3 {
            let xattrs = Xattrs::from([(format!("user.{number}").into(), vec![1])]);
            let header = TarHeader {
                path: b"f",
                kind: TarKind::File,
                mode: 0,
                uid: 0,
                gid: 0,
                size: 0,
                mtime: 0,
                link: b"",
                device: (0, 0),
                xattrs: &xattrs,
            };
            let start = bytes.len();
            write_header(&mut bytes, &header).unwrap();
            if number < 2 {
                // All but the header of the file itself.
                let end = bytes.len() - BLOCK;
                assert!(end > start);
                bytes.truncate(end);
            }
        }
        let entry = TarReader::new(&bytes[..]).next_entry().unwrap().unwrap();
        let names: Vec<_> = entry.xattrs.keys().collect();
        assert_eq!(names, ["user.2"]);
    }

    /// To look at all that is left for each of them would take minutes.
    #[test]
    fn very_many_records_are_read_at_once() {
        let body = b"4 =\n".repeat(MAX_EXTENDED as usize / 4);
        assert!(parse_pax(&body).unwrap().is_empty());
        let more = [&body[..8], b"6 a=b\n", &[0; 9]].concat();
        assert_eq!(parse_pax(&more).unwrap().len(), 1);
    }

    #[test]
    fn damage_is_reported_and_never_loops() {
        let mut good = Vec::new();
        let xattrs = Xattrs::new();
        let header = TarHeader {
            path: b"f",
            kind: TarKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 100,
            mtime: 0,
            link: b"",
            device: (0, 0),
            xattrs: &xattrs,
        };
        write_header(&mut good, &header).unwrap();
        good.resize(1024, b'x');
        let read_all = |bytes: &[u8]| {
            let mut reader = TarReader::new(bytes);
            while reader.next_entry()?.is_some() {}
            Ok::<_, UnpackError>(())
        };
        assert!(read_all(&good).is_ok());
        assert!(read_all(&[]).is_ok());
        let ended = |zeros: usize, after: &[u8]| [&good[..], &vec![0; zeros], after].concat();
        for zeros in [512, 1024, 2048] {
            assert!(read_all(&ended(zeros, b"")).is_ok(), "{zeros}");
        }
        for (zeros, after) in [(1023, &b""[..]), (700, b""), (512, &good)] {
            assert!(read_all(&ended(zeros, after)).is_err(), "{zeros}");
        }
        assert!(
            read_all(&ended(1024, &good)).is_ok(),
            "what follows is nobody's"
        );
        for cut in [1, 511, 513, 700, 1023] {
            assert!(read_all(&good[..cut]).is_err(), "{cut}");
        }
        let mut wrong = good.clone();
        wrong[3] = b'!';
        assert!(read_all(&wrong).is_err());
    }
}
