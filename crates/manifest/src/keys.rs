//! The one table of the family file's keys: what stands where, of which type, and what it means.
//!
//! [`shape`](crate::shape) checks documents by it, [`schema`](crate::schema) describes it, and the
//! reading code asks only for keys that stand here.

use crate::keys_lint::LINT;

mod given;

pub(crate) use given::{SECRET, SSH};

/// A table with a fixed set of keys.
pub(crate) struct TableSpec {
    /// How messages call it.
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [KeySpec],
    pub(crate) choices: &'static [Choice],
}

pub(crate) struct KeySpec {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) doc: &'static str,
}

/// Keys of which at most one may stand in a table, or exactly one when `needed`.
pub(crate) struct Choice {
    pub(crate) keys: [&'static str; 2],
    pub(crate) needed: bool,
}

pub(crate) enum Shape {
    Text(Form),
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    List {
        of: &'static Shape,
        at_least: usize,
    },
    Table(&'static TableSpec),
    /// A table whose keys are names that the user gives.
    Map {
        names: Names,
        of: &'static Shape,
        at_least: usize,
    },
    TextOrTable(Form, &'static TableSpec),
}

/// What a text has to look like. Only words and durations are checked here; the rest is the
/// reading code's, and the patterns tell an editor about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Anything, also nothing.
    Free,
    NonEmpty,
    Word(&'static [&'static str]),
    Duration,
    Size,
    Platform,
    Registry,
    Host,
    Repository,
    Path,
    TagTemplate,
    TagSuffix,
    Name,
    Url,
}

/// What the names of a [`Shape::Map`] have to look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Images, features, variants.
    TagSafe,
    /// Versions and build arguments.
    Argument,
    Label,
    Platform,
}

impl Form {
    /// A regular expression for the JSON Schema (ECMA 262, no look-around).
    pub(crate) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Free | Self::Word(_) => None,
            Self::NonEmpty | Self::Path | Self::Host => Some(r"\S"),
            Self::Duration => Some(r"^([0-9]+(ms|s|m|h))+$"),
            Self::Size => Some(r"^[0-9]+(\.[0-9]+)?[bkmgtBKMGT]?$"),
            Self::Platform => Some(r"^[A-Za-z]+/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$"),
            Self::Registry => Some(r"^([^/]*[.:][^/]*|localhost)(/[a-z0-9._/-]+)?$"),
            Self::Repository => Some(r"^[a-z0-9][a-z0-9._/-]*$"),
            Self::TagTemplate => Some(
                r"^([A-Za-z0-9_.-]|\{(hash|image|variant|feature|version|suffix|major|minor)\})+$",
            ),
            Self::TagSuffix => Some(r"^[A-Za-z0-9_.-]*$"),
            Self::Name => Some(Names::TagSafe.pattern()),
            Self::Url => Some(r"^https?://"),
        }
    }
}

impl Names {
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Self::TagSafe => r"^[a-z0-9][a-z0-9._-]*$",
            Self::Argument => r"^[A-Za-z_][A-Za-z0-9_]*$",
            Self::Label => r"\S",
            Self::Platform => r"^[A-Za-z]+/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$",
        }
    }
}

impl Shape {
    /// How messages call a value of this shape.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Bool => "`true` or `false`",
            Self::Integer { .. } => "a whole number",
            Self::List { .. } => "a list",
            Self::Table(_) | Self::Map { .. } => "a table",
            Self::TextOrTable(..) => "a text or a table",
        }
    }
}

impl TableSpec {
    pub(crate) fn key(&self, name: &str) -> Option<&'static KeySpec> {
        self.keys.iter().find(|key| key.name == name)
    }
}

pub(crate) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> KeySpec {
    KeySpec {
        name,
        required: true,
        shape,
        doc,
    }
}

pub(crate) const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> KeySpec {
    KeySpec {
        name,
        required: false,
        shape,
        doc,
    }
}

pub(crate) const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, at_least: 0 }
}

