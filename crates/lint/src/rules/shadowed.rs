//! What is installed where a volume or a mount will hide it.
//!
//! The trap: a base sets an install prefix that lies below a path where users mount a volume, so that
//! what they install outlives the container. An image on it installs something the same way, and it is
//! gone as soon as the volume is mounted.

use std::collections::BTreeMap;

use crate::image::shown;
use crate::stack::Stacked;
use crate::{Entry, Finding, Image, Kind, Rule, Spot};

pub(crate) fn shadowed(image: &Image, stacked: &Stacked<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for root in roots(image) {
        findings.extend(below_root(image, stacked, &root));
    }
    findings
}

/// A path that something else will be mounted over.
struct Root {
    /// Without `/` at the ends.
    path: String,
    is_volume: bool,
}

/// The outermost ones: what lies below another is hidden by that.
fn roots(image: &Image) -> Vec<Root> {
    let mut roots: BTreeMap<String, bool> = BTreeMap::new();
    let clean = |path: &str| {
        let names = path
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".");
        names.collect::<Vec<_>>().join("/")
    };
    for path in &image.mounts {
        roots.insert(clean(path), false);
    }
    for path in &image.config.volumes {
        roots.entry(clean(path)).or_insert(true);
    }
    roots.remove("");
    let all: Vec<String> = roots.keys().cloned().collect();
    roots
        .into_iter()
        .filter(|(path, _)| {
            !all.iter()
                .any(|other| other != path && is_below(path, other))
        })
        .map(|(path, is_volume)| Root { path, is_volume })
        .collect()
}

fn is_below(path: &str, root: &str) -> bool {
    path == root
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('/'))
}

fn below_root(image: &Image, stacked: &Stacked<'_>, root: &Root) -> Vec<Finding> {
    let start = format!("{}/", root.path);
    let mut layers: BTreeMap<usize, (Vec<Spot>, Vec<Spot>)> = BTreeMap::new();
    for (path, layer, entry) in stacked.own(image) {
        if !path.starts_with(start.as_bytes())
            || !matches!(entry.kind, Kind::File | Kind::Symlink)
            || is_trifle(image, stacked, root, path, entry)
        {
            continue;
        }
        let (programs, data) = layers.entry(layer).or_default();
        let spot = Spot::file(path, entry.size);
        if is_program(image, path, entry) {
            programs.push(spot);
        } else {
            data.push(spot);
        }
    }
    let started = started_program(image, stacked, root);
    let found = layers.into_iter().map(|(layer, (mut spots, data))| {
        let has_program = !spots.is_empty();
        // Links come first: they bear the names that people type.
        spots.sort_by(|a, b| a.bytes.cmp(&b.bytes).then_with(|| a.path.cmp(&b.path)));
        spots.extend(data);
        let place = shown(root.path.as_bytes());
        let what = if root.is_volume { "the volume" } else { "the mount" };
        let rule = if has_program {
            Rule::ShadowedProgram
        } else {
            Rule::ShadowedData
        };
        let title = match rule {
            Rule::ShadowedProgram => format!("programs that {what} {place} will hide"),
            _ => format!("files that {what} {place} will hide"),
        };
        let names: Vec<String> = spots.iter().map(|spot| spot.path.clone()).collect();
        let variables = pointing_variables(image, root, &names);
        let help = match variables.first() {
            Some((name, _)) if rule == Rule::ShadowedProgram => format!(
                "set {name} to another place in the instruction that installs, as in `RUN {name}={} …`",
                elsewhere(name)
            ),
            _ => format!("put them anywhere else, or copy them below {place} when the container starts"),
        };
        let mut finding = Finding::new(rule, title, help).in_layer(layer);
        finding.take(spots, false);
        if root.is_volume {
            finding.notes.push(format!(
                "a volume that is new and empty gets a copy of {place}; one that is there already, and a bind mount, hide what the image has"
            ));
        }
        for (name, value) in &variables {
            finding
                .notes
                .push(format!("ENV {name}={value} points below {place}"));
        }
        if let Some(program) = &started {
            finding
                .notes
                .push(format!("the image starts {program}, which is one of them"));
        }
        finding
    });
    found.collect()
}

