//! What holds for anything a client may ask. The fuzzer of `fuzz/` tries to break it; the seeds it
//! starts from are tried with every run of the tests.

use launchway_oci::spec::media;

use crate::access::Scope;
use crate::document::Document;
use crate::query::Query;
use crate::range::{self, Wanted};
use crate::route::{RepositoryName, Route};

/// The path of a request: names stay below the root, whatever they are made of.
pub fn route(target: &str) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match Route::parse(path) {
        Ok(
            Route::Tags(name)
            | Route::Manifest(name, _)
            | Route::Blob(name, _)
            | Route::Uploads(name)
            | Route::Upload(name, _)
            | Route::Referrers(name, _),
        ) => safe(&name, target),
        Ok(_) => {}
        Err(error) => assert!(error.status.is_client_error(), "{target:?}"),
    }
    let query = Query::parse(query);
    for key in [
        "digest",
        "mount",
        "from",
        "n",
        "last",
        "tag",
        "artifactType",
    ] {
        let first = query.all(key).next().filter(|value| !value.is_empty());
        assert_eq!(query.get(key), first, "{target:?}");
    }
    if let Some(scope) = Scope::parse(target) {
        let again = Scope::parse(&scope.text());
        assert_eq!(again.as_ref(), Some(&scope), "{target:?}");
    }
}

fn safe(name: &RepositoryName, target: &str) {
    let text = name.as_str();
    let bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('_');
    assert!(!text.split('/').any(bad), "{target:?}");
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    assert!(text.chars().all(good), "{target:?}");
    assert!(text.len() <= 255, "{target:?}");
    let again = RepositoryName::parse(text).ok();
    assert_eq!(again.as_ref(), Some(name), "{target:?}");
}

/// `Range` and `Content-Range`: a number, which is the size of the whole, a line break, and the
/// header.
pub fn range(text: &str) {
    let (size, header) = text.split_once('\n').unwrap_or(("10", text));
    let size: u64 = size.parse().unwrap_or(10);
    if let Wanted::Part(part) = range::wanted(Some(header), size) {
        assert!(part.start < part.end && part.end <= size, "{text:?}");
        let written = format!("bytes={}-{}", part.start, part.end - 1);
        let again = range::wanted(Some(&written), size);
        assert_eq!(again, Wanted::Part(part), "{text:?}");
    }
    if let Some(part) = range::chunk(header) {
        assert!(part.start < part.end, "{text:?}");
        let written = format!("{}-{}", part.start, part.end - 1);
        assert_eq!(range::chunk(&written), Some(part), "{text:?}");
    }
}

/// A manifest: each kind refuses what is of the other, and what was read holds proper digests.
pub fn document(bytes: &[u8]) {
    let read: Vec<bool> = [
        media::MANIFEST,
        media::INDEX,
        media::DOCKER_MANIFEST,
        media::DOCKER_LIST,
    ]
    .iter()
    .map(|media_type| match Document::parse(media_type, bytes) {
        Ok(document) => {
            assert_eq!(document.config.is_none(), media::is_index(media_type));
            assert!(document.artifact_type.is_none_or(|text| !text.is_empty()));
            true
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            false
        }
    })
    .collect();
    assert!(!(read[0] && read[1]), "an image and an index at once");
    assert!(!(read[2] && read[3]), "an image and a list at once");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        let files = std::fs::read_dir(all.join(target)).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap())
    }

    #[test]
    fn seeds_of_all_targets() {
        seeds("route").for_each(|seed| route(&String::from_utf8_lossy(&seed)));
        seeds("range").for_each(|seed| range(&String::from_utf8_lossy(&seed)));
        seeds("document").for_each(|seed| document(&seed));
    }
}
