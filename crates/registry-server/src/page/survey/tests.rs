use super::*;
use crate::document::Document;
use crate::store::Hasher;
use launchway_model::Algorithm;

fn digest_of(text: &str) -> Digest {
    Hasher::of(Algorithm::Sha256, text.as_bytes())
}

/// A repository being put together: what is entered gives its digest back.
struct Build {
    held: Holdings,
}

impl Build {
    fn new(name: &str) -> Self {
        Self {
            held: Holdings {
                name: name.to_owned(),
                tags: BTreeMap::new(),
                manifests: HashMap::new(),
            },
        }
    }

    fn tag(mut self, tag: &str, digest: &Digest) -> Self {
        self.held.tags.insert(tag.to_owned(), digest.clone());
        self
    }

    fn manifest(&mut self, media_type: &str, text: &str) -> Digest {
        let digest = digest_of(text);
        let info = ManifestInfo {
            digest: digest.clone(),
            media_type: media_type.to_owned(),
            // Sizes are round in these tests: every document is 1 byte long.
            size: 1,
            document: Document::parse(media_type, text.as_bytes()).unwrap(),
        };
        self.held.manifests.insert(digest.clone(), Arc::new(info));
        digest
    }

    /// An image with a configuration of 10 bytes and these layers.
    fn image(&mut self, config: &str, layers: &[(&str, u64)]) -> Digest {
        self.about(config, layers, "")
    }

    fn about(&mut self, config: &str, layers: &[(&str, u64)], more: &str) -> Digest {
        let layers: Vec<_> = layers
            .iter()
            .map(|(name, size)| entry("application/x", &digest_of(name), *size, ""))
            .collect();
        let config = entry(media::CONFIG, &digest_of(config), 10, "");
        self.manifest(
            media::MANIFEST,
            &format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[{}]{more}}}"#,
                layers.join(",")
            ),
        )
    }

    fn index(&mut self, children: &[(&Digest, &str, Option<&str>)]) -> Digest {
        let children: Vec<_> = children
            .iter()
            .map(|(digest, media_type, platform)| {
                let platform = platform.map(|architecture| {
                    let os = if architecture == "unknown" {
                        "unknown"
                    } else {
                        "linux"
                    };
                    format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
                });
                entry(media_type, digest, 1, &platform.unwrap_or_default())
            })
            .collect();
        self.manifest(
            media::INDEX,
            &format!(
                r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
                children.join(",")
            ),
        )
    }
}

fn entry(media_type: &str, digest: &Digest, size: u64, more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
}

fn count(held: Vec<Build>) -> Survey {
    let held: Vec<_> = held.into_iter().map(|build| build.held).collect();
    survey(&held, &HashMap::new())
}

/// Total and unique bytes of a tag.
fn of_tag(survey: &Survey, repository: &str, tag: &str) -> (u64, u64) {
    let repository = survey.repository(repository).unwrap();
    let sizes = survey.roots[repository.tags[tag]].sizes;
    assert_eq!(sizes.shared(), sizes.total - sizes.unique);
    (sizes.total, sizes.unique)
}

fn of_repository(survey: &Survey, repository: &str) -> (u64, u64) {
    let sizes = survey.repository(repository).unwrap().sizes;
    (sizes.total, sizes.unique)
}

#[test]
fn a_common_layer_is_shared_and_the_rest_is_unique() {
    let mut build = Build::new("a");
    let one = build.image("c1", &[("base", 1000), ("x", 200)]);
    let two = build.image("c2", &[("base", 1000), ("y", 300)]);
    let survey = count(vec![build.tag("1", &one).tag("2", &two)]);
    assert_eq!(of_tag(&survey, "a", "1"), (1211, 211));
    assert_eq!(of_tag(&survey, "a", "2"), (1311, 311));
    assert_eq!(of_repository(&survey, "a"), (1522, 1522));
    assert_eq!((survey.sum_of_images, survey.once), (2522, 1522));
    let sharers = survey.others(&digest_of("base"), Some(survey.repositories[0].tags["1"]));
    assert_eq!(sharers[0].tags, ["2"]);
    assert_eq!(sharers.len(), 1);
}

