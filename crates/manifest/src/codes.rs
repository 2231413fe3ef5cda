//! The codes of problems in a family file.

use launchway_diagnostics::Code;

/// The file is not TOML. Mend the spot shown; the rest of the file is read as well as it can be.
pub const SYNTAX: Code = Code("LW0100");

/// A key that means nothing here. Correct its spelling, or take it out.
pub const UNKNOWN_KEY: Code = Code("LW0101");

/// A value of another type than the key takes. Write one of the type that is named.
pub const WRONG_TYPE: Code = Code("LW0102");

/// A key without which the table says too little. Add it.
pub const MISSING_KEY: Code = Code("LW0103");

/// A name with characters that a tag, a stage or a build argument cannot have. Choose another.
pub const BAD_NAME: Code = Code("LW0104");

/// A value of the right type that means nothing: an unknown word, a number out of range, a length
/// of time without a unit. Write one of those that are named.
pub const BAD_VALUE: Code = Code("LW0105");

/// Two keys that exclude each other, or none of those of which one is needed. Keep exactly one.
pub const ONE_OF: Code = Code("LW0106");

/// The same entry twice in one list. Take one out.
pub const REPEATED: Code = Code("LW0107");

/// `from` names no image of the family. Correct the name; images from elsewhere are named in the
/// Dockerfile's FROM, not here.
pub const UNKNOWN_IMAGE: Code = Code("LW0110");

/// Images that are built from one another in a circle. Take one `from` of the circle out.
pub const CYCLE: Code = Code("LW0111");

/// `from` names an image with variants, so it is open which of them is meant. Build from an image
/// without variants.
pub const AMBIGUOUS_BASE: Code = Code("LW0112");

/// An image is to be built on a platform that its base is not built on. Add the platform to the
/// base, or take it out of the image.
pub const PLATFORM_NOT_IN_BASE: Code = Code("LW0113");

/// Features in an image without `from`. Features are stages on a base of the family: name it with
/// `from`, or use `args`.
pub const FEATURES_WITHOUT_BASE: Code = Code("LW0114");

/// A variant that lists no features. List one, or leave the key out.
pub const EMPTY_FEATURES: Code = Code("LW0115");

/// A smoke test names a feature that no variant of its image lists. Correct the name.
pub const UNKNOWN_FEATURE: Code = Code("LW0116");

/// A smoke test names a variant its image does not have. Correct the name.
pub const UNKNOWN_VARIANT: Code = Code("LW0117");

/// A feature that no variant lists; it is never built. List it in a variant, or take it out.
pub const UNUSED_FEATURE: Code = Code("LW0118");

/// A smoke test whose `variants` and `features` together select nothing; it never runs. Widen the
/// selection.
pub const SMOKE_SELECTS_NOTHING: Code = Code("LW0119");

/// Not a platform that images are built for. Write it like `linux/amd64`.
pub const BAD_PLATFORM: Code = Code("LW0120");

/// Not a registry. Write its host and, if wanted, a prefix: `docker.io/NAME`.
pub const BAD_REGISTRY: Code = Code("LW0121");

/// Not a repository's path. Write lower-case words with `/` between them, without registry or tag.
pub const BAD_REPOSITORY: Code = Code("LW0122");

/// A path that leaves the family's folder or cannot be one. Write it relative to that folder.
pub const BAD_PATH: Code = Code("LW0123");

/// A brace that opens or closes nothing, or braces around something that is no name. Double
/// literal braces.
pub const BAD_TEMPLATE: Code = Code("LW0130");

/// A placeholder that does not exist. Use one of those that are listed.
pub const UNKNOWN_PLACEHOLDER: Code = Code("LW0131");

/// A placeholder that has no value at this place. Use one of those that are listed.
pub const MISPLACED_PLACEHOLDER: Code = Code("LW0132");

/// A content tag without `{hash}`: different contents would get the same tag. Add it.
pub const CONTENT_TAG_WITHOUT_HASH: Code = Code("LW0133");

/// A release tag without `{version}`: the next release would have to overwrite it. Add it, or
/// list the tag under `rolling`.
pub const RELEASE_TAG_WITHOUT_VERSION: Code = Code("LW0134");

/// A rolling tag with `{version}` or `{hash}`, which never moves. List it under `tags`, or take
/// the placeholder out.
pub const ROLLING_TAG_STANDS_STILL: Code = Code("LW0135");

/// A tag that no registry would take, as written or once it is filled in. Use letters, digits,
/// `_`, `.` and `-`, at most 128 of them, not starting with `.` or `-`.
pub const BAD_TAG: Code = Code("LW0136");

/// Two images or variants would publish the same tag in the same repository. Make them differ,
/// usually with `{suffix}` or `{image}`.
pub const DUPLICATE_TAG: Code = Code("LW0137");

/// Two variants of an image with the same suffix. Give one of them another.
pub const DUPLICATE_SUFFIX: Code = Code("LW0138");

/// A rolling tag that is also a release tag of some version; moving it would overwrite a release.
/// Choose another word.
pub const ROLLING_TAG_IS_RELEASE_TAG: Code = Code("LW0139");

/// A placeholder that names no entry of `[versions]`. Correct the name, add the entry, or double
/// the braces if they are meant literally.
pub const UNKNOWN_VERSION: Code = Code("LW0140");

/// `inputs` that do not fit the recipe: `hash = "file"` takes one file. Name exactly one.
pub const BAD_INPUTS: Code = Code("LW0141");
