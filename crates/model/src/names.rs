//! Names a family file gives to its things. Each role has a type of its own, so that they cannot
//! be mixed up.

use std::fmt;
use std::str::FromStr;

/// Why a text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most 63 characters, this has {0}")]
    TooLong(usize),
    #[error("{found:?} cannot stand in a name: {allowed}")]
    BadCharacter { found: char, allowed: &'static str },
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Box<str>);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// An image of the family (`[image.NAME]`).
    ImageName,
    tag_safe
);
name!(
    /// A feature: a Dockerfile stage built directly on the base.
    FeatureName,
    tag_safe
);
name!(
    /// A published flavour of an image.
    VariantName,
    tag_safe
);
name!(
    /// A version of the `[versions]` table; also the name of the build argument that carries it.
    VersionName,
    argument
);

/// Names become parts of tags, so they keep to what a tag and a stage name both allow.
fn tag_safe(text: &str) -> Result<(), NameError> {
    let allowed = "lower-case letters, digits, '.', '_' and '-', starting with a letter or digit";
    let good = |at: usize, c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && matches!(c, '.' | '_' | '-'))
    };
    check(text, allowed, good)
}

/// Names of build arguments are shell variable names.
fn argument(text: &str) -> Result<(), NameError> {
    let allowed = "letters, digits and '_', not starting with a digit";
    let good =
        |at: usize, c: char| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
    check(text, allowed, good)
}

fn check(
    text: &str,
    allowed: &'static str,
    good: impl Fn(usize, char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some((_, found)) = text.char_indices().find(|&(at, c)| !good(at, c)) {
        return Err(NameError::BadCharacter { found, allowed });
    }
    if text.len() > 63 {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_what_tags_allow() {
        assert!("omos-with-pi".parse::<VariantName>().is_ok());
        assert_eq!("".parse::<ImageName>(), Err(NameError::Empty));
        assert!(matches!(
            "-x".parse::<ImageName>(),
            Err(NameError::BadCharacter { found: '-', .. })
        ));
        assert!("Upper".parse::<FeatureName>().is_err());
        assert!("PI_VERSION".parse::<VersionName>().is_ok());
        assert!("1X".parse::<VersionName>().is_err());
        assert_eq!(
            "a".repeat(64).parse::<ImageName>(),
            Err(NameError::TooLong(64))
        );
    }
}
