//! Images that stand for those that a machine cannot get.
//!
//! A corpus starts `FROM alpine`, and there is no Docker Hub. Named contexts give both engines the
//! same other image under that name, without touching the Dockerfile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Which image stands for which name.
#[derive(Clone, Debug, Default)]
pub struct BaseMap {
    /// A name as Dockerfiles have it, with or without a tag, and an image.
    pub given: Vec<(String, String)>,
    /// For every other image: one with Debian's tools, and a small one.
    pub stand_ins: Option<StandIns>,
}

/// What stands for images that nobody named.
#[derive(Clone, Debug)]
pub struct StandIns {
    pub debian: String,
    pub small: String,
}

/// Names of images that are like Debian.
const LIKE_DEBIAN: &[&str] = &[
    "debian",
    "ubuntu",
    "python",
    "node",
    "golang",
    "rust",
    "ruby",
    "buildpack-deps",
    "gcc",
    "centos",
    "fedora",
    "nginx",
    "php",
    "postgres",
    "openjdk",
    "java",
    "maven",
    "ubi",
    "bash",
];

impl BaseMap {
    /// The named contexts that a Dockerfile needs: names as it has them, and images.
    pub(super) fn contexts(&self, text: &str, build_args: &[String]) -> BTreeMap<String, String> {
        let named = images_of(text, build_args);
        let found = named.into_iter().filter_map(|name| {
            let image = self.image(&name)?;
            Some((name, image))
        });
        found.collect()
    }

    fn image(&self, name: &str) -> Option<String> {
        let short = name
            .trim_start_matches("docker.io/")
            .trim_start_matches("library/");
        let untagged = repository(short);
        let given = |wanted: &str| {
            let found = self.given.iter().find(|(name, _)| name == wanted);
            found.map(|(_, image)| image.clone())
        };
        given(name)
            .or_else(|| given(short))
            .or_else(|| given(untagged))
            .or_else(|| {
                let stand_ins = self.stand_ins.as_ref()?;
                let last = untagged.rsplit('/').next().unwrap_or(untagged);
                let debian = LIKE_DEBIAN.iter().any(|like| last.starts_with(like))
                    && !name.contains("alpine");
                Some(if debian {
                    stand_ins.debian.clone()
                } else {
                    stand_ins.small.clone()
                })
            })
    }
}

/// An image's name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The images that a Dockerfile names, as far as a look at its lines tells. This is no parser: a
/// name that is missed is looked for in a registry, by both engines.
fn images_of(text: &str, build_args: &[String]) -> BTreeSet<String> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut arguments: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: BTreeSet<String> = BTreeSet::new();
    let mut images = BTreeSet::new();
    let given = |name: &str| {
        let found = build_args.iter().filter_map(|pair| pair.split_once('='));
        let mut found = found.filter(|(other, _)| *other == name);
        found.next_back().map(|(_, value)| value.to_owned())
    };
    for line in joined.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        match first.to_ascii_uppercase().as_str() {
            "ARG" if stages.is_empty() => {
                for word in &words[1..] {
                    let (name, value) = word.split_once('=').unwrap_or((word, ""));
                    let value = value.trim_matches(['"', '\'']);
                    let value = given(name).unwrap_or_else(|| expanded(value, &arguments));
                    arguments.insert(name.to_owned(), value);
                }
            }
            "FROM" => {
                let mut rest = words[1..].iter().filter(|word| !word.starts_with("--"));
                if let Some(name) = rest.next() {
                    let name = expanded(name.trim_matches(['"', '\'']), &arguments);
                    if !stages.contains(&name.to_ascii_lowercase()) {
                        images.insert(name);
                    }
                }
                let alias = rest.nth(1).map(|name| name.to_ascii_lowercase());
                stages.insert(alias.unwrap_or_else(|| stages.len().to_string()));
            }
            _ => {
                let from = |word: &&str| {
                    let mount = word.strip_prefix("--mount=");
                    let of_mount = mount.and_then(|fields| {
                        let mut fields = fields.split(',');
                        fields.find_map(|field| field.strip_prefix("from="))
                    });
                    of_mount
                        .or_else(|| word.strip_prefix("--from="))
                        .map(str::to_owned)
                };
                let named = words.iter().filter_map(from);
                images.extend(named.filter(|name| {
                    !stages.contains(&name.to_ascii_lowercase())
                        && !name.is_empty()
                        && !name.bytes().all(|byte| byte.is_ascii_digit())
                }));
            }
        }
    }
    images.remove("scratch");
    // What was not expanded is no name, and neither is one that a flag cannot hold.
    images.retain(|name| !name.is_empty() && !name.contains(['$', '=', '"', '\\']));
    images
}

/// `$NAME`, `${NAME}` and `${NAME:-word}`.
fn expanded(text: &str, arguments: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, default, after) = match rest.strip_prefix('{') {
            Some(braced) => {
                let Some((inner, after)) = braced.split_once('}') else {
                    return text.to_owned();
                };
                let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
                (name, default, after)
            }
            None => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                (&rest[..end], "", &rest[end..])
            }
        };
        let value = arguments.get(name).filter(|value| !value.is_empty());
        out.push_str(value.map_or(default, String::as_str));
        rest = after;
    }
    out + rest
}

