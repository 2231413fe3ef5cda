//! The words every other crate shares: digests, references, platforms, names, limits, and the framed
//! encoding behind every content hash.
//!
//! Pure values. This crate knows no file format, no wire format, no clock and no environment.

mod content_hash;
mod digest;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod limits;
mod names;
mod platform;
mod reference;

pub use content_hash::{ContentHasher, InputHash, InputHashError};
pub use digest::{Algorithm, Digest, DigestError};
pub use limits::{
    ByteSize, CpuCount, ExtraHost, LimitError, MemorySwap, PidsLimit, StepLimits, ULIMITS, Ulimit,
    parse_duration,
};
pub use names::{FeatureName, ImageName, NameError, VariantName, VersionName};
pub use platform::{Platform, PlatformError};
pub use reference::{
    DEFAULT_REGISTRY, Reference, ReferenceError, RegistryHost, Repository, Tag, is_loopback_host,
};
