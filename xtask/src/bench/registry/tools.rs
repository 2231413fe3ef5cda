//! How each tool is asked for the same thing: in its own best way, as its documentation has it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::images::TAG;
use crate::launchway::Launchway;
use crate::peers::{self, Peers};
use crate::{setup, shell};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Launchway,
    Crane,
    Oras,
    Skopeo,
    Imagetools,
}

impl Tool {
    pub(super) const ALL: [Self; 5] = [
        Self::Launchway,
        Self::Crane,
        Self::Oras,
        Self::Skopeo,
        Self::Imagetools,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Launchway => "launchway",
            Self::Crane => "crane",
            Self::Oras => "oras",
            Self::Skopeo => "skopeo",
            Self::Imagetools => "buildx imagetools",
        }
    }
}

/// One thing to be done.
pub(super) enum Job {
    /// Which digests these references have.
    Digests(Vec<String>),
    /// All platforms, from one reference to another.
    Copy { from: String, to: String },
    /// Another tag in the same repository.
    Tag { reference: String, tag: String },
    /// Out of an OCI layout.
    Push { layout: PathBuf, to: String },
    /// All tags of a repository.
    Tags(String),
}

/// The tools that this machine has.
pub(super) struct Tools {
    launchway: Launchway,
    /// A Debian tree that holds the others, in case they are not on the PATH.
    tree: Option<PathBuf>,
    docker: Option<Peers>,
}

impl Tools {
    /// Sets up what is missing where that can be done, and says what stays out.
    pub(super) fn find(launchway: Launchway) -> Result<Self> {
        if let Some(script) = peers::script()
            && shell::is_root()
            && (!tree().join("usr/bin/crane").is_file() || peers::docker().is_err())
        {
            shell::run(Command::new(script).arg("up").stdout(std::io::stderr()))?;
        }
        let tree = Some(tree()).filter(|tree| tree.join("usr/bin/crane").is_file());
        if tree.is_none() {
            // The only one of them that Debian's stable release has.
            setup::ensure(&[&setup::SKOPEO])?;
        }
        let docker = peers::docker()
            .inspect_err(|error| {
                shell::say(&format!("without {}: {error:#}", Tool::Imagetools.title()));
            })
            .ok();
        let tools = Self {
            launchway,
            tree,
            docker,
        };
        for tool in [Tool::Crane, Tool::Oras, Tool::Skopeo] {
            if tools.program(tool.title()).is_none() {
                shell::say(&format!("without {}: it is not here", tool.title()));
            }
        }
        Ok(tools)
    }

    pub(super) fn launchway(&self) -> &Launchway {
        &self.launchway
    }

    /// What has to be started to get the job done; `None` if the tool is not here or does no such
    /// thing.
    pub(super) fn commands(&self, tool: Tool, job: &Job) -> Option<Vec<Command>> {
        if let (Tool::Launchway, Job::Digests(references)) = (tool, job) {
            let mut command = self.command(tool)?;
            command.arg("digest").args(references);
            return Some(vec![command]);
        }
        match job {
            Job::Digests(references) => references
                .iter()
                .map(|reference| {
                    let mut command = self.command(tool)?;
                    command.args(digest(tool, reference));
                    Some(command)
                })
                .collect(),
            Job::Copy { from, to } => self.one(tool, &copy(tool, from, to)),
            Job::Tag { reference, tag } => self.one(tool, &retag(tool, reference, tag)),
            Job::Push { layout, to } => self.one(tool, &push(tool, layout, to)?),
            Job::Tags(repository) => self.one(tool, &tags(tool, repository)?),
        }
    }

    fn one(&self, tool: Tool, words: &[String]) -> Option<Vec<Command>> {
        let mut command = self.command(tool)?;
        command.args(words);
        Some(vec![command])
    }

    fn command(&self, tool: Tool) -> Option<Command> {
        match tool {
            Tool::Launchway => Some(Command::new(self.launchway.program())),
            Tool::Imagetools => {
                let mut command = self.docker.as_ref()?.command();
                command.args(["buildx", "imagetools"]);
                Some(command)
            }
            Tool::Crane | Tool::Oras | Tool::Skopeo => self.program(tool.title()),
        }
    }

    fn program(&self, name: &str) -> Option<Command> {
        if let Some(tree) = &self.tree {
            return in_tree(tree, name);
        }
        shell::on_path(name).then(|| Command::new(name))
    }

    /// What everyone calls itself.
    pub(super) fn versions(&self) -> Result<Vec<String>> {
        let mut versions = vec![shell::read(
            Command::new(self.launchway.program()).arg("--version"),
        )?];
        if let Some(mut crane) = self.program("crane") {
            // A crane that a distribution built does not know its version.
            let own = shell::read(crane.arg("version")).unwrap_or_default();
            let known = own.starts_with(|first: char| first == 'v' || first.is_ascii_digit());
            let package = || self.package("crane").unwrap_or_else(|| "?".to_owned());
            versions.push(format!("crane {}", if known { own } else { package() }));
        }
        if let Some(mut oras) = self.program("oras") {
            let text = shell::read(oras.arg("version"))?;
            let number = text
                .lines()
                .find_map(|line| line.strip_prefix("Version:"))
                .context("oras told no version")?;
            versions.push(format!("oras {}", number.trim()));
        }
        if let Some(mut skopeo) = self.program("skopeo") {
            let text = shell::read(skopeo.arg("--version"))?;
            versions.push(text.replace(" version ", " "));
        }
        if let Some(docker) = &self.docker {
            versions.push(docker.versions()?);
        }
        Ok(versions)
    }