/// BuildKit fetches the frontend that `# syntax=` names before anything else. The stock one is what
/// it has built in, so it gets the same Dockerfile without that line, and with its rules of what to
/// ignore beside it. `None` when there is no such line.
pub(super) fn without_frontend(
    dockerfile: &Path,
    text: &str,
    folder: &Path,
) -> io::Result<Option<PathBuf>> {
    let mut changed = String::new();
    let mut found = false;
    let mut directives = true;
    for line in text.split_inclusive('\n') {
        let comment = line.trim_start_matches('\u{feff}').trim().strip_prefix('#');
        directives &= comment.is_some();
        let value = comment
            .filter(|_| directives)
            .and_then(|comment| comment.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("syntax"))
            .map(|(_, value)| value.trim());
        let stock = value.is_some_and(is_stock);
        if stock && !found {
            found = true;
            // A directive that nobody knows, so that those after it still count, and every line
            // keeps its number.
            changed.push_str("# stock=yes\n");
        } else {
            changed.push_str(line);
        }
    }
    if !found {
        return Ok(None);
    }
    fs::create_dir_all(folder)?;
    let name = dockerfile.file_name().unwrap_or_default();
    let other = folder.join(name);
    fs::write(&other, changed)?;
    let mut rules = name.to_owned();
    rules.push(".dockerignore");
    let beside = dockerfile.with_file_name(&rules);
    if beside.exists() {
        fs::copy(beside, folder.join(&rules))?;
    }
    Ok(Some(other))
}

/// Whether a `syntax` is the stock frontend: in some version, and from whatever registry.
fn is_stock(value: &str) -> bool {
    let image = repository(value.split(' ').next().unwrap_or_default());
    ["docker/dockerfile", "docker/dockerfile-upstream"]
        .iter()
        .filter_map(|stock| image.strip_suffix(stock))
        .any(|host| host.is_empty() || host.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found() {
        let text = "ARG TAG=3\nARG FULL=\"alpine:${TAG}\"\nFROM --platform=x busybox AS one\n\
            FROM one\nFROM $FULL as Two\nFROM ${NONE:-debian}\nCOPY --from=two a b\n\
            COPY --from=0 a b\nCOPY --chown=1 --from=docker.io/library/nginx a b\n\
            RUN --mount=type=bind,from=python:3,target=/x \\\n  --mount=from=one true\nFROM scratch\n";
        let found: Vec<String> = images_of(text, &["TAG=4".to_owned()]).into_iter().collect();
        assert_eq!(
            found,
            [
                "alpine:4",
                "busybox",
                "debian",
                "docker.io/library/nginx",
                "python:3"
            ]
        );
    }

    #[test]
    fn images_are_mapped_by_what_is_known_of_them() {
        let mut map = BaseMap {
            given: vec![
                ("alpine".to_owned(), "r/a".to_owned()),
                ("debian:12".to_owned(), "r/d12".to_owned()),
            ],
            stand_ins: None,
        };
        assert_eq!(map.image("alpine:3.9").as_deref(), Some("r/a"));
        assert_eq!(
            map.image("docker.io/library/alpine").as_deref(),
            Some("r/a")
        );
        assert_eq!(map.image("debian:12").as_deref(), Some("r/d12"));
        assert_eq!(map.image("debian:11"), None);
        map.stand_ins = Some(StandIns {
            debian: "r/d".to_owned(),
            small: "r/s".to_owned(),
        });
        assert_eq!(map.image("debian:11").as_deref(), Some("r/d"));
        assert_eq!(map.image("python:3-alpine").as_deref(), Some("r/s"));
        assert_eq!(map.image("gcr.io/x/y:z").as_deref(), Some("r/s"));
    }

    #[test]
    fn the_stock_frontend_is_left_out_and_no_other() {
        let folder = tempfile::tempdir().expect("making a folder");
        let of = |text: &str| {
            let file = Path::new("Dockerfile");
            let other = without_frontend(file, text, folder.path()).expect("writing");
            other.map(|path| fs::read_to_string(path).expect("reading"))
        };
        assert_eq!(
            of("# syntax=docker/dockerfile:1.7-labs\n# escape=`\nFROM a\n").as_deref(),
            Some("# stock=yes\n# escape=`\nFROM a\n")
        );
        for stock in [
            "mirror.example:5000/docker/dockerfile:1",
            "docker.io/docker/dockerfile-upstream:master@sha256:ab",
            "localhost/hub/docker/dockerfile some words",
        ] {
            let changed = of(&format!("# syntax={stock}\nFROM a\n"));
            assert_eq!(changed.as_deref(), Some("# stock=yes\nFROM a\n"), "{stock}");
        }
        for other in [
            "someone/else",
            "notdocker/dockerfile",
            "docker/dockerfile/x",
            "docker/dockerfile-x",
        ] {
            assert_eq!(of(&format!("# syntax={other}\nFROM a\n")), None, "{other}");
        }
        assert_eq!(of("FROM a\n# syntax=docker/dockerfile:1\n"), None);
    }
}
