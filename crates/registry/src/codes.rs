//! The codes of this crate's errors.

use launchway_diagnostics::Code;

use crate::{ErrorClass, RegistryError};

/// The registry could not be reached, or stumbled on every try. Check that the host is right and
/// up, then run the same command again: what was finished is not done twice.
pub const UNREACHABLE: Code = Code("LW0401");
/// The registry limits requests and asked for a longer pause than is allowed. Wait until the time
/// named, or log in: most registries give more to those they know.
pub const THROTTLED: Code = Code("LW0402");
/// The registry refused the credentials, or they do not reach far enough. Log in (`docker login
/// HOST`) with an account or token that may do this in this repository.
pub const DENIED: Code = Code("LW0403");
/// The registry has no such repository, tag or blob. Check the spelling; some registries answer
/// the same for private repositories when nobody is logged in.
pub const MISSING: Code = Code("LW0404");
/// The registry refused the request, or sent something that cannot be used. The detail tells
/// what; asking again does not help.
pub const REFUSED: Code = Code("LW0405");

/// The registry's certificate is not trusted, has expired or is for another name. Add the authority
/// that signed it to the system's store, or name a PEM file with it in `SSL_CERT_FILE`; ask for
/// the registry by the name that its certificate is for; check this machine's clock.
pub const CERTIFICATE: Code = Code("LW0406");
/// The registry does not speak TLS. When plain HTTP is intended, list the host under `plain-http` in
/// the family file or give `--plain-http HOST`.
pub const PLAIN_HTTP: Code = Code("LW0407");

impl RegistryError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        if let Some(code) = self.narrower {
            return code;
        }
        match self.class {
            ErrorClass::Transient => UNREACHABLE,
            ErrorClass::Throttled => THROTTLED,
            ErrorClass::Auth => DENIED,
            ErrorClass::Missing => MISSING,
            ErrorClass::Permanent => REFUSED,
        }
    }
}