const fn filled_list(of: &'static Shape) -> Shape {
    Shape::List { of, at_least: 1 }
}

pub(crate) const fn map(names: Names, of: &'static Shape) -> Shape {
    Shape::Map {
        names,
        of,
        at_least: 0,
    }
}

static FREE: Shape = Shape::Text(Form::Free);
static NON_EMPTY: Shape = Shape::Text(Form::NonEmpty);
static PATH: Shape = Shape::Text(Form::Path);
static PLATFORM: Shape = Shape::Text(Form::Platform);
static TAG_TEMPLATE: Shape = Shape::Text(Form::TagTemplate);
static NAME: Shape = Shape::Text(Form::Name);
static DURATION: Shape = Shape::Text(Form::Duration);

pub(crate) static ROOT: TableSpec = TableSpec {
    title: "the family file",
    keys: &[
        required(
            "family",
            Shape::Table(&FAMILY),
            "What all images have in common.",
        ),
        optional(
            "versions",
            map(
                Names::Argument,
                &Shape::TextOrTable(Form::NonEmpty, &VERSION),
            ),
            "Versions that are resolved before anything is built, recorded, part of the hash, and passed as build arguments of the same name.",
        ),
        optional(
            "npm",
            Shape::Table(&NPM),
            "Where npm packages are looked up.",
        ),
        optional("build", Shape::Table(&BUILD), "How images are built."),
        optional(
            "retry",
            Shape::Table(&RETRY),
            "How often a write to a registry is tried.",
        ),
        optional(
            "lint",
            Shape::Table(&LINT),
            "What every image is held to before its tags are written.",
        ),
        required(
            "image",
            Shape::Map {
                names: Names::TagSafe,
                of: &Shape::Table(&IMAGE),
                at_least: 1,
            },
            "The images, by name. Other images of the family use the name in FROM.",
        ),
    ],
    choices: &[],
};

pub(crate) static FAMILY: TableSpec = TableSpec {
    title: "[family]",
    keys: &[
        required("name", Shape::Text(Form::Name), "The family's name."),
        required(
            "platforms",
            filled_list(&PLATFORM),
            "What images are built for, as in `linux/amd64`.",
        ),
        required(
            "registries",
            filled_list(&Shape::Text(Form::Registry)),
            "Where images are published: host and prefix, as in `docker.io/NAME`. The first is the primary.",
        ),
        optional(
            "plain-http",
            list(&Shape::Text(Form::Host)),
            "Registries that are spoken to without TLS. The machine itself always is.",
        ),
        optional(
            "ignore",
            list(&NON_EMPTY),
            "Patterns of files that are left out of hashes and build contexts, besides the usual junk.",
        ),
    ],
    choices: &[],
};

pub(crate) static VERSION: TableSpec = TableSpec {
    title: "a version",
    keys: &[
        required("npm", Shape::Text(Form::NonEmpty), "An npm package."),
        optional(
            "accept",
            Shape::Text(Form::NonEmpty),
            "A dist-tag or a range as npm reads it; `latest` by default.",
        ),
    ],
    choices: &[],
};

pub(crate) static NPM: TableSpec = TableSpec {
    title: "[npm]",
    keys: &[optional(
        "registry",
        Shape::Text(Form::Url),
        "The npm registry's address; the user's npm configuration by default.",
    )],
    choices: &[],
};

