//! Image references, by the grammar of `distribution/reference`, with Docker's defaults:
//! `debian` is `docker.io/library/debian`.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// The registry that a reference without a host names.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The longest path of a repository, in bytes.
const LONGEST_PATH: usize = 255;

/// A registry as people write it: `host`, `host:port` or `[v6]:port`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost(Box<str>);

/// A repository on a registry: `docker.io/library/debian`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    host: RegistryHost,
    path: Box<str>,
}

/// A tag: up to 128 characters of `[A-Za-z0-9_][A-Za-z0-9_.-]*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

/// A repository with a tag, a digest, both or neither.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

/// Why a text is not a reference. `at` is the byte offset of the first wrong character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReferenceError {
    pub at: usize,
    pub reason: &'static str,
}

fn wrong(at: usize, reason: &'static str) -> ReferenceError {
    ReferenceError { at, reason }
}

impl RegistryHost {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name or address without the port.
    pub fn name(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.0,
        }
    }

    /// Whether this is the machine itself, where plain HTTP is harmless.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.name())
    }
}

/// Whether a host name or address is the loopback interface: `localhost`, 127.0.0.0/8 or `[::1]`.
pub fn is_loopback_host(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl FromStr for RegistryHost {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let close = rest.find(']').ok_or(wrong(
                0,
                "a registry address that opens with '[' closes with ']'",
            ))?;
            rest[..close]
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| wrong(1, "no IPv6 address stands between the brackets"))?;
            let after = &rest[close + 1..];
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err(wrong(
                    text.len() - after.len(),
                    "after the brackets of an address comes nothing but ':' and a port",
                ));
            }
            (None, port)
        } else {
            match text.split_once(':') {
                Some((name, port)) => (Some(name), Some(port)),
                None => (Some(text), None),
            }
        };
        if let Some(name) = name {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if let Some((at, _)) = name.char_indices().find(|&(_, c)| !good(c)) {
                return Err(wrong(
                    at,
                    "a registry host has letters, digits, '.', '-' and a port",
                ));
            }
            if name.is_empty() || name.starts_with(['.', '-']) || name.ends_with(['.', '-']) {
                return Err(wrong(
                    0,
                    "a registry host starts and ends with a letter or digit",
                ));
            }
        }
        if let Some(port) = port
            && port.parse::<u16>().is_err()
        {
            return Err(wrong(
                text.len() - port.len(),
                "a port is a number up to 65535",
            ));
        }
        let lower = text.to_ascii_lowercase();
        Ok(Self(match lower.as_str() {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.into(),
            _ => lower.into(),
        }))
    }
}

impl Repository {
    /// A repository on a host; `path` is checked against the grammar.
    pub fn new(host: RegistryHost, path: &str) -> Result<Self, ReferenceError> {
        check_path(path, 0)?;
        Ok(Self {
            host,
            path: path.into(),
        })
    }

    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn with_tag(&self, tag: Tag) -> Reference {
        Reference {
            repository: self.clone(),
            tag: Some(tag),
            digest: None,
        }
    }

    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            repository: self.clone(),
            tag: None,
            digest: Some(digest),
        }
    }
}

