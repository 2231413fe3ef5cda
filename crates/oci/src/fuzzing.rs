//! What holds for any bytes that are read as an archive, an index of paths or a document. The
//! fuzzer of `fuzz/` tries to break it; the seeds it starts from are tried with every run of the
//! tests.

mod whiteouts;

use std::io::Read as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::PathIndex;
use crate::spec::{ImageConfig, Index, Manifest};
use crate::tar_read::TarReader;

pub use whiteouts::whiteouts;

/// A tar archive: bodies are no longer than the archive, and reading it comes to an end.
pub fn tar(bytes: &[u8]) {
    let mut reader = TarReader::new(bytes);
    let mut read = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.mode <= 0o7777);
        let mut body = Vec::new();
        let done = reader.body().read_to_end(&mut body);
        read += body.len() + 512;
        assert!(read <= bytes.len(), "more came out than went in");
        if done.is_err() {
            return;
        }
    }
}

/// An index of paths: what is read is written so that it reads the same.
pub fn path_index(bytes: &[u8]) {
    if let Ok(index) = PathIndex::decode(bytes) {
        let again = PathIndex::decode(&index.encode());
        assert_eq!(again.as_ref(), Ok(&index));
        assert!(PathIndex::conflicts(&[&index, &index]).is_none());
    }
}

/// Manifests, indexes and configurations: what is read is written so that it reads the same.
pub fn manifest(bytes: &[u8]) {
    round::<Manifest>(bytes);
    round::<Index>(bytes);
    round::<ImageConfig>(bytes);
}

fn round<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&value).expect("the documents are plain JSON");
        let again: T = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, value);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn seeds(target: &str, check: fn(&[u8])) {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for seed in std::fs::read_dir(all.join(target)).unwrap() {
            check(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn seeds_of_all_targets() {
        seeds("tar", tar);
        seeds("path_index", path_index);
        seeds("manifest", manifest);
        seeds("whiteouts", in_a_folder);
    }

    fn in_a_folder(bytes: &[u8]) {
        whiteouts(bytes, tempfile::tempdir().unwrap().path());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300,
            ..proptest::prelude::ProptestConfig::default()
        })]

        #[test]
        fn layers_merge_as_the_model_says(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)
        ) {
            in_a_folder(&bytes);
        }
    }
}
