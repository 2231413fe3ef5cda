//! Codes of problems found while planning. What each means and what to do stands in
//! `docs/errors.md`.

use launchway_diagnostics::Code;

/// A content tag in the registry was made from other inputs, or by another program.
pub const FOREIGN_CONTENT_TAG: Code = Code("LW0301");
/// A release tag exists with other content; release tags are immutable.
pub const RELEASE_TAG_TAKEN: Code = Code("LW0302");
/// No registry gave a certain answer, so nothing can be decided.
pub const REGISTRIES_UNKNOWN: Code = Code("LW0303");
/// A variant named on the command line does not exist.
pub const UNKNOWN_VARIANT: Code = Code("LW0304");
/// A tag template cannot be filled in, or gives no valid tag.
pub const BAD_TAG: Code = Code("LW0305");
/// A reference or repository of the family is not valid for a registry.
pub const BAD_REPOSITORY: Code = Code("LW0306");
/// An argument, label or smoke test names a version that is not pinned.
pub const UNPINNED_VERSION: Code = Code("LW0307");
/// Facts about a target are missing: the caller did not observe them.
pub const MISSING_FACTS: Code = Code("LW0308");
/// Two nodes of the family would be published under one tag.
pub const TAG_COLLISION: Code = Code("LW0309");
