//! Where the tests of this program run: registries, families and state folders of their own, and
//! the real program driven from outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use launchway_testkit::{flatten, peers, sha256};
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{busybox, copy_tree, fixture};
use crate::lab_registry::Registry;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_launchway");

/// The architecture of this machine as images call it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) fn platform() -> String {
    format!("linux/{}", architecture())
}

/// The other one of the two platforms.
pub(crate) fn foreign() -> &'static str {
    match architecture() {
        "arm64" => "amd64",
        _ => "arm64",
    }
}

/// A folder of its own for each test; everything in it goes away at the end.
pub(crate) struct Lab {
    folder: TempDir,
    fixture: PathBuf,
}

impl Lab {
    /// Absent on a machine that cannot run these tests; where nothing may be skipped that is a failure.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let Some(program) = busybox(architecture()) else {
            lacking(test, "static busybox (package busybox-static)");
            return None;
        };
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("making a folder");
        let fixture = fixture(&program);
        Some(Self { folder, fixture })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A registry that holds nothing.
    pub(crate) fn empty_registry(&self, name: &str) -> Registry {
        Registry::start(&self.path().join(name), 0)
    }

    /// A registry that holds `library/busybox:1`.
    pub(crate) fn registry(&self, name: &str) -> Registry {
        let root = self.path().join(name);
        copy_tree(&self.fixture, &root);
        Registry::start(&root, 0)
    }

    /// The program with a state folder of its own: the machine of that name.
    pub(crate) fn machine(&self, name: &str) -> Machine {
        Machine {
            state: self.path().join(format!("machine-{name}")),
            variables: BTreeMap::new(),
        }
    }

    /// An empty family folder.
    pub(crate) fn folder(&self, name: &str) -> Family {
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).expect("making a folder");
        Family { folder }
    }

    /// The usual family: a base, features `one`, `two` and `three`, four variants of them. `prefix`
    /// is where it is published, `bases` the registry its base comes from.
    pub(crate) fn family(&self, prefixes: &[&str], bases: &str) -> Family {
        let family = self.folder("family");
        let registries: Vec<String> = prefixes
            .iter()
            .map(|prefix| format!("{prefix:?}"))
            .collect();
        family.write(
            "launchway.toml",
            &FAMILY
                .replace("REGISTRIES", &registries.join(", "))
                .replace("PLATFORM", &platform()),
        );
        family.write("Dockerfile.base", &BASE.replace("BASES", bases));
        family.write("Dockerfile.tool", TOOL);
        family.write("etc/motd", "welcome\n");
        family
    }
}

const FAMILY: &str = r#"[family]
name = "toolbox"
platforms = ["PLATFORM"]
registries = [REGISTRIES]

[versions]
ONE_VERSION = "1.0.0"
TWO_VERSION = "2.0.0"
THREE_VERSION = "3.0.0"

[retry]
attempts = 3
pauses = ["5ms", "10ms"]

[image.base]
dockerfile = "Dockerfile.base"
repository = "toolbox"
content-tag = "base-{hash}"
rolling = ["base-latest"]

[image.tool]
from = "base"
dockerfile = "Dockerfile.tool"
repository = "toolbox"
release-prefix = "v"
tags = ["v{version}{suffix}"]
rolling = ["latest{suffix}", "v{major}{suffix}"]

[image.tool.variant]
base = { features = ["one"], suffix = "" }
two = { features = ["one", "two"] }
three = { features = ["one", "three"] }
all = { features = ["one", "two", "three"] }

[[image.tool.smoke]]
run = ["one"]
stdout = "one {ONE_VERSION}"

[[image.tool.smoke]]
run = ["two"]
stdout = "two {TWO_VERSION}"
features = ["two"]
"#;

const BASE: &str = r#"FROM BASES/library/busybox:1
ENV PATH=/usr/local/bin:/bin
RUN mkdir -p /usr/local/bin /opt
COPY etc/motd /etc/motd
"#;

const TOOL: &str = r#"FROM base AS one
ARG ONE_VERSION
RUN printf '#!/bin/sh\necho one %s\n' "$ONE_VERSION" > /usr/local/bin/one && chmod 755 /usr/local/bin/one

FROM base AS two
ARG TWO_VERSION
ENV TWO=$TWO_VERSION
RUN printf '#!/bin/sh\necho two %s\n' "$TWO_VERSION" > /usr/local/bin/two && chmod 755 /usr/local/bin/two

FROM base AS three
ARG THREE_VERSION
RUN printf '#!/bin/sh\necho three %s\n' "$THREE_VERSION" > /usr/local/bin/three && chmod 755 /usr/local/bin/three
"#;

/// A folder with a family file and what it names.
pub(crate) struct Family {
    pub(crate) folder: PathBuf,
}

