//! Whether programs for another processor run here, natively or through a registered emulator.

use std::fs;
use std::path::{Path, PathBuf};

use crate::elf;
use crate::helper::sys;

/// Where the kernel lists its handlers.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BinfmtStatus {
    /// The processor runs it itself.
    Native,
    /// The kernel hands it to an emulator. Inside a sandbox that only works with flag `F` (the kernel holds the emulator
    /// open); setuid programs only keep their rights with flag `C`.
    Emulated {
        interpreter: PathBuf,
        flags: String,
    },
    Missing,
}

impl BinfmtStatus {
    /// Programs can be run inside a root that does not contain the emulator.
    #[must_use]
    pub fn usable_in_sandbox(&self) -> bool {
        match self {
            Self::Native => true,
            Self::Emulated { flags, .. } => flags.contains('F'),
            Self::Missing => false,
        }
    }
}

/// `architecture` is the OCI name, such as `arm64`.
#[must_use]
pub fn binfmt_status(architecture: &str) -> BinfmtStatus {
    if native(architecture) {
        return BinfmtStatus::Native;
    }
    let Some(header) = elf::sample_header(architecture) else {
        return BinfmtStatus::Missing;
    };
    if fs::read_to_string(Path::new(HANDLERS).join("status"))
        .is_ok_and(|status| status.trim() != "enabled")
    {
        return BinfmtStatus::Missing;
    }
    let Ok(handlers) = fs::read_dir(HANDLERS) else {
        return BinfmtStatus::Missing;
    };
    handlers
        .filter_map(|handler| fs::read_to_string(handler.ok()?.path()).ok())
        .find_map(|text| Handler::parse(&text).filter(|handler| handler.takes(&header)))
        .map_or(BinfmtStatus::Missing, |handler| BinfmtStatus::Emulated {
            interpreter: handler.interpreter,
            flags: handler.flags,
        })
}

/// The OCI name of the processor this program runs on.
pub(crate) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn native(architecture: &str) -> bool {
    let own = own_architecture();
    own == architecture
        || (matches!((own, architecture), ("amd64", "386") | ("arm64", "arm"))
            && sys::runs_32_bit())
}

/// One registered handler, as the kernel describes it.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    interpreter: PathBuf,
    flags: String,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// `None` for handlers that are switched off or go by file name.
    fn parse(text: &str) -> Option<Self> {
        if text.lines().next()?.trim() != "enabled" {
            return None;
        }
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let magic = bytes(field("magic ")?)?;
        let mask = match field("mask ") {
            Some(mask) => bytes(mask)?,
            None => vec![0xff; magic.len()],
        };
        Some(Self {
            interpreter: PathBuf::from(field("interpreter ")?),
            flags: field("flags:").unwrap_or_default().to_owned(),
            offset: field("offset ").unwrap_or("0").parse().ok()?,
            magic,
            mask,
        })
    }

    fn takes(&self, header: &[u8]) -> bool {
        let Some(part) = header
            .get(self.offset..)
            .and_then(|rest| rest.get(..self.magic.len()))
        else {
            return false;
        };
        part.iter()
            .zip(&self.magic)
            .zip(&self.mask)
            .all(|((byte, magic), mask)| byte & mask == magic & mask)
    }
}

/// Reads hexadecimal digits in pairs.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AARCH64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn handlers_take_programs_by_their_header() {
        let cases: &[(&str, &str, bool)] = &[
            (AARCH64, "arm64", true),
            (AARCH64, "arm", false),
            (AARCH64, "amd64", false),
            (
                "enabled\ninterpreter /q\nflags: \noffset 18\nmagic f300\n",
                "riscv64",
                true,
            ),
            (
                "enabled\ninterpreter /q\nflags: \noffset 4\nmagic 0202\n",
                "s390x",
                true,
            ),
            (
                "enabled\ninterpreter /q\nflags: \noffset 4\nmagic 0202\n",
                "ppc64le",
                false,
            ),
            (
                "enabled\ninterpreter /usr/bin/python\nflags: \nextension .py\n",
                "arm64",
                false,
            ),
            (
                "enabled\ninterpreter /q\nflags: \noffset 99\nmagic 7f\n",
                "arm64",
                false,
            ),
            (
                "enabled\ninterpreter /q\nflags: \noffset 0\nmagic 7\n",
                "arm64",
                false,
            ),
            (
                "disabled\ninterpreter /q\nflags: \noffset 0\nmagic 7f45\n",
                "arm64",
                false,
            ),
            ("", "arm64", false),
        ];
        for (text, architecture, expected) in cases {
            let header = elf::sample_header(architecture).expect("a known architecture");
            let taken = Handler::parse(text).is_some_and(|handler| handler.takes(&header));
            assert_eq!(taken, *expected, "{architecture} by {text:?}");
        }
    }

    #[test]
    fn only_held_open_emulators_work_in_a_sandbox() {
        let flags = Handler::parse(AARCH64).map(|handler| handler.flags);
        assert_eq!(flags.as_deref(), Some("POCF"));
        for (status, usable) in [
            (BinfmtStatus::Native, true),
            (BinfmtStatus::Missing, false),
            (
                BinfmtStatus::Emulated {
                    interpreter: "/q".into(),
                    flags: "OC".into(),
                },
                false,
            ),
            (
                BinfmtStatus::Emulated {
                    interpreter: "/q".into(),
                    flags: "PF".into(),
                },
                true,
            ),
        ] {
            assert_eq!(status.usable_in_sandbox(), usable, "{status:?}");
        }
    }

    #[test]
    fn this_processor_needs_no_emulator() {
        assert_eq!(binfmt_status(own_architecture()), BinfmtStatus::Native);
        assert_eq!(binfmt_status("no such processor"), BinfmtStatus::Missing);
    }
}