/// What is there on purpose: places held open, and what every new home directory has.
fn is_trifle(
    image: &Image,
    stacked: &Stacked<'_>,
    root: &Root,
    path: &[u8],
    entry: &Entry,
) -> bool {
    if entry.kind == Kind::File && entry.size == 0 {
        return true;
    }
    let below = &path[root.path.len() + 1..];
    let name = below.rsplit(|&byte| byte == b'/').next().unwrap_or(below);
    let pattern = [b"etc/skel/", name].concat();
    stacked
        .visible
        .get(pattern.as_slice())
        .is_some_and(|layer| {
            let model = &image.layers[*layer].entries[pattern.as_slice()];
            model.kind == entry.kind && model.size == entry.size && model.target == entry.target
        })
}

/// The directories that programs are looked for in.
fn search_path(image: &Image) -> Vec<String> {
    let path = image
        .config
        .env
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="));
    path.unwrap_or_default()
        .split(':')
        .map(|directory| directory.trim_matches('/').to_owned())
        .filter(|directory| !directory.is_empty())
        .collect()
}

fn is_program(image: &Image, path: &[u8], entry: &Entry) -> bool {
    match entry.kind {
        Kind::File => entry.mode & 0o111 != 0,
        Kind::Symlink => {
            let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            let folder = &path[..end];
            search_path(image)
                .iter()
                .any(|one| one.as_bytes() == folder)
        }
        Kind::Dir | Kind::Special | Kind::Whiteout => false,
    }
}

