//! A folder of `examples/images`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{example, peers, shell};

/// What of a case is not part of its context.
const OWN_FILES: [&str; 3] = ["smoke.sh", "prepare.sh", "build-args"];

/// What every `smoke.sh` may call: until a command succeeds, for a minute at most.
const HELPERS: &str = r#"
set -euo pipefail
wait_for() {
    for _ in $(seq 120); do "$@" >/dev/null 2>&1 && return 0; sleep 0.5; done
    echo "$* never succeeded" >&2
    docker logs "${container:-}" >&2 || true
    return 1
}
"#;

pub(super) struct Case {
    pub(super) name: String,
    /// `NAME=VALUE`.
    pub(super) build_args: Vec<String>,
    folder: PathBuf,
}

impl Case {
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for entry in fs::read_dir(folder).context("cannot list the images")? {
            let folder = entry?.path();
            if !folder.join("Dockerfile").is_file() {
                continue;
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let build_args = match fs::read_to_string(folder.join("build-args")) {
                Ok(text) => text.lines().map(str::to_owned).collect(),
                Err(_) => Vec::new(),
            };
            cases.push(Self {
                name: name.into_owned(),
                build_args,
                folder,
            });
        }
        cases.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(cases)
    }

    /// The suites of Debian that its stages start from.
    pub(super) fn suites(&self) -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(self.folder.join("Dockerfile"))?;
        Ok(suites_of(&text))
    }

    /// Makes the context in an empty folder.
    pub(super) fn copy_context(&self, to: &Path) -> Result<()> {
        example::replace_folder(to)?;
        let mut command = Command::new("cp");
        shell::quietly(command.arg("-a").arg(self.folder.join(".")).arg(to))?;
        if to.join("prepare.sh").exists() {
            shell::quietly(Command::new("sh").arg("prepare.sh").current_dir(to))?;
        }
        for name in OWN_FILES {
            match fs::remove_file(to.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The Dockerfile as BuildKit can read it where there is no Docker Hub to get the frontend from.
    pub(super) fn without_syntax(&self, context: &Path) -> Result<PathBuf> {
        let text = fs::read_to_string(context.join("Dockerfile"))?;
        let path = context.with_extension("Dockerfile");
        let kept = text.lines().filter(|line| !line.starts_with("# syntax="));
        let kept: Vec<&str> = kept.collect();
        fs::write(&path, kept.join("\n") + "\n")?;
        Ok(path)
    }

    /// Starts the image as its `smoke.sh` says; returns what that printed.
    pub(super) fn smoke(&self, docker: &peers::Peers, image: &str) -> Result<String> {
        let script = self.folder.join("smoke.sh");
        let text = fs::read_to_string(&script)
            .with_context(|| format!("cannot read {}", script.display()))?;
        let mut command = Command::new("bash");
        if let Some(host) = docker.docker_host() {
            command.env("DOCKER_HOST", host);
        }
        command.args(["-c", &format!("{HELPERS}\n{text}"), "smoke.sh", image]);
        shell::read(&mut command).with_context(|| format!("the smoke test of {image} failed"))
    }
}

fn suites_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ":=-".contains(c)));
    words
        .filter_map(|word| {
            let suite = word.split([':', '=']).next_back()?.strip_suffix("-slim")?;
            (!suite.is_empty()).then(|| suite.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_where_they_are_named() {
        let text = "ARG VARIANT=bookworm-slim\nFROM debian:${VARIANT}\nFROM --platform=x debian:trixie-slim AS y\nRUN make-slim\n";
        let found = suites_of(text);
        assert!(
            found.contains("bookworm") && found.contains("trixie"),
            "{found:?}"
        );
    }
}
