//! How people name the places images are in.
//!
//! A bare reference is a registry's, by Docker's rules. Everything else says first what it is, with
//! the words that skopeo made usual: `oci:PATH[:TAG]`, `oci-archive:FILE[:TAG]`,
//! `docker-archive:FILE[:REFERENCE]`.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use launchway_model::{Digest, Reference};

/// A place with an image in it, or for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Registry(Reference),
    /// A directory that is an OCI image layout.
    Layout {
        path: PathBuf,
        name: Option<LocalName>,
    },
    /// The same in a tar.
    OciArchive {
        path: PathBuf,
        name: Option<LocalName>,
    },
    /// What `docker save` writes and `docker load` reads.
    DockerArchive {
        path: PathBuf,
        name: Option<LocalName>,
    },
}

/// What an image in a layout or an archive goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalName {
    /// The `org.opencontainers.image.ref.name` of a layout, which is a tag mostly, or a whole
    /// reference in archives of Docker.
    Tag(String),
    Digest(Digest),
}

/// Why a text names no place. `at` is where in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LocationError {
    pub at: Range<usize>,
    pub reason: String,
    pub help: &'static str,
}

const FORMS: &str = "write a reference (HOST/NAME:TAG), oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REFERENCE]";

/// Words that other tools know and this one does not.
const FOREIGN: &[&str] = &[
    "containers-storage:",
    "containerd:",
    "dir:",
    "docker-daemon:",
    "sif:",
    "ostree:",
    "tarball:",
];

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, name) = local(text, rest)?;
            return Ok(Self::Layout { path, name });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, name) = local(text, rest)?;
            return Ok(Self::OciArchive { path, name });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (path, name) = local(text, rest)?;
            if let Some(LocalName::Tag(tag)) = &name {
                let start = text.len() - tag.len();
                tag.parse::<Reference>()
                    .map_err(|error| shifted(&error, tag, start))?;
            }
            return Ok(Self::DockerArchive { path, name });
        }
        if let Some(word) = FOREIGN.iter().find(|word| text.starts_with(*word)) {
            return Err(LocationError {
                at: 0..word.len(),
                reason: format!("images cannot be copied from or to `{word}`"),
                help: FORMS,
            });
        }
        // skopeo's users write this before every reference.
        let bare = text.strip_prefix("docker://").unwrap_or(text);
        let start = text.len() - bare.len();
        if let Some(at) = bare.find("://") {
            return Err(LocationError {
                at: start..start + at + 3,
                reason: "a reference has no scheme".to_owned(),
                help: "leave out what stands before the host; --plain-http HOST allows plain HTTP",
            });
        }
        if bare.starts_with(['.', '/', '~']) {
            return Err(LocationError {
                at: start..text.len(),
                reason: "this is a path, and it does not say what is there".to_owned(),
                help: "write oci:PATH, oci-archive:PATH or docker-archive:PATH",
            });
        }
        bare.parse()
            .map(Self::Registry)
            .map_err(|error| shifted(&error, bare, start))
    }
}

fn shifted(error: &launchway_model::ReferenceError, text: &str, start: usize) -> LocationError {
    let at = error.at.min(text.len());
    // The whole character, and at the end of the text the place after it.
    let width = text[at..].chars().next().map_or(1, char::len_utf8);
    LocationError {
        at: start + at..start + at + width,
        reason: error.reason.to_owned(),
        help: "a reference has the form HOST/NAME:TAG or HOST/NAME@sha256:…",
    }
}

/// Takes a path and a name apart. The path ends at the first `:` or at the `@` of a digest.
fn local(text: &str, rest: &str) -> Result<(PathBuf, Option<LocalName>), LocationError> {
    let start = text.len() - rest.len();
    let by_digest = ["@sha256:", "@sha512:"]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min();
    let (path, name) = match by_digest {
        Some(at) => {
            let digest = &rest[at + 1..];
            let digest = digest.parse::<Digest>().map_err(|error| LocationError {
                at: start + at + 1..text.len(),
                reason: error.to_string(),
                help: "write the whole digest",
            })?;
            (&rest[..at], Some(LocalName::Digest(digest)))
        }
        None => match rest.split_once(':') {
            Some((path, "")) => {
                return Err(LocationError {
                    at: start + path.len()..text.len(),
                    reason: "nothing stands after the `:`".to_owned(),
                    help: "name a tag, or leave the `:` out; a path cannot hold a `:`",
                });
            }
            Some((path, tag)) => {
                if let Some((at, c)) = tag.char_indices().find(|(_, c)| bad_in_tag(*c)) {
                    let at = start + path.len() + 1 + at;
                    return Err(LocationError {
                        at: at..at + c.len_utf8(),
                        reason: "a tag has no spaces and no control characters".to_owned(),
                        help: "the path ends at the first `:`, and what follows is the tag",
                    });
                }
                (path, Some(LocalName::Tag(tag.to_owned())))
            }
            None => (rest, None),
        },
    };
    if path.is_empty() {
        return Err(LocationError {
            at: 0..start,
            reason: "there is no path".to_owned(),
            help: "for example oci:images/app:v1",
        });
    }
    Ok((PathBuf::from(path), name))
}

fn bad_in_tag(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, path, name) = match self {
            Self::Registry(reference) => return write!(f, "{reference}"),
            Self::Layout { path, name } => ("oci", path, name),
            Self::OciArchive { path, name } => ("oci-archive", path, name),
            Self::DockerArchive { path, name } => ("docker-archive", path, name),
        };
        write!(f, "{word}:{}", path.display())?;
        match name {
            Some(LocalName::Tag(tag)) => write!(f, ":{tag}"),
            Some(LocalName::Digest(digest)) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, want) in [
            ("debian", "docker.io/library/debian"),
            ("docker://debian:12", "docker.io/library/debian:12"),
            ("127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b"),
            ("oci:dir", "oci:dir"),
            ("oci:./a/dir:v1", "oci:./a/dir:v1"),
            ("oci:/x:docker.io/a/b:v1", "oci:/x:docker.io/a/b:v1"),
            ("oci-archive:x.tar:v1", "oci-archive:x.tar:v1"),
            ("docker-archive:x.tar", "docker-archive:x.tar"),
            ("docker-archive:x.tar:a/b:1", "docker-archive:x.tar:a/b:1"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), want);
        }
        let pinned = format!("oci:dir@{digest}");
        assert_eq!(pinned.parse::<Location>().unwrap().to_string(), pinned);
    }

    #[test]
    fn errors_say_where() {
        for (text, at, part) in [
            ("", 0..1, "cannot be empty"),
            ("a/B", 2..3, "lower case"),
            ("debian:", 7..8, "tag"),
            ("debian:ä", 7..9, "tag"),
            ("docker://a/B", 11..12, "lower case"),
            ("https://a.io/b", 0..8, "no scheme"),
            ("./dir", 0..5, "is a path"),
            ("oci:", 0..4, "no path"),
            ("oci:dir:", 7..8, "nothing stands"),
            ("oci:dir:a b", 9..10, "no spaces"),
            ("oci:dir@sha256:12", 8..17, "64"),
            ("docker-archive:x:a/B", 19..20, "lower case"),
            ("docker-daemon:x", 0..14, "docker-daemon:"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.reason.contains(part), "{text}: {error}");
        }
    }
}
