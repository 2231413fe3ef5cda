//! Digests of content as it passes by.

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use launchway_model::{Algorithm, Digest};

/// Hashes content piece by piece. A clone goes on from the same state.
#[derive(Clone)]
pub(crate) struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let context = Context::new(match algorithm {
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        });
        Self { algorithm, context }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let hash = self.context.finish();
        let hash = hash.as_ref();
        match self.algorithm {
            Algorithm::Sha256 => {
                Digest::sha256(hash.try_into().expect("a sha256 hash has 32 bytes"))
            }
            Algorithm::Sha512 => {
                Digest::sha512(hash.try_into().expect("a sha512 hash has 64 bytes"))
            }
        }
    }
}

/// The digest of some bytes.
pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        assert_eq!(
            digest_of(Algorithm::Sha256, b"abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(
            digest_of(Algorithm::Sha512, b"")
                .to_string()
                .starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007")
        );
    }
}
