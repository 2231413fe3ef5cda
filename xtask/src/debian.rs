//! Debian's packages as the host gets them: from which mirror, and how to have a few of them
//! without installing them.
//!
//! The mirror is the one that the host's apt is configured with; none is compiled in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{setup, shell};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian archive and the suite the host uses of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) address: String,
    pub(crate) suite: String,
}

/// The host's Debian mirror.
pub(crate) fn host_mirror() -> Result<Mirror> {
    let mut texts = Vec::new();
    let folder = Path::new("/etc/apt/sources.list.d");
    if let Ok(entries) = fs::read_dir(folder) {
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        texts.extend(
            paths
                .iter()
                .filter_map(|path| fs::read_to_string(path).ok()),
        );
    }
    texts.extend(fs::read_to_string("/etc/apt/sources.list").ok());
    texts
        .iter()
        .flat_map(|text| sources(text))
        .find(is_main_archive)
        .context("no Debian archive in this machine's apt sources (/etc/apt)")
}

/// Downloads packages of an architecture and unpacks them below `folder`; returns where their files
/// are. What they depend on does not come along.
pub(crate) fn unpack(
    mirror: &Mirror,
    architecture: &str,
    names: &[&str],
    folder: &Path,
) -> Result<PathBuf> {
    setup::ensure(&[&setup::DPKG])?;
    let unpacked = folder.join("unpacked");
    for package in &download(mirror, architecture, names, folder)? {
        let mut command = Command::new("dpkg-deb");
        shell::quietly(command.arg("-x").arg(package).arg(&unpacked))?;
    }
    Ok(unpacked)
}

/// Downloads packages of an architecture to `folder/packages` and returns their files. Needs no
/// rights and leaves the host's own package lists alone.
fn download(
    mirror: &Mirror,
    architecture: &str,
    names: &[&str],
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let packages = folder.join("packages");
    for part in ["lists/partial", "cache/archives/partial", "packages"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let list = folder.join("sources.list");
    fs::write(
        &list,
        format!(
            "deb [signed-by={KEYRING}] {} {} main\n",
            mirror.address, mirror.suite
        ),
    )?;
    fs::write(folder.join("status"), "")?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.current_dir(&packages);
        for (key, value) in [
            ("Dir::Etc::SourceList", list.as_path()),
            ("Dir::Etc::SourceParts", Path::new("-")),
            ("Dir::State::Lists", &folder.join("lists")),
            ("Dir::State::Status", &folder.join("status")),
            ("Dir::Cache", &folder.join("cache")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command.args(["-qq", "-o", "APT::Sandbox::User="]);
        command.args(["-o", &format!("APT::Architecture={architecture}")]);
        command.args(["-o", &format!("APT::Architectures={architecture}")]);
        command
    };
    shell::quietly(apt().arg("update"))?;
    shell::quietly(apt().arg("download").args(names))?;
    let mut files: Vec<PathBuf> = fs::read_dir(&packages)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    files.sort();
    if files.len() < names.len() {
        bail!("apt did not download all of {}", names.join(", "));
    }
    Ok(files)
}

/// The archives that a sources file names, in either of apt's two formats.
fn sources(text: &str) -> Vec<Mirror> {
    let stanzas = text.split("\n\n").filter_map(stanza);
    let lines = text.lines().filter_map(one_line);
    stanzas.chain(lines).collect()
}

/// An archive in the format of `*.sources`: fields, of which the first word of two matters here.
fn stanza(text: &str) -> Option<Mirror> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next().map(str::to_owned)
    };
    Some(Mirror {
        address: field("URIs:")?,
        suite: field("Suites:")?,
    })
}

/// An archive in the format of `sources.list`: `deb [options] ADDRESS SUITE COMPONENT…`.
fn one_line(text: &str) -> Option<Mirror> {
    let value = text.trim().strip_prefix("deb ")?.trim();
    // The options may hold spaces.
    let value = match value
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((_, rest)) => rest,
        None => value,
    };
    let mut words = value.split_whitespace();
    Some(Mirror {
        address: words.next()?.to_owned(),
        suite: words.next()?.to_owned(),
    })
}

/// Not the security archive, not a vendor's own: one that has all of Debian.
fn is_main_archive(mirror: &Mirror) -> bool {
    let path = mirror.address.trim_end_matches('/');
    path.starts_with("http") && path.ends_with("/debian") && !mirror.suite.contains("-security")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(address: &str, suite: &str) -> Mirror {
        Mirror {
            address: address.to_owned(),
            suite: suite.to_owned(),
        }
    }

    #[test]
    fn both_formats_of_sources_are_read() {
        let stanzas = "Types: deb\n# a comment\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\n\n\
                       Types: deb\nURIs: http://a.example/debian-security\nSuites: bookworm-security\n";
        assert_eq!(
            sources(stanzas),
            [
                mirror("http://a.example/debian", "bookworm"),
                mirror("http://a.example/debian-security", "bookworm-security"),
            ]
        );
        let lines = "# deb http://no.example/debian sid main\n\
                     deb [arch=amd64 signed-by=/k.gpg] https://b.example/debian trixie main contrib\n\
                     deb-src http://b.example/debian trixie main\n";
        assert_eq!(
            sources(lines),
            [mirror("https://b.example/debian", "trixie")]
        );
    }

    #[test]
    fn only_the_main_archive_counts() {
        for (address, suite, main) in [
            ("http://a.example/debian", "bookworm", true),
            ("http://a.example/debian/", "bookworm", true),
            (
                "http://a.example/debian-security",
                "bookworm-security",
                false,
            ),
            ("http://a.example/apt", "cloud-sdk-bookworm", false),
            ("cdrom:[Debian]/debian", "bookworm", false),
        ] {
            assert_eq!(is_main_archive(&mirror(address, suite)), main, "{address}");
        }
    }
}
