//! Which image of an index is meant for a platform.
//!
//! Variants follow containerd (`platforms/compare.go`): an `arm/v7` machine runs `arm/v6` and
//! `arm/v5` too, an `amd64/v3` one runs `amd64/v2` and plain `amd64`, and the best fit wins. Unlike
//! there, another architecture (`386` for `amd64`, `arm` for `arm64`) is never taken: what is built
//! on the image would be another platform's.

use std::cmp::Reverse;

use launchway_model::Platform;

use crate::spec::{Descriptor, Index};

/// The annotation by which BuildKit marks what is no image but tells about one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The index has no image for a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has no image for {wanted}, {}", only_for(.existing))]
pub struct NoSuchPlatform {
    pub wanted: Platform,
    /// The platforms it has images for, in its order, each once.
    pub existing: Vec<Platform>,
}

fn only_for(existing: &[Platform]) -> String {
    if existing.is_empty() {
        return "and names no platform at all".to_owned();
    }
    let names: Vec<String> = existing.iter().map(Platform::to_string).collect();
    format!("only for {}", names.join(", "))
}

/// Whether a child of an index is an attestation: it tells about an image and is none.
pub fn is_attestation(descriptor: &Descriptor) -> bool {
    let is_marked = descriptor
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(REFERENCE_TYPE));
    let is_nowhere = descriptor
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown" || platform.architecture == "unknown");
    is_marked || is_nowhere
}

/// The platform a child of an index states; attestations state none that is real.
pub fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let stated = descriptor.platform.as_ref()?;
    if is_attestation(descriptor) {
        return None;
    }
    // An empty variant is as good as none.
    let variant = stated.variant.as_deref().filter(|text| !text.is_empty());
    Platform::new(&stated.os, &stated.architecture, variant).ok()
}

/// The child of an index for a platform: the best variant that still runs there, of several
/// versions of an operating system (`os.version`) the newest, and of equals the first.
pub fn select_platform<'i>(
    index: &'i Index,
    wanted: &Platform,
) -> Result<&'i Descriptor, NoSuchPlatform> {
    let stated = || {
        index
            .manifests
            .iter()
            .filter_map(|child| Some((platform_of(child)?, child)))
    };
    stated()
        .filter_map(|(platform, child)| Some((fit(wanted, &platform)?, child)))
        // Of equals `min_by_key` takes the first.
        .min_by_key(|(fit, child)| (Reverse(*fit), Reverse(os_version(child))))
        .map(|(_, child)| child)
        .ok_or_else(|| {
            let mut existing: Vec<Platform> = Vec::new();
            for (platform, _) in stated() {
                if !existing.contains(&platform) {
                    existing.push(platform);
                }
            }
            NoSuchPlatform {
                wanted: wanted.clone(),
                existing,
            }
        })
}

/// How well an image for one platform does on another; more is better, None is not at all.
fn fit(wanted: &Platform, stated: &Platform) -> Option<(u32, u32)> {
    if wanted.os() != stated.os() || wanted.architecture() != stated.architecture() {
        return None;
    }
    let first = match wanted.architecture() {
        "amd64" => "v1",
        "arm64" => "v8",
        // It always states one, see `Platform::new`.
        "arm" => "v7",
        _ => {
            return if wanted.variant() == stated.variant() {
                Some((1, 0))
            } else {
                stated.variant().is_none().then_some((0, 0))
            };
        }
    };
    let level = |platform: &Platform| level(platform.variant().unwrap_or(first));
    match (level(wanted), level(stated)) {
        (Some(wanted), Some(stated)) => (stated <= wanted).then_some(stated),
        // Words that are no levels can only be the same.
        _ => (wanted.variant() == stated.variant()).then_some((u32::MAX, 0)),
    }
}