#[test]
fn tags_of_one_image_are_one() {
    let mut build = Build::new("a");
    let one = build.image("c", &[("x", 200)]);
    let survey = count(vec![build.tag("1", &one).tag("latest", &one)]);
    assert_eq!(of_tag(&survey, "a", "1"), (211, 211));
    assert_eq!(of_tag(&survey, "a", "latest"), (211, 211));
    assert_eq!(survey.roots.len(), 1);
    assert_eq!(survey.sum_of_images, 211);
}

#[test]
fn a_layer_that_is_listed_twice_counts_once() {
    let mut build = Build::new("a");
    let one = build.image("c", &[("x", 200), ("x", 200)]);
    let survey = count(vec![build.tag("1", &one)]);
    assert_eq!(of_tag(&survey, "a", "1"), (211, 211));
}

#[test]
fn the_same_blob_in_two_repositories_is_unique_in_neither() {
    let mut a = Build::new("a");
    let one = a.image("c", &[("x", 200), ("only-a", 50)]);
    let mut b = Build::new("b");
    let two = b.image("c2", &[("x", 200)]);
    let copy = b.image("c", &[("x", 200), ("only-a", 50)]);
    assert_eq!(copy, one);
    let survey = count(vec![a.tag("1", &one), b.tag("2", &two).tag("1", &copy)]);
    // The image of `a` is in `b` as well, whole: deleting either frees nothing.
    assert_eq!(of_tag(&survey, "a", "1"), (261, 0));
    assert_eq!(of_tag(&survey, "b", "1"), (261, 0));
    assert_eq!(of_tag(&survey, "b", "2"), (211, 11));
    assert_eq!(of_repository(&survey, "a"), (261, 0));
    assert_eq!(of_repository(&survey, "b"), (272, 11));
    assert_eq!((survey.sum_of_images, survey.once), (733, 272));
}

#[test]
fn nested_indexes_count_each_blob_once() {
    let mut build = Build::new("a");
    let amd64 = build.image("c1", &[("base", 1000), ("x", 200)]);
    let arm64 = build.image("c2", &[("base", 1000), ("y", 300)]);
    let riscv = build.image("c3", &[("z", 400)]);
    let inner = build.index(&[
        (&arm64, media::MANIFEST, Some("arm64")),
        (&riscv, media::MANIFEST, Some("riscv64")),
    ]);
    let outer = build.index(&[
        (&amd64, media::MANIFEST, Some("amd64")),
        (&inner, media::INDEX, None),
        // Also here directly.
        (&arm64, media::MANIFEST, Some("arm64")),
    ]);
    let survey = count(vec![build.tag("all", &outer).tag("one", &riscv)]);
    // Three manifests, two indexes, three configurations, four layers.
    assert_eq!(of_tag(&survey, "a", "all"), (5 + 30 + 1900, 4 + 20 + 1500));
    assert_eq!(of_tag(&survey, "a", "one"), (411, 0));
    let root = &survey.roots[survey.repositories[0].tags["all"]];
    let platforms: Vec<_> = root.platforms.iter().map(Platform::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/riscv64"]);
    assert!(survey.repositories[0].untagged.is_empty());
}

#[test]
fn an_index_that_lists_itself_ends() {
    let mut build = Build::new("a");
    let one = build.image("c", &[("x", 200)]);
    let outer = build.index(&[(&one, media::MANIFEST, Some("amd64"))]);
    // No digest can be its own; a damaged directory may still say so.
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        entry(media::INDEX, &outer, 1, ""),
        entry(media::MANIFEST, &one, 1, "")
    );
    let info = ManifestInfo {
        digest: outer.clone(),
        media_type: media::INDEX.to_owned(),
        size: 1,
        document: Document::parse(media::INDEX, text.as_bytes()).unwrap(),
    };
    build.held.manifests.insert(outer.clone(), Arc::new(info));
    let survey = count(vec![build]);
    let root = survey.repositories[0].root(&outer).unwrap();
    assert_eq!(survey.repositories[0].untagged, [root]);
    assert_eq!(survey.roots[root].sizes.total, 212);
}

