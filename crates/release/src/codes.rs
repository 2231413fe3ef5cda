//! Codes of problems found while preparing and running a release. What each means and what to do
//! stands in `docs/errors.md`.

use launchway_diagnostics::Code;

/// There is no family file where it was looked for.
pub const NO_FAMILY_FILE: Code = Code("LW0601");
/// An image's Dockerfile cannot be read.
pub const NO_DOCKERFILE: Code = Code("LW0602");
/// An image's build context cannot be used.
pub const NO_CONTEXT: Code = Code("LW0603");
/// An input of a content hash does not exist or cannot be read.
pub const MISSING_INPUT: Code = Code("LW0604");
/// An external image cannot be found or asked for.
pub const BASE_UNAVAILABLE: Code = Code("LW0605");
/// A floating version cannot be resolved.
pub const VERSION_UNRESOLVED: Code = Code("LW0606");
/// The plan breaks a rule of its own, or an invariant does not hold: a bug in Launchway.
pub const BROKEN: Code = Code("LW0607");
/// The release version does not fit the family.
pub const BAD_VERSION: Code = Code("LW0608");
/// Another release of this family is running.
pub const LOCKED: Code = Code("LW0609");