pub(crate) static BUILD: TableSpec = TableSpec {
    title: "[build]",
    keys: &[
        optional(
            "host-ca",
            Shape::Bool,
            "Whether RUN steps trust the host's certificate authorities, without a trace in the image. `false` by default.",
        ),
        optional(
            "timeout",
            Shape::Text(Form::Duration),
            "The longest a RUN step may take; `60m` by default.",
        ),
        optional(
            "secrets",
            list(&Shape::Table(&SECRET)),
            "What `RUN --mount=type=secret` can ask for.",
        ),
        optional(
            "ssh",
            list(&Shape::Table(&SSH)),
            "Agents that `RUN --mount=type=ssh` can ask for; git uses the one called `default`.",
        ),
        optional(
            "compression",
            Shape::Text(Form::Word(COMPRESSIONS)),
            "How layers are compressed; `gzip` by default.",
        ),
        optional(
            "network",
            Shape::Text(Form::Word(NETWORKS)),
            "What RUN steps see of the network; `host` by default.",
        ),
        optional(
            "memory",
            Shape::Text(Form::Size),
            "The most memory a RUN step may use, such as `2g`; no limit by default.",
        ),
        optional(
            "memory-swap",
            Shape::Text(Form::NonEmpty),
            "The most memory and swap together, `-1` for all swap there is; twice `memory` by default.",
        ),
        optional(
            "cpus",
            Shape::Text(Form::NonEmpty),
            "How many processors a RUN step may keep busy, such as `1.5`; no limit by default.",
        ),
        optional(
            "pids-limit",
            Shape::Integer {
                min: -1,
                max: u32::MAX as i64,
            },
            "How many processes and threads a RUN step may have at once, `-1` for no limit; 16384 by default, where the machine can keep it.",
        ),
        optional(
            "shm-size",
            Shape::Text(Form::Size),
            "The size of `/dev/shm`; `64m` by default.",
        ),
        optional(
            "ulimits",
            list(&NON_EMPTY),
            "Limits of the kernel for each process: `nofile=1024:4096`.",
        ),
        optional(
            "no-new-privileges",
            Shape::Bool,
            "Whether programs such as `sudo` gain nothing in RUN steps. `false` by default.",
        ),
    ],
    choices: &[],
};

pub(crate) const COMPRESSIONS: &[&str] = &["gzip", "zstd"];
pub(crate) const NETWORKS: &[&str] = &["host", "none"];
pub(crate) const RECIPES: &[&str] = &["tree", "concat", "file"];

pub(crate) static RETRY: TableSpec = TableSpec {
    title: "[retry]",
    keys: &[
        optional(
            "attempts",
            Shape::Integer { min: 1, max: 100 },
            "How often it is tried in all; 3 by default.",
        ),
        optional(
            "pauses",
            list(&DURATION),
            "The pauses in between; the last is repeated. `[\"15s\", \"30s\"]` by default.",
        ),
    ],
    choices: &[],
};

pub(crate) static IMAGE: TableSpec = TableSpec {
    title: "an image",
    keys: &[
        optional(
            "from",
            Shape::Text(Form::Name),
            "The image of this family it is built from.",
        ),
        required("dockerfile", Shape::Text(Form::Path), "Its Dockerfile."),
        optional(
            "context",
            Shape::Text(Form::Path),
            "The build context; the family's folder by default.",
        ),
        optional(
            "target",
            Shape::Text(Form::NonEmpty),
            "The stage to build; the last by default.",
        ),
        required(
            "repository",
            Shape::Text(Form::Repository),
            "The path below each registry's prefix.",
        ),
        optional(
            "content-tag",
            Shape::Text(Form::TagTemplate),
            "The tag made of the hash of all inputs; `{image}-{hash}` by default, with variants `{image}-{variant}-{hash}`.",
        ),
        optional(
            "feature-tag",
            Shape::Text(Form::TagTemplate),
            "The content tag of features; `{image}-{feature}-{hash}` by default.",
        ),
        optional(
            "release-prefix",
            Shape::Text(Form::Free),
            "What stands before the version in git tags, as in `v`; nothing by default.",
        ),
        optional(
            "tags",
            list(&TAG_TEMPLATE),
            "Release tags, which never change: `v{version}{suffix}`.",
        ),
        optional(
            "rolling",
            list(&TAG_TEMPLATE),
            "Tags that move to the newest release: `latest{suffix}`, `v{major}`.",
        ),
        optional(
            "platforms",
            filled_list(&PLATFORM),
            "What it is built for; the family's platforms by default.",
        ),
        optional(
            "args",
            map(Names::Argument, &FREE),
            "Build arguments; `{NAME}` stands for an entry of [versions].",
        ),
        optional(
            "hash",
            Shape::Text(Form::Word(RECIPES)),
            "How the content hash is made: `tree` (default), `concat` (contents one after the other) or `file` (one file).",
        ),
        optional(
            "inputs",
            filled_list(&PATH),
            "What goes into the content hash; derived from the Dockerfile by default.",
        ),
        optional(
            "feature",
            map(Names::TagSafe, &Shape::Table(&FEATURE)),
            "Settings of features, by name.",
        ),
        optional(
            "variant",
            map(Names::TagSafe, &Shape::Table(&VARIANT)),
            "The published flavours, by name.",
        ),
        optional(
            "smoke",
            list(&Shape::Table(&SMOKE)),
            "Checks that run against what is going to be published.",
        ),
        optional(
            "lint",
            Shape::Table(&LINT),
            "What this image is held to; what it leaves out is as [lint] says.",
        ),
        optional(
            "runtime-mounts",
            list(&NON_EMPTY),
            "Absolute paths where users mount something; what is installed there is hidden.",
        ),
        optional(
            "labels",
            map(Names::Label, &FREE),
            "Labels; `{NAME}` stands for an entry of [versions].",
        ),
    ],
    choices: &[],
};

