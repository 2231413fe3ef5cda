//! A first family file, written from the Dockerfiles that were found.
//!
//! It guesses carefully: what it writes is what the Dockerfiles' names and FROM lines say, and
//! everything it cannot know stands there as a comment that shows how it is done.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use launchway_model::{FeatureName, ImageName, VersionName};

/// A Dockerfile that was found, and what its FROM lines say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDockerfile {
    /// Relative to the folder the family file will stand in, with `/`.
    pub path: String,
    /// The names of its stages, in order; stages without a name are left out.
    pub stages: Vec<String>,
    /// What its stages start from, unexpanded, without its own stages and `scratch`.
    pub external_bases: Vec<String>,
    /// The names of all its ARGs.
    pub args: Vec<String>,
}

/// What is going to be written about one image.
struct Sketch<'d> {
    name: String,
    found: &'d FoundDockerfile,
    base: Option<Base>,
}

/// The image another one is built from.
struct Base {
    /// Its place among the sketches.
    at: usize,
    /// The ARG that FROM names it by; `None` when FROM has its name.
    arg: Option<String>,
}

const HEAD: &str = r#"# launchway.toml describes a family of container images: how they are built from one another,
# tested, tagged and published.
#
#   launchway plan              what would be done, and why
#   launchway release 1.0.0     build, test, publish, verify, promote
#
# All paths are relative to this file's folder.

[family]
name = "my-images"
platforms = ["linux/amd64"]                 # more: ["linux/amd64", "linux/arm64"]

# Where images are published: host and prefix. The first is the primary, the others are mirrors.
# For Docker Hub write "docker.io/YOUR-NAME". This one is `launchway registry serve`:
registries = ["localhost:5000"]
"#;

const NPM_EXAMPLE: &str = "opencode-ai";

/// A commented family file for these Dockerfiles. It parses without errors.
pub fn starter(dockerfiles: &[FoundDockerfile]) -> String {
    let fallback = [FoundDockerfile {
        path: "Dockerfile".to_owned(),
        stages: Vec::new(),
        external_bases: Vec::new(),
        args: Vec::new(),
    }];
    let usable: Vec<&FoundDockerfile> = dockerfiles
        .iter()
        .filter(|found| is_usable_path(&found.path))
        .collect();
    let found = if usable.is_empty() {
        fallback.iter().collect()
    } else {
        usable
    };
    let sketches = sketch(&found);
    let mut out = HEAD.to_owned();
    versions(&sketches, &mut out);
    if dockerfiles.is_empty() {
        out.push_str("\n# No Dockerfile was found; this is what an image looks like.");
    }
    for at in bases_first(&sketches) {
        image(&sketches, at, &mut out);
    }
    out
}

/// Paths the family file can name; a Dockerfile elsewhere is passed over.
fn is_usable_path(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains(|c: char| c == '\\' || c.is_control())
        && !path.split('/').any(|part| part == "..")
}

fn sketch<'d>(found: &[&'d FoundDockerfile]) -> Vec<Sketch<'d>> {
    let mut taken = BTreeSet::new();
    let mut sketches: Vec<Sketch<'d>> = Vec::new();
    for dockerfile in found {
        let wanted = image_name(&dockerfile.path);
        let mut name = wanted.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        sketches.push(Sketch {
            name,
            found: dockerfile,
            base: None,
        });
    }
    for at in 0..sketches.len() {
        let base = find_base(&sketches, at).filter(|base| !leads_to(&sketches, base.at, at));
        sketches[at].base = base;
    }
    sketches
}

/// The name a Dockerfile's path suggests: what stands beside `Dockerfile` in its file's name, or
/// else its folder.
fn image_name(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let lower = file.to_lowercase();
    let beside = ["dockerfile", "containerfile"].iter().find_map(|word| {
        let prefix = lower
            .strip_suffix(word)
            .map(|rest| rest.trim_end_matches(['.', '-', '_']));
        let suffix = lower
            .strip_prefix(word)
            .map(|rest| rest.trim_start_matches(['.', '-', '_']));
        prefix.filter(|rest| !rest.is_empty()).or(suffix)
    });
    let folder = folder.rsplit('/').next().unwrap_or("").to_lowercase();
    let word = match beside.unwrap_or(&lower) {
        "" if is_gathering_folder(&folder) => "app",
        "" => folder.as_str(),
        // A file for variants says nothing of what they are variants of.
        "variant" | "variants" => "app",
        beside => beside,
    };
    let cleaned: String = word
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    let cleaned = cleaned.trim_matches(['.', '_', '-']);
    if is_image_name(cleaned) {
        cleaned.to_owned()
    } else {
        "app".to_owned()
    }
}

fn is_image_name(text: &str) -> bool {
    // Names become parts of a repository's path, which allows no runs of other separators.
    text.parse::<ImageName>().is_ok()
        && !["..", "._", "_.", ".-", "-.", "_-", "-_", "___"]
            .iter()
            .any(|run| text.contains(run))
}

