//! What `FROM` lines can use: predefined arguments and those before the first `FROM`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Spanned, closest};
use launchway_model::Platform;

use super::BuildInputs;
use crate::{Dockerfile, ExpandError, codes, expand};

/// Arguments that steps see as environment variables without declaring them, and that make no
/// step run again when they change.
const PROXY_ARGS: [&str; 5] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
];

/// Whether a build argument reaches steps without being declared: `HTTP_PROXY` and its kin, in
/// either case. They are no part of what a build is made from.
pub fn is_proxy_arg(name: &str) -> bool {
    PROXY_ARGS
        .iter()
        .any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// What follows `BUILD` and `TARGET` in the names of arguments that every build has.
const PLATFORM_PARTS: [&str; 5] = ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT"];

/// Systems that a platform can be named after alone.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// Processors that a platform can be named after alone.
const PROCESSORS: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// The value that an argument has before the first `FROM`.
pub fn global_argument(file: &Dockerfile, inputs: &BuildInputs<'_>, name: &str) -> Option<String> {
    let globals = Globals::evaluate(file, inputs, &mut Vec::new());
    globals.values.get(name).cloned()
}

pub(crate) struct Globals {
    escape: char,
    /// That of the machine that builds.
    processor: String,
    values: BTreeMap<String, String>,
    /// Every name that can be used, with the names that its value was made from.
    made_from: BTreeMap<String, BTreeSet<String>>,
}

impl Globals {
    pub(crate) fn evaluate(
        file: &Dockerfile,
        inputs: &BuildInputs<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let values = predefined(file, inputs);
        let names = values.keys().map(|name| (name.clone(), BTreeSet::new()));
        let mut globals = Self {
            escape: file.directives.escape,
            processor: inputs.build_platform.architecture().to_owned(),
            made_from: names.collect(),
            values,
        };
        let definitions = file.global_args.iter().flat_map(|arg| &arg.definitions);
        for definition in definitions {
            let name = &definition.name.value;
            let mut made_from = BTreeSet::new();
            let value = match (inputs.build_args.get(name), &definition.default) {
                (Some(given), _) => Some(given.clone()),
                (None, None) => None,
                (None, Some(default)) => match globals.expand(default, &mut made_from) {
                    Ok(value) => Some(value.value),
                    Err(problem) => {
                        problems.push(problem);
                        None
                    }
                },
            };
            if let Some(value) = value {
                globals.values.insert(name.clone(), value);
                globals.made_from.insert(name.clone(), made_from);
            } else {
                globals.made_from.entry(name.clone()).or_default();
            }
        }
        globals
    }

    pub(crate) fn escape(&self) -> char {
        self.escape
    }

    /// Whether a name is predefined or declared, with or without a value.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.made_from.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.made_from.keys().map(String::as_str)
    }

    /// Whether a name is one of those that every build has.
    pub(crate) fn is_predefined(name: &str) -> bool {
        let part = name
            .strip_prefix("BUILD")
            .or_else(|| name.strip_prefix("TARGET"));
        name == "TARGETSTAGE" || part.is_some_and(|part| PLATFORM_PARTS.contains(&part))
    }

    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// What a name's value was made from, itself left out.
    pub(crate) fn made_from(&self, name: &str) -> impl Iterator<Item = &String> {
        self.made_from.get(name).into_iter().flatten()
    }

    /// Expands a word and adds the arguments it depends on.
    pub(crate) fn expand(
        &self,
        word: &Spanned<String>,
        used: &mut BTreeSet<String>,
    ) -> Result<Spanned<String>, Diagnostic> {
        let asked = RefCell::new(BTreeSet::new());
        let expanded = expand(word, self.escape, &|name| {
            asked.borrow_mut().insert(name.to_owned());
            self.values.get(name).cloned()
        });
        for name in asked.into_inner() {
            if let Some(made_from) = self.made_from.get(&name) {
                used.extend(made_from.iter().cloned());
                used.insert(name);
            }
        }
        let expanded = expanded.map_err(|error| bad_expansion(word, &error))?;
        Ok(Spanned::new(expanded, word.span))
    }

    /// The value of a `--platform`.
    pub(crate) fn platform(
        &self,
        word: &Spanned<String>,
        used: &mut BTreeSet<String>,
    ) -> Result<Platform, Diagnostic> {
        let text = self.expand(word, used)?;
        let parsed = if text.contains('/') {
            text.parse::<Platform>()
        } else if SYSTEMS.contains(&text.to_lowercase().as_str()) {
            // A system alone is one for the processor of the machine that builds.
            Platform::new(&text.to_lowercase(), &self.processor, None)
        } else {
            // An architecture alone is one of Linux.
            let platform = Platform::new("linux", &text, None);
            if let Ok(platform) = &platform
                && !PROCESSORS.contains(&platform.architecture())
            {
                let message = format!("`{}` is not a platform", text.value);
                return Err(Diagnostic::error(codes::BAD_PLATFORM, message)
                    .at(word.span, "neither a system nor a processor"));
            }
            platform
        };
        parsed.map_err(|error| {
            let (message, why) = match text.is_empty() {
                true => (
                    "`--platform` names nothing".to_owned(),
                    "expands to nothing".to_owned(),
                ),
                false => (
                    format!("`{}` is not a platform", text.value),
                    error.to_string(),
                ),
            };
            let problem = Diagnostic::error(codes::BAD_PLATFORM, message).at(word.span, why);
            match self.meant(word) {
                Some(help) => problem.help(help),
                None => problem,
            }
        })
    }

    /// What variables of a word that have no value may be meant to be.
    fn meant(&self, word: &Spanned<String>) -> Option<String> {
        let asked = RefCell::new(BTreeSet::new());
        let _ = expand(word, self.escape, &|name| {
            asked.borrow_mut().insert(name.to_owned());
            self.values.get(name).cloned()
        });
        let unknown = asked.into_inner().into_iter();
        let mut unknown = unknown.filter(|name| !self.values.contains_key(name));
        unknown.find_map(|name| {
            let near = closest(&name, self.values.keys().map(String::as_str))?;
            Some(format!("did you mean `${near}`? `${name}` has no value"))
        })
    }
}

pub(crate) fn bad_expansion(word: &Spanned<String>, error: &ExpandError) -> Diagnostic {
    let problem = Diagnostic::error(codes::BAD_EXPANSION, "cannot expand this word")
        .at(word.span, error.to_string());
    match error {
        ExpandError::Required { name, .. } => problem.help(format!(
            "give the build argument {name}, or declare it with ARG or ENV"
        )),
        _ => problem,
    }
}

/// The platforms in all their parts. A build argument of the same name wins.
fn predefined(file: &Dockerfile, inputs: &BuildInputs<'_>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in [
        ("BUILD", inputs.build_platform),
        ("TARGET", inputs.platform),
    ] {
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os().to_owned()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture().to_owned()),
            ("VARIANT", platform.variant().unwrap_or_default().to_owned()),
        ] {
            values.insert(format!("{prefix}{name}"), value);
        }
    }
    let last = file.stages.last().and_then(|stage| stage.name.as_ref());
    let stage = inputs.target.or(last.map(|name| name.as_str()));
    let stage = stage.filter(|stage| !stage.is_empty()).unwrap_or("default");
    values.insert("TARGETSTAGE".to_owned(), stage.to_owned());
    for (name, value) in &mut values {
        if let Some(given) = inputs.build_args.get(name) {
            value.clone_from(given);
        }
    }
    values
}
