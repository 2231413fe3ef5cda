//! The few facts about ELF files that tell which processor a program is for.

use std::fmt;

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
