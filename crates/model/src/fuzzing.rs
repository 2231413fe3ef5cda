//! What holds for any text that is read as a reference, a digest or a platform. The fuzzer of
//! `fuzz/` tries to break it; the seeds it starts from are tried with every run of the tests.

use crate::{Digest, Platform, Reference, RegistryHost, Repository, Tag};

/// What is read is written so that it reads the same, and errors point into the text.
pub fn reference(text: &str) {
    match text.parse::<Reference>() {
        Ok(reference) => {
            let shown = reference.to_string();
            assert_eq!(shown.parse::<Reference>(), Ok(reference.clone()), "{shown}");
            let repository = &reference.repository;
            assert!(repository.path().len() <= 255);
            assert!(
                Repository::new(repository.host().clone(), repository.path()).is_ok(),
                "{shown}"
            );
        }
        Err(error) => {
            assert!(error.at <= text.len(), "{} of {text:?}", error.at);
            assert!(text.is_char_boundary(error.at), "{} of {text:?}", error.at);
        }
    }
    if let Ok(host) = text.parse::<RegistryHost>() {
        assert_eq!(host.as_str().parse::<RegistryHost>(), Ok(host.clone()));
        assert!(!host.name().is_empty());
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.as_str(), text);
        assert!(!text.contains(['/', ':', '@']) && text.len() <= 128);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let shown = platform.to_string();
        assert_eq!(shown.parse::<Platform>(), Ok(platform), "{shown}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/reference");
        for seed in std::fs::read_dir(seeds).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            super::reference(&String::from_utf8_lossy(&bytes));
        }
    }
}
