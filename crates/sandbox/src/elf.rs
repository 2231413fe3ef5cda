//! The few facts about ELF files that tell which processor a program is for.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The machine field of an ELF header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine(pub u16);

/// (machine, ELF class in bits, little endian, OCI architecture)
const MACHINES: [(u16, u8, bool, &str); 9] = [
    (3, 32, true, "386"),
    (62, 64, true, "amd64"),
    (40, 32, true, "arm"),
    (183, 64, true, "arm64"),
    (243, 64, true, "riscv64"),
    (21, 64, true, "ppc64le"),
    (22, 64, false, "s390x"),
    (258, 64, true, "loong64"),
    (8, 64, true, "mips64le"),
];

impl Machine {
    /// The name that OCI platforms use for it.
    #[must_use]
    pub fn architecture(self) -> Option<&'static str> {
        MACHINES.iter().find(|row| row.0 == self.0).map(|row| row.3)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.architecture() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "machine {}", self.0),
        }
    }
}

/// The first 20 bytes of an executable for this architecture, as handlers registered with the kernel see it.
pub(crate) fn sample_header(architecture: &str) -> Option<[u8; 20]> {
    let (machine, bits, little, _) = MACHINES.iter().find(|row| row.3 == architecture)?;
    let mut header = [0_u8; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4] = if *bits == 64 { 2 } else { 1 };
    header[5] = if *little { 1 } else { 2 };
    header[6] = 1;
    let pair = |value: u16| {
        if *little {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    };
    header[16..18].copy_from_slice(&pair(2));
    header[18..20].copy_from_slice(&pair(*machine));
    Some(header)
}

/// The machine a file's first bytes name, if they are an ELF header.
pub(crate) fn machine_of(header: &[u8]) -> Option<Machine> {
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let field = [*header.get(18)?, *header.get(19)?];
    Some(Machine(if header[5] == 2 {
        u16::from_be_bytes(field)
    } else {
        u16::from_le_bytes(field)
    }))
}

/// The processor a program is for; of a script, that of its interpreter.
pub(crate) fn machine(program: &Path) -> Option<Machine> {
    let mut path = program.to_path_buf();
    // Interpreters can be scripts themselves; the kernel gives up after a few as well.
    for _ in 0..5 {
        let start = read_at(&File::open(&path).ok()?, 0, 4096)?;
        match script_interpreter(&start) {
            Some(interpreter) => path = interpreter,
            None => return machine_of(&start),
        }
    }
    None
}

/// What the kernel has to load besides the program itself: the interpreter of a script, the dynamic linker of an ELF
/// file.
pub(crate) fn interpreter(program: &Path) -> Option<PathBuf> {
    let file = File::open(program).ok()?;
    let start = read_at(&file, 0, 4096)?;
    script_interpreter(&start).or_else(|| dynamic_linker(&file, &start))
}

fn script_interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let word = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}

/// Reads the program headers of an ELF file for the one that names an interpreter (type 3).
fn dynamic_linker(file: &File, header: &[u8]) -> Option<PathBuf> {
    machine_of(header)?;
    let wide = header[4] == 2;
    let little = header[5] == 1;
    let number = |bytes: &[u8], at: usize, width: usize| -> Option<u64> {
        let field = bytes.get(at..at + width)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(if little {
            field.iter().rev().fold(0, add)
        } else {
            field.iter().fold(0, add)
        })
    };
    let (table, size, count) = if wide {
        (
            number(header, 32, 8)?,
            number(header, 54, 2)?,
            number(header, 56, 2)?,
        )
    } else {
        (
            number(header, 28, 4)?,
            number(header, 42, 2)?,
            number(header, 44, 2)?,
        )
    };
    for index in 0..count {
        let entry = read_at(
            file,
            table.checked_add(index * size)?,
            usize::try_from(size).ok()?,
        )?;
        if number(&entry, 0, 4)? != 3 {
            continue;
        }
        let (at, length) = if wide {
            (number(&entry, 8, 8)?, number(&entry, 32, 8)?)
        } else {
            (number(&entry, 4, 4)?, number(&entry, 16, 4)?)
        };
        let text = read_at(file, at, usize::try_from(length.min(4096)).ok()?)?;
        let text = text.split(|byte| *byte == 0).next()?;
        return Some(PathBuf::from(OsStr::from_bytes(text)));
    }
    None
}

/// Up to `length` bytes from a place in a file.
fn read_at(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(
            &mut bytes[filled..],
            at.checked_add(u64::try_from(filled).ok()?)?,
        ) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(_) => return None,
        }
    }
    bytes.truncate(filled);
    Some(bytes)
}
