//! Codes of problems found while planning. What each means and what to do stands in
//! `docs/errors.md`.

use launchway_diagnostics::Code;

/// A content tag in the registry was made from other inputs, or by another program. Delete that
/// tag, or choose another `content-tag`.
pub const FOREIGN_CONTENT_TAG: Code = Code("LW0301");
/// A release tag exists with other content; release tags are immutable. Release under a new
/// version; for a rebuild, with a letter (`1.2.3b`).
pub const RELEASE_TAG_TAKEN: Code = Code("LW0302");
/// No registry gave a certain answer, so nothing can be decided. Check the addresses, the
/// credentials and the network, then run again.
pub const REGISTRIES_UNKNOWN: Code = Code("LW0303");
/// A variant named on the command line does not exist. Correct the name after `--only`.
pub const UNKNOWN_VARIANT: Code = Code("LW0304");
/// A tag template cannot be filled in, or gives no valid tag. Shorten it, or use letters, digits,
/// `_`, `.` and `-` only.
pub const BAD_TAG: Code = Code("LW0305");
/// There is no registry, or a repository of the family is not valid on one. Correct the prefix
/// under `registries`, or the image's `repository`; name at least one registry.
pub const BAD_REPOSITORY: Code = Code("LW0306");
/// An argument, label or smoke test names a version that is not pinned. Add it to `[versions]`, or
/// correct the name.
pub const UNPINNED_VERSION: Code = Code("LW0307");
/// Facts about a target are missing: the caller did not observe them. This is a bug in Launchway:
/// please report it with the family file.
pub const MISSING_FACTS: Code = Code("LW0308");
/// One tag would be published twice, by two nodes or on two registries. Give one of them another
/// tag, suffix or repository; name each registry once.
pub const TAG_COLLISION: Code = Code("LW0309");
