//! Where the tests of this program run: registries, families and state folders of their own, and
//! the real program driven from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use launchway_testkit::{flatten, peers, sha256};
use serde_json::Value;
use tempfile::TempDir;

use crate::wire;

const PROGRAM: &str = env!("CARGO_BIN_EXE_launchway");

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
    variables: BTreeMap<String, String>,
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

/// `launchway registry serve` as a process of its own.
pub(crate) struct Registry {
    child: Option<Child>,
    pub(crate) root: PathBuf,
    /// `127.0.0.1:port`.
    pub(crate) host: String,
}

impl Registry {
    fn start(root: &Path, port: u16) -> Self {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", root)
            .args(["registry", "serve", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--root")
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting the registry");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut host = String::new();
        BufReader::new(stdout)
            .read_line(&mut host)
            .expect("reading the registry's address");
        let host = host.trim().to_owned();
        assert!(!host.is_empty(), "the registry did not start");
        Self {
            child: Some(child),
            root: root.to_owned(),
            host,
        }
    }

    /// A prefix to publish below.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/fam", self.host)
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts again where it was.
    pub(crate) fn start_again(&mut self) {
        let port = self
            .host
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.expect("the address ends in a port");
        // The port may be held for a moment by connections that are going away.
        let root = self.root.clone();
        *self = Self::start(&root, port);
    }

    /// The tags of `fam/toolbox` with their digests.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        self.tags_of("fam/toolbox")
    }

    pub(crate) fn tags_of(&self, repository: &str) -> BTreeMap<String, String> {
        let path = self
            .root
            .join("repositories")
            .join(repository)
            .join("index.json");
        let Ok(text) = fs::read_to_string(path) else {
            return BTreeMap::new();
        };
        let index: Value = serde_json::from_str(&text).expect("index.json is JSON");
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        manifests
            .iter()
            .filter_map(|one| {
                let tag = one["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
                Some((tag.to_owned(), text_of(&one["digest"])))
            })
            .collect()
    }

    /// The tags without those that hold hashes.
    pub(crate) fn names(&self) -> Vec<String> {
        let tags = self.tags().into_keys();
        tags.filter(|tag| !is_content_tag(tag)).collect()
    }

    /// The bytes of a blob or manifest.
    pub(crate) fn document(&self, repository: &str, digest: &str) -> Value {
        let path = self
            .root
            .join("repositories")
            .join(repository)
            .join("blobs")
            .join(digest.replacen(':', "/", 1));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(sha256(&bytes), digest, "the document is what its name says");
        serde_json::from_slice(&bytes).expect("the document is JSON")
    }

    /// The index under a tag of `fam/toolbox`.
    pub(crate) fn index(&self, tag: &str) -> Value {
        let tags = self.tags();
        let digest = tags
            .get(tag)
            .unwrap_or_else(|| panic!("no tag {tag} in {tags:?}"));
        self.document("fam/toolbox", digest)
    }

    /// The whole image behind a tag or digest of `fam/toolbox`; every digest on the way is checked.
    pub(crate) fn image(&self, tag: &str) -> flatten::Image {
        self.image_for(tag, &platform())
    }

    pub(crate) fn image_for(&self, tag: &str, platform: &str) -> flatten::Image {
        self.try_image(tag, platform)
            .unwrap_or_else(|error| panic!("{tag} for {platform}: {error}"))
    }

    pub(crate) fn try_image(
        &self,
        tag: &str,
        platform: &str,
    ) -> Result<flatten::Image, flatten::FlattenError> {
        let digest = match tag.starts_with("sha256:") {
            true => tag.to_owned(),
            false => self.tags().get(tag).cloned().unwrap_or_default(),
        };
        let repository = self.root.join("repositories/fam/toolbox");
        let layout = tempfile::tempdir().expect("making a folder");
        let blob = repository.join("blobs").join(digest.replacen(':', "/", 1));
        let size = fs::metadata(&blob).map_or(0, |metadata| metadata.len());
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{ "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": size }],
        });
        fs::write(layout.path().join("index.json"), index.to_string()).expect("writing an index");
        std::os::unix::fs::symlink(repository.join("blobs"), layout.path().join("blobs"))
            .expect("linking the blobs");
        flatten::flatten(layout.path(), Some(platform))
    }

    /// Points a tag of `fam/toolbox` to what another one has.
    pub(crate) fn point(&self, tag: &str, at: &str) {
        let path = |tag: &str| format!("/v2/fam/toolbox/manifests/{tag}");
        let found = wire::get(&self.host, &path(at));
        assert_eq!(found.status, 200, "{at} can be read");
        let media_type = found.header("content-type").unwrap_or_default().to_owned();
        let put = wire::put(&self.host, &path(tag), &media_type, &found.body);
        assert_eq!(put.status, 201, "{tag} can be written");
    }

    /// Everything that is there, for seeing whether anything changed.
    pub(crate) fn everything(&self) -> Vec<String> {
        files_below(&self.root.join("repositories"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text_of(value: &Value) -> String {
    text(value)
}

fn is_content_tag(tag: &str) -> bool {
    tag.rsplit('-')
        .next()
        .is_some_and(|last| last.len() == 12 && last.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || tag.starts_with("sha256-")
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

/// A static busybox of an architecture: what `cargo xtask test` has laid ready, else the host's own.
pub(crate) fn busybox(architecture_wanted: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let prepared = workspace.join(format!("target/fixtures/busybox-{architecture_wanted}"));
    let host = (architecture_wanted == architecture()).then(|| PathBuf::from("/bin/busybox"));
    let mut places = std::iter::once(prepared).chain(host);
    places.find(|path| fs::read(path).is_ok_and(|bytes| is_static(&bytes)))
}

/// A program without an interpreter needs nothing beside it.
fn is_static(program: &[u8]) -> bool {
    let head = &program[..program.len().min(4096)];
    head.starts_with(b"\x7fELF") && !head.windows(7).any(|part| part == b"/ld-lin")
}

/// Whether programs of the other platform run here.
pub(crate) fn emulates() -> bool {
    let name = match foreign() {
        "arm64" => "qemu-aarch64",
        _ => "qemu-x86_64",
    };
    Path::new("/proc/sys/fs/binfmt_misc").join(name).exists()
}

/// A registry's folder with `library/busybox:1`, made once for all tests by this very program.
fn fixture(program: &Path) -> PathBuf {
    let tool = fs::metadata(PROGRAM).and_then(|metadata| metadata.modified());
    let age = tool
        .expect("the program is there")
        .duration_since(std::time::UNIX_EPOCH);
    let age = age.expect("the program is younger than 1970").as_nanos();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ready = home.join(format!("busybox-registry-{age}"));
    if ready.is_dir() {
        return ready;
    }
    let work = tempfile::tempdir_in(home).expect("making a folder");
    let context = work.path().join("context");
    fs::create_dir_all(&context).expect("making a folder");
    let mut platforms = vec![platform()];
    fs::copy(program, context.join(format!("busybox-{}", architecture())))
        .expect("copying busybox");
    if let Some(other) = busybox(foreign()).filter(|_| emulates()) {
        fs::copy(other, context.join(format!("busybox-{}", foreign()))).expect("copying busybox");
        platforms.push(format!("linux/{}", foreign()));
    }
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY --chmod=755 busybox-$TARGETARCH /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("writing a file");
    let root = work.path().join("root");
    let mut registry = Registry::start(&root, 0);
    let machine = Machine {
        state: work.path().join("state"),
        variables: BTreeMap::new(),
    };
    let folder = context.display().to_string();
    let tag = format!("{}/library/busybox:1", registry.host);
    let platforms = platforms.join(",");
    machine
        .run(&[
            "dockerfile",
            "build",
            "--platform",
            &platforms,
            "--tag",
            &tag,
            "--push",
            &folder,
        ])
        .expect(0);
    registry.stop();
    // Whoever comes second throws its own away.
    if fs::rename(&root, &ready).is_err() {
        assert!(ready.is_dir(), "the fixture can be moved into place");
    }
    ready
}

/// Hard links files, as registries never change them in place, but for their indexes and locks.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("making a folder");
    for entry in fs::read_dir(from).expect("reading a folder") {
        let entry = entry.expect("reading a folder");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target);
        } else if from.ends_with("sha256") {
            fs::hard_link(&source, &target).expect("linking a blob");
        } else {
            fs::copy(&source, &target).expect("copying a file");
        }
    }
}