    /// The version of a Debian package in the tree.
    fn package(&self, name: &str) -> Option<String> {
        let status = self.tree.as_ref()?.join("var/lib/dpkg/status");
        let text = std::fs::read_to_string(status).ok()?;
        let stanza = text
            .split("\n\n")
            .find(|stanza| stanza.starts_with(&format!("Package: {name}\n")))?;
        let version = stanza
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))?;
        Some(version.to_owned())
    }
}

fn digest(tool: Tool, reference: &str) -> Vec<String> {
    match tool {
        Tool::Launchway | Tool::Crane => words(&["digest", reference]),
        Tool::Oras => words(&["resolve", "--plain-http", reference]),
        // Its way to a digest by name reads the configuration, too; this is the least it can do.
        Tool::Skopeo => words(&["inspect", "--raw", "--tls-verify=false", &docker(reference)]),
        Tool::Imagetools => words(&["inspect", "--format", "{{.Manifest.Digest}}", reference]),
    }
}

fn copy(tool: Tool, from: &str, to: &str) -> Vec<String> {
    match tool {
        Tool::Launchway | Tool::Crane => words(&["copy", from, to]),
        Tool::Oras => words(&["cp", "--from-plain-http", "--to-plain-http", from, to]),
        Tool::Skopeo => {
            let [from, to] = [docker(from), docker(to)];
            let mut words = words(&["--insecure-policy", "copy", "--all", "--quiet"]);
            words.extend(["--src-tls-verify=false", "--dest-tls-verify=false"].map(str::to_owned));
            words.extend([from, to]);
            words
        }
        Tool::Imagetools => words(&["create", "--progress=none", "--tag", to, from]),
    }
}

fn retag(tool: Tool, reference: &str, tag: &str) -> Vec<String> {
    let other = || match reference.rsplit_once(':') {
        Some((repository, _)) => format!("{repository}:{tag}"),
        None => format!("{reference}:{tag}"),
    };
    match tool {
        Tool::Crane => words(&["tag", reference, tag]),
        Tool::Oras => words(&["tag", "--plain-http", reference, tag]),
        Tool::Launchway | Tool::Skopeo | Tool::Imagetools => copy(tool, reference, &other()),
    }
}

fn push(tool: Tool, layout: &Path, to: &str) -> Option<Vec<String>> {
    let path = layout.display();
    let named = format!("oci:{path}:{TAG}");
    match tool {
        Tool::Launchway => Some(words(&["copy", &named, to])),
        Tool::Crane => Some(words(&["push", &path.to_string(), to])),
        Tool::Oras => {
            let from = format!("{path}:{TAG}");
            Some(words(&[
                "cp",
                "--from-oci-layout",
                "--to-plain-http",
                &from,
                to,
            ]))
        }
        Tool::Skopeo => {
            let to = docker(to);
            let mut words = words(&["--insecure-policy", "copy", "--quiet"]);
            words.extend(["--dest-tls-verify=false".to_owned(), named, to]);
            Some(words)
        }
        Tool::Imagetools => None,
    }
}

fn tags(tool: Tool, repository: &str) -> Option<Vec<String>> {
    match tool {
        Tool::Launchway => Some(words(&["registry", "tags", repository])),
        Tool::Crane => Some(words(&["ls", repository])),
        Tool::Oras => Some(words(&["repo", "tags", "--plain-http", repository])),
        Tool::Skopeo => Some(words(&[
            "list-tags",
            "--tls-verify=false",
            &docker(repository),
        ])),
        Tool::Imagetools => None,
    }
}

fn docker(reference: &str) -> String {
    format!("docker://{reference}")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Where the `peers` script keeps the newest Debian packages of the tools.
fn tree() -> PathBuf {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let cache = || {
        let home = || variable("HOME").unwrap_or_default().join(".cache");
        variable("XDG_CACHE_HOME").unwrap_or_else(home)
    };
    variable("PEERS_DIR")
        .unwrap_or_else(|| cache().join("launchway-peers"))
        .join("sid")
}

/// A program of the tree with the tree's own loader and libraries. The `peers` script does the
/// same, after starting a shell, which would count here.
fn in_tree(tree: &Path, name: &str) -> Option<Command> {
    let program = tree.join("usr/bin").join(name);
    let triplet = format!("{}-linux-gnu", env::consts::ARCH);
    let loader = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"]
        .map(|place| tree.join(place))
        .into_iter()
        .find(|loader| loader.is_file())?;
    if !program.is_file() {
        return None;
    }
    let mut command = Command::new(loader);
    command.arg("--library-path");
    command.arg(tree.join("usr/lib").join(triplet));
    command.arg(program);
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_replaces_the_last_colon_only() {
        for (reference, expected) in [
            ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:new"),
            ("a/b:v1", "a/b:new"),
        ] {
            let words = retag(Tool::Launchway, reference, "new");
            assert_eq!(words, ["copy", reference, expected]);
        }
    }
}
