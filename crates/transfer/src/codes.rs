//! The codes of this crate's errors.

use launchway_diagnostics::Code;

/// A text names no place that images are in. Write HOST/NAME:TAG, oci:DIR[:TAG],
/// oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE].
pub const LOCATION: Code = Code("LW0420");
/// The image has nothing for a platform that was asked for. Ask for one of those that are listed.
pub const NO_PLATFORM: Code = Code("LW0421");
/// The digest is another one than the one that was asked for. Look which of the two is right.
pub const OTHER_DIGEST: Code = Code("LW0422");
/// A document that is no manifest this program can move: broken, or in Docker's first format.
pub const DOCUMENT: Code = Code("LW0423");
/// A layout or an archive cannot be read or is damaged. Make it again.
pub const LOCAL: Code = Code("LW0424");
/// A layout or an archive holds no such image. Name one of those that are listed.
pub const NOT_HERE: Code = Code("LW0425");
/// The place takes one image of one platform, or cannot be written to. Choose with --platform, or
/// copy to a layout or a registry.
pub const ONE_IMAGE: Code = Code("LW0426");