impl Family {
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().expect("files are in folders")).expect("making a folder");
        fs::write(path, text).expect("writing a file");
    }

    /// A script that can be executed.
    pub(crate) fn script(&self, path: &str, text: &str) {
        self.write(path, text);
        let path = self.folder.join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("making it executable");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.join(path)).expect("reading a file of the family")
    }

    /// Replaces a text that has to be there.
    #[track_caller]
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, &text.replace(from, to));
    }

    pub(crate) fn append(&self, path: &str, more: &str) {
        let text = self.read(path);
        self.write(path, &format!("{text}\n{more}"));
    }

    pub(crate) fn file(&self) -> String {
        self.folder.join("launchway.toml").display().to_string()
    }
}

/// The program with a state folder and an environment.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) state: PathBuf,
    pub(crate) variables: BTreeMap<String, String>,
}

impl Machine {
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Ready to run. Nothing of the user who runs the tests reaches it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let home = self.state.with_extension("home");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .envs(&self.variables)
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments)
            .stdin(Stdio::null());
        if let Some(bundle) = std::env::var_os("SSL_CERT_FILE") {
            command.env("SSL_CERT_FILE", bundle);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        let output = self
            .command(arguments)
            .output()
            .expect("starting launchway");
        Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// `launchway COMMAND … --file FAMILY`, for people.
    pub(crate) fn text(&self, family: &Family, arguments: &[&str]) -> Done {
        let file = family.file();
        let mut all = vec!["--progress", "plain"];
        all.extend(arguments);
        all.extend(["--file", &file]);
        self.run(&all)
    }

    /// `launchway COMMAND … --file FAMILY`, as JSON.
    pub(crate) fn json(&self, family: &Family, arguments: &[&str]) -> Done {
        let file = family.file();
        let mut all = vec!["--format", "json"];
        all.extend(arguments);
        all.extend(["--file", &file]);
        self.run(&all)
    }

    /// A release that has to succeed; its events.
    #[track_caller]
    pub(crate) fn release(&self, family: &Family, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["release"];
        all.extend(arguments);
        let done = self.json(family, &all);
        done.expect(0);
        done.events()
    }

    #[track_caller]
    pub(crate) fn plan(&self, family: &Family, arguments: &[&str]) -> Value {
        let mut all = vec!["plan"];
        all.extend(arguments);
        let done = self.json(family, &all);
        done.expect(0);
        serde_json::from_str(&done.stdout).expect("a plan is JSON")
    }
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert!(
            self.code == Some(code),
            "exit code {:?}, expected {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            tail(&self.stdout),
            self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, part: &str) -> &Self {
        assert!(
            self.stderr.contains(part),
            "stderr does not say {part:?}:\n{}",
            self.stderr
        );
        self
    }

    /// The events on stdout; every line has to be one.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        let events: Vec<Value> = lines
            .map(|line| {
                let event: Value = serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"));
                assert!(event["event"].is_string(), "an event has a kind: {line}");
                assert!(event["time"].is_string(), "an event has a time: {line}");
                event
            })
            .collect();
        events
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The events of a kind.
pub(crate) fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|event| event["event"] == kind)
        .collect()
}

/// The values of a field of all events of a kind, sorted.
pub(crate) fn fields(events: &[Value], kind: &str, field: &str) -> Vec<String> {
    let of_kind = of_kind(events, kind);
    let mut values: Vec<String> = of_kind.iter().map(|event| text(&event[field])).collect();
    values.sort();
    values
}

/// What was run (not grafted), by node.
pub(crate) fn built(events: &[Value]) -> Vec<String> {
    let started = of_kind(events, "node-started").into_iter();
    let mut nodes: Vec<String> = started
        .filter(|event| event["graft"] == false)
        .map(|event| text(&event["node"]))
        .collect();
    nodes.sort();
    nodes
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The content of a file of an image, by its digest; links are not followed.
pub(crate) fn content<'i>(image: &'i flatten::Image, path: &str) -> Option<&'i str> {
    match &image.entries.get(path.as_bytes())?.kind {
        flatten::Kind::File { content, .. } => Some(content),
        _ => None,
    }
}

/// The content that `printf` in the usual features writes.
pub(crate) fn tool(name: &str, version: &str) -> String {
    sha256(format!("#!/bin/sh\necho {name} {version}\n").as_bytes())
}

/// Every file below a folder with its length, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            found.push(format!("{} {}", entry.path().display(), metadata.len()));
        }
    }
    found.sort();
    found
}

/// Waits until something is so, and fails after a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Where nothing may be skipped, what is missing is a failure.
pub(crate) fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "this machine has no {what}, and in CI nothing is skipped"
    );
    peers::skipped(test, what);
}