/// `v8` is (8, 0), `v8.2` is (8, 2).
fn level(variant: &str) -> Option<(u32, u32)> {
    let numbers = variant.strip_prefix('v')?;
    let (major, minor) = numbers.split_once('.').unwrap_or((numbers, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The numbers of an `os.version`, for comparing.
fn os_version(descriptor: &Descriptor) -> Vec<u64> {
    let stated = descriptor.platform.as_ref();
    let text = stated.and_then(|platform| platform.os_version.as_deref());
    text.unwrap_or_default()
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Annotations, SpecPlatform, media};

    /// `os/architecture[/variant][@os.version]`, and `!` before it for an attestation.
    fn descriptor(text: &str) -> Descriptor {
        let is_marked = text.starts_with('!');
        let (platform, os_version) = match text.trim_start_matches('!').split_once('@') {
            Some((platform, version)) => (platform, Some(version.to_owned())),
            None => (text.trim_start_matches('!'), None),
        };
        let words: Vec<&str> = platform.split('/').collect();
        Descriptor {
            media_type: media::MANIFEST.into(),
            digest: text.into(),
            size: 1,
            artifact_type: None,
            annotations: is_marked.then(|| {
                Annotations::from([(REFERENCE_TYPE.into(), "attestation-manifest".into())])
            }),
            platform: (words.len() > 1).then(|| SpecPlatform {
                os: words[0].into(),
                architecture: words[1].into(),
                variant: words.get(2).map(|variant| (*variant).to_owned()),
                os_version,
            }),
        }
    }

    fn index(children: &[&str]) -> Index {
        Index {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            manifests: children.iter().map(|child| descriptor(child)).collect(),
            subject: None,
            annotations: None,
        }
    }

    #[test]
    fn the_best_that_runs_is_chosen() {
        let all = [
            "!linux/amd64",
            "unknown/unknown",
            "none",
            "linux/arm64/v8",
            "linux/amd64/v3",
            "linux/amd64",
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/arm64/v9",
            "linux/ppc64le",
            "linux/ppc64le/power9",
            "linux/riscv64/",
            "windows/amd64@10.0.9.1",
            "windows/amd64@10.0.20348.2",
            "windows/amd64@10.0.20348.1",
        ];
        let all = index(&all);
        for (wanted, want) in [
            ("linux/amd64", Some("linux/amd64")),
            ("linux/amd64/v2", Some("linux/amd64")),
            ("linux/amd64/v3", Some("linux/amd64/v3")),
            ("linux/amd64/v4", Some("linux/amd64/v3")),
            ("linux/arm64", Some("linux/arm64/v8")),
            ("linux/arm64/v8.2", Some("linux/arm64/v8")),
            ("linux/arm64/v9", Some("linux/arm64/v9")),
            ("linux/arm/v8", Some("linux/arm/v7")),
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux/arm", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v5")),
            ("linux/ppc64le/power10", Some("linux/ppc64le")),
            ("linux/ppc64le/power9", Some("linux/ppc64le/power9")),
            ("linux/riscv64", Some("linux/riscv64/")),
            ("windows/amd64", Some("windows/amd64@10.0.20348.2")),
            ("linux/386", None),
            ("linux/s390x", None),
            ("darwin/arm64", None),
        ] {
            let wanted = wanted.parse().unwrap();
            let chosen = select_platform(&all, &wanted);
            let digest = chosen.ok().map(|child| child.digest.as_str());
            assert_eq!(digest, want, "{wanted}");
        }
        let first = select_platform(&all, &"linux/amd64".parse().unwrap()).unwrap();
        assert!(std::ptr::eq(first, &all.manifests[5]));
    }

    #[test]
    fn what_needs_more_than_there_is_does_not_run() {
        for (stated, wanted) in [
            ("linux/amd64/v2", "linux/amd64"),
            ("linux/arm64/v9", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v6"),
            ("linux/arm/v7", "linux/arm64"),
            ("linux/386", "linux/amd64"),
            ("linux/ppc64le/power9", "linux/ppc64le"),
            ("!linux/amd64", "linux/amd64"),
        ] {
            let index = index(&[stated]);
            let chosen = select_platform(&index, &wanted.parse().unwrap());
            assert!(chosen.is_err(), "{stated} for {wanted}");
        }
    }

    #[test]
    fn the_error_says_which_exist() {
        let wanted = "linux/riscv64".parse().unwrap();
        for (children, want) in [
            (
                &[
                    "linux/amd64",
                    "linux/arm64/v8",
                    "!linux/amd64",
                    "linux/amd64",
                ][..],
                "it has no image for linux/riscv64, only for linux/amd64, linux/arm64",
            ),
            (
                &["!unknown/unknown", "none"],
                "it has no image for linux/riscv64, and names no platform at all",
            ),
        ] {
            let error = select_platform(&index(children), &wanted).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