/// Variables that name a place below the root with some of the files in it.
fn pointing_variables(image: &Image, root: &Root, files: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for variable in &image.config.env {
        let Some((name, value)) = variable.split_once('=') else {
            continue;
        };
        let place = value.trim_matches('/');
        let holds = |file: &String| is_below(file.trim_start_matches('/'), place);
        if name != "HOME" && name != "PWD" && is_below(place, &root.path) && files.iter().any(holds)
        {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}

/// A place that suits a variable of a known installer.
fn elsewhere(variable: &str) -> &'static str {
    match variable {
        "NPM_CONFIG_PREFIX" | "npm_config_prefix" | "PREFIX" => "/usr",
        "PNPM_HOME" => "/usr/local/share/pnpm",
        "PIPX_HOME" | "UV_TOOL_DIR" => "/opt/tools",
        "PIPX_BIN_DIR" | "UV_TOOL_BIN_DIR" | "GOBIN" => "/usr/local/bin",
        "CARGO_HOME" | "CARGO_INSTALL_ROOT" | "PYTHONUSERBASE" => "/usr/local",
        _ => "/opt/NAME",
    }
}

/// The program that the image starts, when it lies below the root.
fn started_program(image: &Image, stacked: &Stacked<'_>, root: &Root) -> Option<String> {
    let words = image.config.entrypoint.iter().chain(&image.config.cmd);
    let first = words.into_iter().next()?;
    let is_hidden = |path: &str| is_below(path, &root.path);
    if first.contains('/') {
        let path = first.trim_start_matches('/');
        return is_hidden(path).then(|| first.clone());
    }
    let found = search_path(image).into_iter().find_map(|folder| {
        let path = format!("{folder}/{first}");
        stacked
            .visible
            .contains_key(path.as_bytes())
            .then_some(path)
    })?;
    is_hidden(&found).then(|| format!("/{found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{dir, file, image, link, mode, told};

    /// The base of S0, and a variant on it that falls into its trap.
    fn trap() -> Image {
        let mut image = image(
            1,
            &[
                &[
                    ("usr/bin/npm", mode(0o755, file(1))),
                    ("etc/skel/.bashrc", file(3500)),
                ],
                &[
                    (
                        "home/developer/.pi/npm-global/lib/node_modules/opencode-ai/cli.js",
                        mode(0o755, file(5000)),
                    ),
                    (
                        "home/developer/.pi/npm-global/lib/node_modules/opencode-ai/package.json",
                        file(700),
                    ),
                    (
                        "home/developer/.pi/npm-global/bin/opencode",
                        link("../lib/node_modules/opencode-ai/cli.js"),
                    ),
                ],
            ],
        );
        image.mounts = vec!["/home/developer/.pi".into()];
        image.config.env = vec![
            "PATH=/home/developer/.pi/npm-global/bin:/usr/bin".into(),
            "HOME=/home/developer".into(),
            "NPM_CONFIG_PREFIX=/home/developer/.pi/npm-global".into(),
        ];
        image
    }

    fn find(image: &Image) -> Vec<Finding> {
        shadowed(image, &Stacked::new(image))
    }

    #[test]
    fn the_trap_of_the_install_prefix_is_found() {
        let mut image = trap();
        let findings = find(&image);
        assert_eq!(findings.len(), 1);
        let finding = &findings[0];
        assert_eq!(finding.rule, Rule::ShadowedProgram);
        assert_eq!(finding.layer, Some(1));
        assert_eq!(finding.spots.len(), 3);
        assert_eq!(
            finding.spots[0].path,
            "/home/developer/.pi/npm-global/bin/opencode"
        );
        assert_eq!(
            finding.title,
            "programs that the mount /home/developer/.pi will hide"
        );
        assert!(
            finding.help.contains("RUN NPM_CONFIG_PREFIX=/usr"),
            "{}",
            finding.help
        );
        assert_eq!(
            finding.notes,
            [
                "ENV NPM_CONFIG_PREFIX=/home/developer/.pi/npm-global points below /home/developer/.pi"
            ]
        );
        // What the image starts is gone, too.
        image.config.cmd = vec!["opencode".into()];
        let notes = &find(&image)[0].notes;
        assert!(
            notes[1].contains("/home/developer/.pi/npm-global/bin/opencode"),
            "{notes:?}"
        );
        // Without the mount there is no trap, and with the cure neither: PATH may look there.
        image.mounts.clear();
        assert!(find(&image).is_empty());
        let mut cured = trap();
        let paths: Vec<Vec<u8>> = cured.layers[1].entries.keys().cloned().collect();
        for path in paths {
            let entry = cured.layers[1].entries.remove(&path).unwrap();
            let text = String::from_utf8(path).unwrap();
            let text = text.replace("home/developer/.pi/npm-global", "usr");
            cured.layers[1].entries.insert(text.into_bytes(), entry);
        }
        assert!(find(&cured).is_empty());
    }

    #[test]
    fn data_is_told_apart_and_trifles_are_passed_over() {
        let with = |volume: &str, files: &[(&str, Entry)]| {
            let mut image = image(1, &[&[("etc/skel/.bashrc", file(3500))], files]);
            image.config.volumes = vec![volume.into()];
            told(&find(&image))
        };
        assert_eq!(
            with("/data", &[("data/x", file(9)), ("database", file(9))]),
            ["shadowed-data@1 9 0: /data/x"]
        );
        assert_eq!(
            with("/data/", &[("data/bin/x", mode(0o755, file(9)))]),
            ["shadowed-program@1 9 0: /data/bin/x"]
        );
        let none: [String; 0] = [];
        assert_eq!(
            with("/data", &[("data", dir(0o755)), ("data/.keep", file(0))]),
            none
        );
        assert_eq!(with("/home/me", &[("home/me/.bashrc", file(3500))]), none);
        assert_eq!(with("/data", &[("data2/x", file(9))]), none);
        // A file that is mounted over is replaced on purpose.
        assert_eq!(with("/etc/app.conf", &[("etc/app.conf", file(9))]), none);
        // What the base has below its own volume is the base's affair.
        let mut image = image(1, &[&[("data/x", file(9))], &[("y", file(9))]]);
        image.config.volumes = vec!["/data".into()];
        assert!(find(&image).is_empty());
    }

    #[test]
    fn a_mount_inside_another_is_told_once() {
        let mut image = image(0, &[&[("a/b/x", file(9))]]);
        image.config.volumes = vec!["/a/b".into()];
        image.mounts = vec!["/a".into(), "/a".into()];
        assert_eq!(told(&find(&image)), ["shadowed-data@0 9 0: /a/b/x"]);
    }
}
