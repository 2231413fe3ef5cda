//! Platforms as `os/architecture[/variant]`, normalised the way containerd does it
//! (containerd `platforms/database.go`): `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`.

use std::fmt;
use std::str::FromStr;

/// A normalised platform.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: Box<str>,
    architecture: Box<str>,
    variant: Option<Box<str>>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    #[error("a platform has the form os/architecture[/variant], for example linux/amd64")]
    Form,
    #[error("{0:?} is not a word of a platform: lower-case letters, digits, '.', '_' and '-'")]
    BadWord(String),
}

impl Platform {
    /// Normalises and builds a platform from the three fields of an image configuration.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self, PlatformError> {
        for word in [os, architecture].into_iter().chain(variant) {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if word.is_empty() || !word.chars().all(good) {
                return Err(PlatformError::BadWord(word.to_owned()));
            }
        }
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let given = variant.map(str::to_ascii_lowercase);
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" | "amd64" => {
                ("amd64".to_owned(), given.filter(|variant| variant != "v1"))
            }
            "i386" | "386" => ("386".to_owned(), None),
            "aarch64" | "arm64" => (
                "arm64".to_owned(),
                given.filter(|variant| variant != "8" && variant != "v8"),
            ),
            "armhf" => ("arm".to_owned(), Some("v7".to_owned())),
            "armel" => ("arm".to_owned(), Some("v6".to_owned())),
            "arm" => {
                let variant = match given.as_deref() {
                    None | Some("7") => "v7".to_owned(),
                    Some("5") => "v5".to_owned(),
                    Some("6") => "v6".to_owned(),
                    Some("8") => "v8".to_owned(),
                    Some(other) => other.to_owned(),
                };
                ("arm".to_owned(), Some(variant))
            }
            other => (other.to_owned(), given),
        };
        Ok(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(Into::into),
        })
    }

    pub fn os(&self) -> &str {
        &self.os
    }

    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let words: Vec<&str> = text.split('/').collect();
        match words[..] {
            [os, architecture] => Self::new(os, architecture, None),
            [os, architecture, variant] => Self::new(os, architecture, Some(variant)),
            _ => Err(PlatformError::Form),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_are_one_value() {
        for (text, want) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), want);
        }
    }

    #[test]
    fn refuses_other_forms() {
        assert_eq!("amd64".parse::<Platform>(), Err(PlatformError::Form));
        assert_eq!("a/b/c/d".parse::<Platform>(), Err(PlatformError::Form));
        assert!(matches!(
            "linux/".parse::<Platform>(),
            Err(PlatformError::BadWord(_))
        ));
        assert!(matches!(
            "linux/a md".parse::<Platform>(),
            Err(PlatformError::BadWord(_))
        ));
    }
}