#[test]
fn attestations_count_bytes_and_no_platform() {
    let mut build = Build::new("a");
    let amd64 = build.image("c1", &[("x", 200)]);
    let attestation = build.image("c2", &[("provenance", 30)]);
    let index = build.index(&[
        (&amd64, media::MANIFEST, Some("amd64")),
        (&attestation, media::MANIFEST, Some("unknown")),
    ]);
    let survey = count(vec![build.tag("1", &index)]);
    let root = &survey.roots[survey.repositories[0].tags["1"]];
    assert_eq!(root.platforms.len(), 1);
    assert_eq!(root.sizes.total, 1 + 211 + 41);
}

#[test]
fn what_has_no_tag_holds_bytes_too() {
    let mut build = Build::new("a");
    let one = build.image("c1", &[("x", 200)]);
    let subject = format!(r#","subject":{}"#, entry(media::MANIFEST, &one, 1, ""));
    let about = build.about("c2", &[("sbom", 70)], &subject);
    let old = build.image("c3", &[("x", 200)]);
    let survey = count(vec![build.tag("1", &one)]);
    // What refers to an image is no part of it.
    assert_eq!(of_tag(&survey, "a", "1"), (211, 11));
    let repository = &survey.repositories[0];
    assert_eq!((repository.images, repository.referrers), (2, 1));
    let untagged: BTreeSet<_> = repository
        .untagged
        .iter()
        .map(|root| survey.roots[*root].digest.clone())
        .collect();
    assert_eq!(untagged, BTreeSet::from([about.clone(), old]));
    let about = &survey.roots[repository.root(&about).unwrap()];
    assert_eq!(about.subject, Some(one));
    assert_eq!((about.sizes.total, about.sizes.unique), (81, 81));
}

#[test]
fn what_is_listed_and_not_here_counts_as_its_entry_says() {
    let mut build = Build::new("a");
    let gone = digest_of("gone");
    let index = build.index(&[(&gone, media::MANIFEST, Some("amd64"))]);
    let survey = count(vec![build.tag("1", &index)]);
    assert_eq!(of_tag(&survey, "a", "1"), (2, 2));
    // It is listed for a platform, but there is no image that could be looked into.
    assert!(survey.roots[0].platforms.is_empty());
}

#[test]
fn configurations_are_asked_only_where_nothing_else_tells() {
    let mut build = Build::new("a");
    let told = build.image("told", &[]);
    let untold = build.image("untold", &[]);
    let tagged = build.image("tagged", &[]);
    let alone = build.image("alone", &[]);
    let both = build.index(&[
        (&told, media::MANIFEST, Some("amd64")),
        (&untold, media::MANIFEST, None),
        (&tagged, media::MANIFEST, Some("arm64")),
    ]);
    let held = build.tag("1", &both).tag("2", &tagged).held;
    let _ = alone;
    let asked = silent_platforms(&held);
    let want = ["untold", "tagged", "alone"].map(digest_of);
    assert_eq!(asked, want.iter().collect());
    let platforms: HashMap<_, _> = want
        .iter()
        .zip(["linux/riscv64", "linux/arm64", "linux/s390x"])
        .map(|(digest, platform)| (digest.clone(), Some(platform.parse().unwrap())))
        .collect();
    let survey = survey(&[held], &platforms);
    let platforms = |tag: &str| {
        let root = &survey.roots[survey.repositories[0].tags[tag]];
        let platforms: Vec<_> = root.platforms.iter().map(Platform::to_string).collect();
        platforms.join(" ")
    };
    assert_eq!(platforms("1"), "linux/amd64 linux/arm64 linux/riscv64");
    assert_eq!(platforms("2"), "linux/arm64");
}