/// Folders that gather Dockerfiles and say nothing of the image; the context is above them.
fn is_gathering_folder(folder: &str) -> bool {
    matches!(
        folder,
        "" | "docker" | ".docker" | "build" | "ci" | "dockerfiles" | "container" | "containers"
    )
}

/// Which of the others an image is built from, by its FROM lines.
fn find_base(sketches: &[Sketch<'_>], at: usize) -> Option<Base> {
    let own = &sketches[at];
    let others = || (0..sketches.len()).filter(|other| *other != at);
    for from in &own.found.external_bases {
        if let Some(other) = others().find(|other| sketches[*other].name == *from) {
            return Some(Base {
                at: other,
                arg: None,
            });
        }
    }
    for from in &own.found.external_bases {
        let Some(arg) = variable(from) else { continue };
        if !arg.to_uppercase().contains("BASE") || arg.parse::<VersionName>().is_err() {
            continue;
        }
        let folder = |of: &Sketch<'_>| {
            of.found
                .path
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder)
                .to_owned()
        };
        let mut candidates: Vec<usize> = others()
            .filter(|other| sketches[*other].name.contains("base"))
            .collect();
        candidates.sort_by_key(|other| folder(&sketches[*other]) != folder(own));
        let only_other = (sketches.len() == 2).then(|| 1 - at);
        if let Some(other) = candidates.first().copied().or(only_other) {
            return Some(Base {
                at: other,
                arg: Some(arg.to_owned()),
            });
        }
    }
    None
}

/// The variable that a FROM consists of: `$BASE`, `${BASE}` or `${BASE:-debian}`.
fn variable(from: &str) -> Option<&str> {
    let rest = from.strip_prefix('$')?;
    match rest.strip_prefix('{') {
        Some(braced) => {
            let inner = braced.strip_suffix('}')?;
            Some(inner.split_once(':').map_or(inner, |(name, _)| name))
        }
        None => Some(rest),
    }
}