fn check_path(path: &str, offset: usize) -> Result<(), ReferenceError> {
    let mut at = offset;
    for part in path.split('/') {
        if part.is_empty() {
            return Err(wrong(at, "a repository has no empty parts"));
        }
        let good =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        if let Some((found, c)) = part.char_indices().find(|&(_, c)| !good(c)) {
            let reason = if c.is_ascii_uppercase() {
                "a repository is written in lower case"
            } else {
                "a repository has lower-case letters, digits, '.', '_', '-' and '/'"
            };
            return Err(wrong(at + found, reason));
        }
        if !part.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !part.ends_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Err(wrong(
                at,
                "each part of a repository starts and ends with a letter or digit",
            ));
        }
        let mut rest = part;
        while let Some(start) = rest.find(['.', '_', '-']) {
            let run = rest[start..]
                .find(|c: char| c.is_ascii_alphanumeric())
                .unwrap_or(rest.len() - start);
            let separator = &rest[start..start + run];
            let allowed =
                matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
            if !allowed {
                let position = at + part.len() - rest.len() + start;
                return Err(wrong(
                    position,
                    "separators are one '.', one or two '_', or any number of '-'",
                ));
            }
            rest = &rest[start + run..];
        }
        at += part.len() + 1;
    }
    if path.len() > LONGEST_PATH {
        return Err(wrong(offset, "a repository has at most 255 characters"));
    }
    Ok(())
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let good = |at: usize, c: char| {
            c.is_ascii_alphanumeric() || c == '_' || (at > 0 && matches!(c, '.' | '-'))
        };
        if text.is_empty() {
            return Err(wrong(0, "a tag cannot be empty"));
        }
        if let Some((at, _)) = text.char_indices().find(|&(at, c)| !good(at, c)) {
            return Err(wrong(
                at,
                "a tag has letters, digits, '_', '.' and '-', and does not start with '.' or '-'",
            ));
        }
        if text.len() > 128 {
            return Err(wrong(128, "a tag has at most 128 characters"));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(wrong(0, "a reference cannot be empty"));
        }
        let (host, path, offset) = match text.split_once('/') {
            Some((first, rest))
                if first.contains(['.', ':', '[']) || first.eq_ignore_ascii_case("localhost") =>
            {
                (first.parse::<RegistryHost>()?, rest, first.len() + 1)
            }
            _ => (RegistryHost(DEFAULT_REGISTRY.into()), text, 0),
        };
        check_path(path, offset)?;
        let path = if host.as_str() == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if path.len() > LONGEST_PATH {
            return Err(wrong(
                offset,
                "a repository has at most 255 characters, with Docker Hub's `library/`",
            ));
        }
        Ok(Self {
            host,
            path: path.into(),
        })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|_| wrong(named.len() + 1, "what follows '@' is not a digest"))?;
                (named, Some(digest))
            }
            None => (text, None),
        };
        let slash = named.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match named[slash..].find(':') {
            Some(colon) => {
                let start = slash + colon + 1;
                let tag = named[start..]
                    .parse::<Tag>()
                    .map_err(|error| ReferenceError {
                        at: start + error.at,
                        ..error
                    })?;
                (&named[..start - 1], Some(tag))
            }
            None => (named, None),
        };
        Ok(Self {
            repository: repository.parse()?,
            tag,
            digest,
        })
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

macro_rules! debug_as_display {
    ($($type:ty),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(RegistryHost, Tag, Repository, Reference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_defaults_are_filled_in() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, want) in [
            ("debian", "docker.io/library/debian"),
            ("debian:12", "docker.io/library/debian:12"),
            ("joakimp/devbox", "docker.io/joakimp/devbox"),
            ("index.docker.io/a/b", "docker.io/a/b"),
            ("Index.Docker.io/a/b", "docker.io/a/b"),
            ("localhost/a", "localhost/a"),
            ("localhost:5000/a:b", "localhost:5000/a:b"),
            ("127.0.0.1:5000/a/b__c:v1", "127.0.0.1:5000/a/b__c:v1"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("ghcr.io/x/y--z.w", "ghcr.io/x/y--z.w"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), want);
            let pinned = format!("{text}@{digest}");
            assert_eq!(
                pinned.parse::<Reference>().unwrap().to_string(),
                format!("{want}@{digest}")
            );
        }
    }

    #[test]
    fn errors_point_at_the_first_wrong_character() {
        for (text, at) in [
            ("", 0),
            ("Debian", 0),
            ("a/B", 2),
            ("a//b", 2),
            // In lower case this would be somebody's repository on Docker Hub.
            ("Host/a", 0),
            ("ghcr.io/x/y..z", 11),
            ("debian:", 7),
            ("debian:a b", 8),
            ("debian@sha256:12", 7),
            ("host:99999/x", 5),
            ("[::1]5000/x", 5),
            ("[::]\u{9879}/6", 4),
            ("a/_b", 2),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (host, want) in [
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("localhost:1", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("10.0.0.1", false),
            ("127.0.0.1.example.com", false),
        ] {
            assert_eq!(
                host.parse::<RegistryHost>().unwrap().is_loopback(),
                want,
                "{host}"
            );
        }
    }
}
