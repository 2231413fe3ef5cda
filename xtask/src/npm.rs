//! What the npm registry has, as far as the example needs to know: versions to pin.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{setup, shell};

/// The address of the user's npm registry. Without any npm configuration, npm itself is asked, and
/// installed for that.
pub(crate) fn registry() -> Result<String> {
    if let Some(address) = configured() {
        return Ok(address);
    }
    setup::ensure(&[&setup::NPM])?;
    let address = shell::read(Command::new("npm").args(["config", "get", "registry"]))?;
    Ok(address.trim_end_matches('/').to_owned())
}

/// The newest versions of `package` for which every one of `parts` exists too, newest first. A
/// mirror may have a package before it has all the parts of it.
pub(crate) fn complete_versions(package: &str, parts: &[String]) -> Result<Vec<String>> {
    let registry = registry()?;
    let mut common = versions(&registry, package)?;
    for part in parts {
        let have = versions(&registry, part)?;
        common.retain(|version| have.contains(version));
    }
    common.sort_by_key(|version| Reverse(numbers(version)));
    Ok(common)
}

/// All versions that are not pre-releases.
fn versions(registry: &str, package: &str) -> Result<Vec<String>> {
    let address = format!("{registry}/{}", package.replace('/', "%2f"));
    let text = shell::read(
        Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--location"])
            .args(["--max-time", "60", "--retry", "2"])
            .args(["--header", "Accept: application/vnd.npm.install-v1+json"])
            .arg(&address),
    )
    .with_context(|| format!("cannot learn the versions of {package}"))?;
    let document: Value = serde_json::from_str(&text)
        .with_context(|| format!("{address} did not answer with JSON"))?;
    let Some(versions) = document["versions"].as_object() else {
        bail!("{address} lists no versions");
    };
    let released = versions.keys().filter(|version| !version.contains('-'));
    Ok(released.cloned().collect())
}

fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split('.');
    parts.map(|part| part.parse().unwrap_or_default()).collect()
}

fn configured() -> Option<String> {
    let variables = ["npm_config_registry", "NPM_CONFIG_REGISTRY"];
    let from_variable = variables.iter().find_map(|name| std::env::var(name).ok());
    let from_file = || {
        let file = PathBuf::from(std::env::var_os("HOME")?).join(".npmrc");
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(registry_of_line)
    };
    let address = from_variable.or_else(from_file)?;
    Some(address.trim_end_matches('/').to_owned())
}

fn registry_of_line(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    (key.trim() == "registry").then(|| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_is_by_number() {
        let mut versions = ["1.9.0", "1.10.0", "0.75.5", "1.10.1"].map(str::to_owned);
        versions.sort_by_key(|version| Reverse(numbers(version)));
        assert_eq!(versions, ["1.10.1", "1.10.0", "1.9.0", "0.75.5"]);
    }

    #[test]
    fn the_registry_of_an_npmrc() {
        for (line, found) in [
            (
                "registry=https://npm.example/",
                Some("https://npm.example/"),
            ),
            (
                "registry = \"https://npm.example\"",
                Some("https://npm.example"),
            ),
            ("@scope:registry=https://other.example", None),
            ("; registry", None),
        ] {
            assert_eq!(registry_of_line(line).as_deref(), found, "{line}");
        }
    }
}
