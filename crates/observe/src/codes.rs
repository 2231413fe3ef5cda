//! The codes of this crate's errors.

use launchway_diagnostics::Code;

use crate::{GitError, NpmConfigError, PinError, VersionError};

/// The npm configuration cannot be read, or names an address that is none. Correct the file or
/// the variable that the message names.
pub const NPM_CONFIGURATION: Code = Code("LW0340");
/// No npm registry is known. Set `registry` in the `[npm]` table of the family file, or in an
/// `.npmrc`, or install npm, whose own setting counts as the last resort.
pub const NO_NPM_REGISTRY: Code = Code("LW0341");
/// The npm registry has no such package. Check its name; a private package needs a login.
pub const NO_PACKAGE: Code = Code("LW0342");
/// No published version fits what is accepted. Correct the dist-tag or the range.
pub const NO_VERSION: Code = Code("LW0343");
/// What a version accepts is neither a dist-tag nor a range as npm reads it.
pub const BAD_RANGE: Code = Code("LW0344");
/// The git checkout cannot be looked at. The message has git's own words.
pub const GIT: Code = Code("LW0345");
/// The npm registry did not let us in. Log in with `npm login`, or check the token in `.npmrc`;
/// tokens are sent over TLS only, and only to the host they are for.
pub const NPM_DENIED: Code = Code("LW0440");
/// The npm registry could not be reached, or answered something unusable. Try again later; the
/// message names the host and what went wrong.
pub const NPM_UNREACHABLE: Code = Code("LW0441");
/// A base image does not exist. Check the name and the tag in FROM; some registries say the same
/// of private images when nobody is logged in.
pub const NO_BASE: Code = Code("LW0442");
/// A base image is named in a way that no registry understands. Correct FROM.
pub const BAD_BASE: Code = Code("LW0443");

impl VersionError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::Configuration(_) => NPM_CONFIGURATION,
            Self::NoRegistry { .. } => NO_NPM_REGISTRY,
            Self::BadPackage { .. } | Self::NoPackage { .. } => NO_PACKAGE,
            Self::BadAccept { .. } => BAD_RANGE,
            Self::NoTag { .. } | Self::NoMatch { .. } => NO_VERSION,
            Self::Denied { .. } => NPM_DENIED,
            Self::Unreachable { .. } | Self::Unusable { .. } => NPM_UNREACHABLE,
        }
    }
}

impl NpmConfigError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        NPM_CONFIGURATION
    }
}

impl PinError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::Reference { .. } => BAD_BASE,
            Self::Missing { .. } => NO_BASE,
            Self::Unknown { source, .. } => source.code(),
        }
    }
}

impl GitError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        GIT
    }
}