/// Whether following the bases from one image reaches another.
fn leads_to(sketches: &[Sketch<'_>], from: usize, to: usize) -> bool {
    let mut at = from;
    loop {
        if at == to {
            return true;
        }
        match &sketches[at].base {
            Some(base) => at = base.at,
            None => return false,
        }
    }
}

fn bases_first(sketches: &[Sketch<'_>]) -> Vec<usize> {
    let depth = |mut at: usize| {
        let mut depth = 0;
        while let Some(base) = &sketches[at].base {
            depth += 1;
            at = base.at;
        }
        depth
    };
    let mut order: Vec<usize> = (0..sketches.len()).collect();
    order.sort_by_key(|at| depth(*at));
    order
}

fn versions(sketches: &[Sketch<'_>], out: &mut String) {
    let names: BTreeSet<&str> = sketches
        .iter()
        .flat_map(|sketch| &sketch.found.args)
        .map(String::as_str)
        .filter(|arg| arg.ends_with("_VERSION") && arg.parse::<VersionName>().is_ok())
        .collect();
    out.push_str(
        "\n# Versions are resolved before anything is built, recorded, made part of the content hash, and\n\
         # passed to the Dockerfiles as build arguments of the same name.\n\
         [versions]\n",
    );
    if names.is_empty() {
        let _ = writeln!(
            out,
            "# TOOL_VERSION = {{ npm = \"{NPM_EXAMPLE}\" }}                      # the newest one"
        );
        let _ = writeln!(
            out,
            "# TOOL_VERSION = {{ npm = \"{NPM_EXAMPLE}\", accept = \"^1.15\" }}  # a range or a dist-tag"
        );
        out.push_str(
            "# TOOL_VERSION = \"1.2.3\"                                      # this one\n",
        );
    }
    for (at, name) in names.into_iter().enumerate() {
        let comment = if at == 0 {
            "   # or a version: \"1.2.3\""
        } else {
            ""
        };
        let _ = writeln!(out, "# {name} = {{ npm = \"PACKAGE\" }}{comment}");
    }
}

fn image(sketches: &[Sketch<'_>], at: usize, out: &mut String) {
    let sketch = &sketches[at];
    let name = &sketch.name;
    let dependents: Vec<usize> = (0..sketches.len())
        .filter(|other| {
            sketches[*other]
                .base
                .as_ref()
                .is_some_and(|base| base.at == at)
        })
        .collect();
    let _ = write!(out, "\n[image.{}]\n", quoted_key(name));
    if let Some(base) = &sketch.base {
        let base_name = &sketches[base.at].name;
        let _ = writeln!(
            out,
            "from = {}    # its Dockerfile says FROM {}",
            quoted(base_name),
            base.arg
                .as_deref()
                .map_or_else(|| base_name.clone(), |arg| format!("${{{arg}}}")),
        );
    }
    let _ = writeln!(out, "dockerfile = {}", quoted(&sketch.found.path));
    if let Some(context) = context(&sketch.found.path) {
        let _ = writeln!(out, "context = {}    # what COPY sees", quoted(context));
    }
    // A base with one dependent is a part of it, and lives in its repository.
    let repository = match dependents[..] {
        [only] if sketch.base.is_none() => &sketches[only].name,
        _ => name,
    };
    let _ = writeln!(out, "repository = {}", quoted(repository));
    if let Some(arg) = sketch
        .base
        .as_ref()
        .and_then(|base| Some((base.arg.as_ref()?, base.at)))
    {
        let _ = writeln!(
            out,
            "args = {{ {} = {} }}    # images of the family go by their names in FROM",
            arg.0,
            quoted(&sketches[arg.1].name)
        );
    }
    if dependents.is_empty() {
        out.push_str(
            "release-prefix = \"v\"                 # git tags are v1.2.3\n\
             tags = [\"v{version}{suffix}\"]        # never change once they are published\n\
             rolling = [\"latest{suffix}\"]         # move when a release is complete\n",
        );
        variants(sketch, out);
        let _ = write!(
            out,
            "\n# Tests run against what is going to be published, before a tag moves.\n\
             # [[image.{}.smoke]]\n\
             # run = [\"tool\", \"--version\"]\n\
             # stdout = \"{{TOOL_VERSION}}\"          # must be contained; names an entry of [versions]\n",
            quoted_key(name)
        );
    } else {
        out.push_str(
            "# Bases are published under a tag made of the hash of all their inputs, and built again only\n\
             # when one of these changes.\n\
             content-tag = \"{image}-{hash}\"\n\
             rolling = [\"{image}-latest\"]         # moves last, when all that is built on it is complete\n",
        );
    }
}

/// The folder that a Dockerfile of its own folder is built in.
fn context(path: &str) -> Option<&str> {
    let (folder, file) = path.rsplit_once('/')?;
    let last = folder.rsplit('/').next().unwrap_or(folder).to_lowercase();
    (matches!(file, "Dockerfile" | "Containerfile") && !is_gathering_folder(&last))
        .then_some(folder)
}

fn variants(sketch: &Sketch<'_>, out: &mut String) {
    let head = |out: &mut String, comment: &str| {
        let _ = write!(
            out,
            "\n{comment}[image.{}.variant]\n",
            quoted_key(&sketch.name)
        );
    };
    let features = feature_stages(sketch);
    let gates = gates(&sketch.found.args);
    if let [first, .., _] = features[..] {
        head(
            out,
            "# A variant is a list of features. A feature is a stage built directly on the base; it is built\n\
             # once, and all variants that list it share its layers.\n",
        );
        let listed = |names: &[&str]| {
            names
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let _ = writeln!(
            out,
            "full = {{ features = [{}], suffix = \"\" }}",
            listed(&features)
        );
        let _ = writeln!(
            out,
            "# slim = {{ features = [{}] }}    # its suffix is \"-slim\"",
            quoted(first)
        );
    } else if !gates.is_empty() {
        head(
            out,
            "# A variant is a set of build arguments, and a suffix for its tags.\n",
        );
        out.push_str("default = { suffix = \"\" }\n");
        for (name, arg) in gates {
            let _ = writeln!(
                out,
                "{name} = {{ args = {{ {arg} = \"true\" }} }}    # its suffix is \"-{name}\""
            );
        }
    } else {
        let _ = write!(
            out,
            "\n# Variants are published flavours of one image, with a suffix for their tags.\n\
             # [image.{}.variant]\n\
             # default = {{ suffix = \"\" }}\n\
             # full = {{ args = {{ INSTALL_ALL = \"true\" }} }}    # its suffix is \"-full\"\n",
            quoted_key(&sketch.name)
        );
    }
}

/// Stages that are built on the base and on nothing else, as far as can be told.
fn feature_stages<'d>(sketch: &Sketch<'d>) -> Vec<&'d str> {
    let Some(base) = &sketch.base else {
        return Vec::new();
    };
    let mut bases: Vec<&String> = sketch.found.external_bases.iter().collect();
    bases.dedup();
    if base.arg.is_some() || bases.len() != 1 {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    sketch
        .found
        .stages
        .iter()
        .map(String::as_str)
        .filter(|stage| stage.parse::<FeatureName>().is_ok() && seen.insert(*stage))
        .collect()
}

/// Build arguments that switch something on, with the variant's name they suggest.
fn gates(args: &[String]) -> Vec<(String, &str)> {
    let mut names = BTreeSet::from(["default".to_owned()]);
    args.iter()
        .filter_map(|arg| {
            let rest = ["INSTALL_", "WITH_", "ENABLE_"]
                .iter()
                .find_map(|prefix| arg.strip_prefix(prefix))?;
            let name = rest.to_lowercase().replace('_', "-");
            let good =
                is_image_name(&name) && !name.contains('.') && arg.parse::<VersionName>().is_ok();
            (good && names.insert(name.clone())).then_some((name, arg.as_str()))
        })
        .collect()
}

/// A TOML basic string. What the paths and names here hold needs no other escapes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A key, bare where it can be.
fn quoted_key(name: &str) -> String {
    if name.contains('.') {
        quoted(name)
    } else {
        name.to_owned()
    }
}