pub(crate) static FEATURE: TableSpec = TableSpec {
    title: "a feature",
    keys: &[
        optional(
            "target",
            Shape::Text(Form::NonEmpty),
            "The Dockerfile stage; the feature's name by default.",
        ),
        optional(
            "neutral",
            Shape::Bool,
            "Whether it is built on one platform and reused on the others. `false` by default.",
        ),
        optional(
            "args",
            map(Names::Argument, &FREE),
            "Build arguments of this feature.",
        ),
    ],
    choices: &[],
};

pub(crate) static VARIANT: TableSpec = TableSpec {
    title: "a variant",
    keys: &[
        optional(
            "features",
            filled_list(&NAME),
            "The features it consists of, in order.",
        ),
        optional(
            "args",
            map(Names::Argument, &FREE),
            "Build arguments that make it differ.",
        ),
        optional(
            "suffix",
            Shape::Text(Form::TagSuffix),
            "What `{suffix}` stands for; `-NAME` by default.",
        ),
        optional(
            "entrypoint",
            list(&FREE),
            "Wins over what the features say.",
        ),
        optional("cmd", list(&FREE), "Wins over what the features say."),
        optional(
            "user",
            Shape::Text(Form::NonEmpty),
            "Wins over what the features say.",
        ),
        optional(
            "workdir",
            Shape::Text(Form::NonEmpty),
            "Wins over what the features say.",
        ),
    ],
    choices: &[Choice {
        keys: ["features", "args"],
        needed: false,
    }],
};

pub(crate) static SMOKE: TableSpec = TableSpec {
    title: "a smoke test",
    keys: &[
        optional(
            "run",
            filled_list(&FREE),
            "A command and its arguments, taken as they are.",
        ),
        optional(
            "script",
            Shape::Text(Form::Path),
            "A script of the family's folder.",
        ),
        optional(
            "stdout",
            Shape::Text(Form::NonEmpty),
            "What the standard output must contain; `{NAME}` stands for an entry of [versions].",
        ),
        optional(
            "exit",
            Shape::Integer { min: 0, max: 255 },
            "The exit status that counts as passed; 0 by default.",
        ),
        optional("variants", filled_list(&NAME), "Only these variants."),
        optional(
            "features",
            filled_list(&NAME),
            "Only variants that have all of these features.",
        ),
        optional(
            "timeout",
            Shape::Text(Form::Duration),
            "The longest it may take; `5m` by default.",
        ),
        optional(
            "user",
            Shape::Text(Form::NonEmpty),
            "Who runs it; the image's user by default.",
        ),
    ],
    choices: &[Choice {
        keys: ["run", "script"],
        needed: true,
    }],
};
