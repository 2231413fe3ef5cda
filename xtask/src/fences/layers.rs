//! Who may depend on whom, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// The crates from the bottom up. A crate may depend on crates of lower rows only.
const LAYERS: &[&[&str]] = &[
    &["launchway-model"],
    &["launchway-diagnostics", "launchway-lint"],
    &[
        "launchway-manifest",
        "launchway-dockerfile",
        "launchway-oci",
        "launchway-sandbox",
        "launchway-ssh",
    ],
    &[
        "launchway-plan",
        "launchway-registry",
        "launchway-registry-server",
        "launchway-context",
        "launchway-git",
    ],
    &[
        "launchway-engine",
        "launchway-observe",
        "launchway-transfer",
    ],
    &["launchway-release"],
    &["launchway"],
];

/// Crates that take values and return values. They may depend on each other and on nothing that
/// waits, opens, or asks the machine.
const PURE: &[&str] = &[
    "launchway-model",
    "launchway-diagnostics",
    "launchway-lint",
    "launchway-manifest",
    "launchway-dockerfile",
    "launchway-plan",
];

/// What no pure crate may have below it.
const EFFECTS: &[&str] = &[
    "async-std",
    "futures-executor",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "nix",
    "rand",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "ureq",
    "walkdir",
];

/// Crates that only some may use, and who.
const RESERVED: &[(&str, &[&str])] = &[
    ("anyhow", &["launchway", "xtask"]),
    ("clap", &["launchway", "xtask"]),
    ("reqwest", &["launchway-registry", "launchway-observe"]),
];

/// The crate that may not forbid what the others forbid, so it has to repeat the rest.
const LINTS_OF_ITS_OWN: &str = "launchway-sandbox";

/// For tests only: nothing that ships has it below it.
const TESTS_ONLY: &[&str] = &["launchway-testkit", "xtask"];

/// A workspace crate and what it depends on when it is built for use.
struct Crate {
    direct: BTreeSet<String>,
    all: BTreeSet<String>,
    inherits_lints: bool,
}

pub(super) fn check() -> Result<Vec<String>> {
    let crates = workspace()?;
    let mut broken = Vec::new();
    let row = |name: &str| LAYERS.iter().position(|row| row.contains(&name));
    for (name, found) in &crates {
        if !found.inherits_lints && name != LINTS_OF_ITS_OWN {
            broken.push(format!(
                "{name}: its Cargo.toml lacks `[lints] workspace = true`"
            ));
        }
        for (reserved, users) in RESERVED {
            if found.direct.contains(*reserved) && !users.contains(&name.as_str()) {
                broken.push(format!(
                    "{name} depends on {reserved}, which is for {}",
                    users.join(", ")
                ));
            }
        }
        if TESTS_ONLY.contains(&name.as_str()) {
            continue;
        }
        let Some(own) = row(name) else {
            broken.push(format!(
                "{name} has no row in the table of layers (xtask/src/fences/layers.rs)"
            ));
            continue;
        };
        for below in found
            .direct
            .iter()
            .filter(|below| crates.contains_key(*below))
        {
            if TESTS_ONLY.contains(&below.as_str()) {
                broken.push(format!("{name} depends on {below}, which is for tests"));
            } else if row(below).is_some_and(|row| row >= own) {
                broken.push(format!("{name} depends on {below}, which is not below it"));
            }
        }
        if PURE.contains(&name.as_str()) {
            for below in &found.all {
                let impure = crates.contains_key(below) && !PURE.contains(&below.as_str());
                if impure || EFFECTS.contains(&below.as_str()) {
                    broken.push(format!("{name} is pure, but has {below} below it"));
                }
            }
        }
    }
    Ok(broken)
}

fn workspace() -> Result<BTreeMap<String, Crate>> {
    let host = shell::read(std::process::Command::new("rustc").args(["--print", "host-tuple"]))
        .or_else(|_| host_from_version())?;
    let text = shell::read(shell::cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        &host,
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cannot read what cargo printed")?;
    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = array(&metadata["resolve"]["nodes"])
        .filter_map(|node| Some((node["id"].as_str()?, ordinary_dependencies(node))))
        .collect();
    let members = array(&metadata["workspace_members"]).filter_map(Value::as_str);
    let mut crates = BTreeMap::new();
    for member in members {
        let name = names.get(member).context("a member without a name")?;
        let package = array(&metadata["packages"])
            .find(|package| package["id"] == member)
            .context("a member without a package")?;
        let manifest = package["manifest_path"].as_str().context("no manifest")?;
        let manifest = std::fs::read_to_string(manifest)?;
        let named = |ids: BTreeSet<&str>| -> BTreeSet<String> {
            ids.iter()
                .filter_map(|id| names.get(id))
                .map(|&name| name.to_owned())
                .collect()
        };
        let direct = edges.get(member).into_iter().flatten().copied().collect();
        crates.insert(
            (*name).to_owned(),
            Crate {
                direct: named(direct),
                all: named(reachable(member, &edges)),
                inherits_lints: manifest.contains("[lints]\nworkspace = true"),
            },
        );
    }
    Ok(crates)
}

/// Before `--print host-tuple`, rustc told it only among other things.
fn host_from_version() -> Result<String> {
    let text = shell::read(std::process::Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// What a package needs to be built and used, without what only its tests need.
fn ordinary_dependencies(node: &Value) -> Vec<&str> {
    array(&node["deps"])
        .filter(|dependency| array(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev"))
        .filter_map(|dependency| dependency["pkg"].as_str())
        .collect()
}

fn reachable<'a>(from: &str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = edges.get(from).into_iter().flatten().copied().collect();
    while let Some(id) = open.pop() {
        if let Some((&id, below)) = edges.get_key_value(id)
            && found.insert(id)
        {
            open.extend(below);
        }
    }
    found
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
