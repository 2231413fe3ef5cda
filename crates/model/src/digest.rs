//! Content digests as the OCI image specification writes them: `algorithm:hex`.

use std::fmt;
use std::str::FromStr;

/// A registered digest algorithm (OCI image-spec, descriptor.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// The name as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits follow the colon.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest whose algorithm is known and whose hex is lower case and of the right length.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("a digest has the form algorithm:hex, this has no colon")]
    NoColon,
    #[error("unknown digest algorithm {0:?}, known are sha256 and sha512")]
    UnknownAlgorithm(String),
    #[error("a {algorithm} digest has {expected} lower-case hexadecimal digits")]
    BadHex {
        algorithm: &'static str,
        expected: usize,
    },
}

impl Digest {
    /// The digest with these raw hash bytes (32 bytes for sha256).
    pub fn sha256(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            hex: hex(&bytes).into(),
        }
    }

    /// The digest with these raw hash bytes (64 bytes for sha512).
    pub fn sha512(bytes: [u8; 64]) -> Self {
        Self {
            algorithm: Algorithm::Sha512,
            hex: hex(&bytes).into(),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, for people to read.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

/// Lower-case hexadecimal of some bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            write!(out, "{byte:02x}").expect("writing to a String cannot fail");
            out
        })
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::NoColon)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(DigestError::UnknownAlgorithm(other.to_owned())),
        };
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(is_lower_hex) {
            return Err(DigestError::BadHex {
                algorithm: algorithm.as_str(),
                expected: algorithm.hex_len(),
            });
        }
        Ok(Self {
            algorithm,
            hex: hex.into(),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_prints() {
        let digest = Digest::sha256([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
        assert_eq!(digest.short(), "abababababab");
        let long = Digest::sha512([1; 64]);
        assert_eq!(long.to_string().parse(), Ok(long));
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        let bad_hex = |algorithm, expected| DigestError::BadHex {
            algorithm,
            expected,
        };
        let upper = format!("sha256:{}", "AB".repeat(32));
        let path = format!("sha256:../{}", "a".repeat(61));
        for (text, want) in [
            ("abc", DigestError::NoColon),
            ("md5:00", DigestError::UnknownAlgorithm("md5".into())),
            ("sha256:00", bad_hex("sha256", 64)),
            (upper.as_str(), bad_hex("sha256", 64)),
            (path.as_str(), bad_hex("sha256", 64)),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(want), "{text}");
        }
    }
}
