//! The Dockerfiles in `corpus/`: small cases that any builder has to build alike.
//!
//! A case is a folder `corpus/TOPIC/NAME` with a Dockerfile and its context. Beside them may stand
//! `case.toml` (`args`, `target`, `platform`, `file`, `secrets`, `ssh`, `contexts`, `fails`, `newer`, `differs`), and
//! `prepare.sh` for what git does not keep. Files of the context get times of their own, the same on every machine.
//! The Dockerfiles start from `${BASE}`, a busybox that is made here, or from `${DEBIAN}`;
//! both default to images that everybody has, so a case can also be built by hand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tar::{Builder, EntryType, Header};
use toml::de::{DeTable, DeValue};

use crate::conform;
use crate::git::{self, GitServer};
use crate::http::{Answer, Server, Step};
use crate::peers;

/// Where static programs of each platform are, as `busybox-ARCHITECTURE`.
pub const FIXTURES_VARIABLE: &str = "LAUNCHWAY_FIXTURES";

/// Says which cases to build, by words that their names hold.
pub const ONLY_VARIABLE: &str = "LAUNCHWAY_CORPUS_ONLY";

const SETTINGS: &str = "case.toml";
const PREPARE: &str = "prepare.sh";
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
const GROUPS: &str =
    "root:x:0:\ndaemon:x:1:app\nextra:x:50:app,nobody\napp:x:1000:\nnobody:x:65534:\n";

/// One case of the corpus.
#[derive(Clone, Debug)]
pub struct Case {
    /// `TOPIC/NAME`.
    pub name: String,
    /// `linux/arm64`, when it is not the machine's own.
    pub platform: Option<String>,
    /// It is wrong, and no builder may accept it.
    pub fails: bool,
    /// It uses what only newer BuildKits know; where that is not so, its own steps have to check it.
    pub newer: bool,
    /// In what we do otherwise on purpose, as reports name it; `docs/fidelity.md` says why.
    pub differs: Vec<String>,
    folder: PathBuf,
    args: BTreeMap<String, String>,
    target: Option<String>,
    file: Option<String>,
    /// Ids, and files of the case.
    secrets: BTreeMap<String, String>,
    /// Ids of ssh agents, and key files of the case.
    ssh: BTreeMap<String, String>,
    /// Named contexts: folders of the case, or what `--build-context` takes, in which a path after
    /// `oci-layout://` is one of the case too, and `${BASE}` and `${DEBIAN}` are filled in.
    contexts: BTreeMap<String, String>,
}

/// What the cases start from.
#[derive(Clone, Debug)]
pub struct Bases {
    pub busybox: String,
    pub debian: String,
    /// The address of a server with what [`web`] tells, for cases that fetch something.
    pub web: Option<String>,
}

/// What is wrong with the corpus, or missing on this machine.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    #[error("cannot use {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {problem}")]
    Settings { path: PathBuf, problem: String },
    #[error("{what} failed:\n{said}")]
    Command { what: String, said: String },
    #[error("this machine has no {0}")]
    Missing(&'static str),
}

/// What the cases need while they are built.
pub struct Ground {
    pub bases: Bases,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Ground {
    /// Makes the bases and starts the server.
    pub fn prepare(docker: &Command, work: &Path) -> Result<Self, CorpusError> {
        fs::create_dir_all(work).map_err(at(work))?;
        let mut bases = bases(docker, work)?;
        let io = at(Path::new("the server of the corpus"));
        let runtime = tokio::runtime::Runtime::new().map_err(&io)?;
        let served = work.join("served");
        let _ = fs::remove_dir_all(&served);
        fs::create_dir_all(&served).map_err(at(&served))?;
        let server = runtime.block_on(serve(&served)).map_err(&io)?;
        bases.web = Some(format!("http://{}", server.host()));
        Ok(Self {
            bases,
            _server: server,
            _runtime: runtime,
        })
    }
}

/// The cases whose names hold one of these words, or all of them, for the harness.
pub fn chosen(words: &[&str]) -> Result<Vec<conform::Case>, CorpusError> {
    let mut found = cases()?;
    found.retain(|case| words.is_empty() || words.iter().any(|word| case.name.contains(word)));
    Ok(found
        .into_iter()
        .map(|case| conform::Case {
            name: case.name.clone(),
            topic: case.topic().to_owned(),
            source: conform::Source::Own(case),
        })
        .collect())
}

/// All cases, sorted by name.
pub fn cases() -> Result<Vec<Case>, CorpusError> {
    let mut found = Vec::new();
    for topic in folders(&root())? {
        for folder in folders(&topic)? {
            found.push(Case::read(&folder)?);
        }
    }
    Ok(found)
}

impl Case {
    /// Copies the context to an empty folder and makes what git does not keep.
    pub fn context(&self, to: &Path) -> Result<(), CorpusError> {
        copy(&self.folder, to)?;
        let prepare = to.join(PREPARE);
        if prepare.exists() {
            done(Command::new("sh").arg(PREPARE).current_dir(to))?;
            fs::remove_file(&prepare).map_err(at(&prepare))?;
        }
        let settings = to.join(SETTINGS);
        if settings.exists() {
            fs::remove_file(&settings).map_err(at(&settings))?;
        }
        settle_times(to, Path::new("")).map_err(at(to))
    }

    pub fn topic(&self) -> &str {
        let topic = self.name.split('/').next();
        topic.unwrap_or_default()
    }

    /// The flags, in the words that `docker buildx build` and `launchway dockerfile build` share.
    pub fn flags(&self, context: &Path, bases: &Bases) -> Vec<OsString> {
        let mut flags: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: OsString| {
            flags.push(name.into());
            flags.push(value);
        };
        flag("--build-arg", format!("BASE={}", bases.busybox).into());
        flag("--build-arg", format!("DEBIAN={}", bases.debian).into());
        if let Some(web) = &bases.web {
            flag("--build-arg", format!("WEB={web}").into());
        }
        for (name, value) in &self.args {
            flag("--build-arg", format!("{name}={value}").into());
        }
        if let Some(target) = &self.target {
            flag("--target", target.into());
        }
        if let Some(platform) = &self.platform {
            flag("--platform", platform.into());
        }
        if let Some(file) = &self.file {
            flag("-f", context.join(file).into());
        }
        for (name, value) in &self.contexts {
            let value = value
                .replace("${BASE}", &bases.busybox)
                .replace("${DEBIAN}", &bases.debian)
                .replace("${WEB}", bases.web.as_deref().unwrap_or_default());
            let value = match value.split_once("://") {
                Some(("oci-layout", path)) => {
                    format!("oci-layout://{}", context.join(path).display())
                }
                Some(_) => value,
                None => context.join(value).display().to_string(),
            };
            flag("--build-context", format!("{name}={value}").into());
        }
        for (id, file) in &self.ssh {
            let file = context.join(file);
            flag("--ssh", format!("{id}={}", file.display()).into());
        }
        for (id, file) in &self.secrets {
            let file = context.join(file);
            flag("--secret", format!("id={id},src={}", file.display()).into());
        }
        flags
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self::empty(name, Path::new(""))
    }

    fn empty(name: &str, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            args: BTreeMap::new(),
            target: None,
            platform: None,
            fails: false,
            newer: false,
            differs: Vec::new(),
            file: None,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            contexts: BTreeMap::new(),
        }
    }

    fn read(folder: &Path) -> Result<Self, CorpusError> {
        let name = folder.strip_prefix(root()).unwrap_or(folder);
        let mut case = Self::empty(&name.display().to_string(), folder);
        let path = folder.join(SETTINGS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(case),
            Err(error) => return Err(at(&path)(error)),
        };
        let wrong = |problem: String| CorpusError::Settings {
            path: path.clone(),
            problem,
        };
        let table = DeTable::parse(&text).map_err(|error| wrong(error.to_string()))?;
        for (key, value) in table.get_ref() {
            let text = || match value.get_ref() {
                DeValue::String(text) => Ok(Some(text.to_string())),
                _ => Err(wrong(format!("{} takes a text", key.get_ref()))),
            };
            match key.get_ref().as_ref() {
                "target" => case.target = text()?,
                "platform" => case.platform = text()?,
                "file" => case.file = text()?,
                "fails" => case.fails = matches!(value.get_ref(), DeValue::Boolean(true)),
                "newer" => case.newer = matches!(value.get_ref(), DeValue::Boolean(true)),
                "differs" => case.differs = list(value.get_ref()).map_err(wrong)?,
                "args" => case.args = texts(value.get_ref()).map_err(wrong)?,
                "secrets" => case.secrets = texts(value.get_ref()).map_err(wrong)?,
                "ssh" => case.ssh = texts(value.get_ref()).map_err(wrong)?,
                "contexts" => case.contexts = texts(value.get_ref()).map_err(wrong)?,
                other => return Err(wrong(format!("unknown key {other}"))),
            }
        }
        Ok(case)
    }
}

/// The files that cases fetch: for any number of requests, as often as a builder likes.
pub fn web() -> io::Result<Vec<Step>> {
    const TIME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let mut archive = Builder::new(Vec::new());
    for (path, mode, owner) in [("program", 0o755, 0), ("deep/file", 0o640, 7)] {
        let mut header = Header::new_ustar();
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_000_000_000);
        header.set_size(path.len() as u64);
        archive.append_data(&mut header, path, path.as_bytes())?;
    }
    let archive = archive.into_inner()?;
    let text = Answer::status(200).body("text\n");
    let files = [
        ("/text", text.clone().header("Last-Modified", TIME)),
        ("/timeless", text.clone()),
        ("/with%20space", text.clone()),
        ("/", text.clone()),
        ("/moved", Answer::status(302).header("Location", "/text")),
        ("/missing", Answer::status(404)),
        ("/archive.tar", Answer::status(200).body(archive)),
    ];
    Ok(files
        .into_iter()
        .map(|(path, answer)| Step::new("GET", path, answer).always())
        .collect())
}

/// Starts the server of what cases fetch: the files of [`web`], and the repositories of
/// [`git::repositories`], which are made in an empty folder.
///
/// # Errors
/// When git is missing or fails.
pub async fn serve(folder: &Path) -> io::Result<Server> {
    git::repositories(folder)?;
    Ok(Server::start_both(web()?, GitServer::new(folder)).await)
}

/// Makes the busybox base for both platforms and puts it into the peers' registry.
pub fn bases(docker: &Command, work: &Path) -> Result<Bases, CorpusError> {
    let registry = peers::registry().ok_or(CorpusError::Missing("registry of the peers"))?;
    let busybox = format!("{registry}/launchway/corpus-base:1");
    for architecture in ["amd64", "arm64"] {
        let program = fixtures().join(format!("busybox-{architecture}"));
        let program = fs::read(&program).map_err(|_| {
            CorpusError::Missing("static busybox in target/fixtures (`cargo xtask test` gets it)")
        })?;
        let path = work.join(format!("root-{architecture}.tar"));
        fs::write(&path, busybox_root(&program).map_err(at(&path))?).map_err(at(&path))?;
    }
    let dockerfile = work.join("Dockerfile");
    let text = "FROM scratch\nARG TARGETARCH\nADD root-${TARGETARCH}.tar /\nCMD [\"sh\"]\n";
    fs::write(&dockerfile, text).map_err(at(&dockerfile))?;
    let mut command = again(docker);
    command.args(["buildx", "build", "--push", "--provenance=false"]);
    command.args(["--platform", "linux/amd64,linux/arm64", "-t", &busybox]);
    done(command.arg(work))?;
    Ok(Bases {
        busybox,
        debian: format!("{registry}/library/debian:bookworm-slim"),
        web: None,
    })
}

fn root() -> PathBuf {
    workspace().join("corpus")
}

fn fixtures() -> PathBuf {
    match std::env::var_os(FIXTURES_VARIABLE) {
        Some(named) => named.into(),
        None => workspace().join("target/fixtures"),
    }
}

fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// A root file system around one static busybox: what the cases call, some users, a few folders.
fn busybox_root(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let header = |kind: EntryType, mode: u32, size: u64| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header
    };
    for (folder, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
    ] {
        tar.append_data(
            &mut header(EntryType::Directory, mode, 0),
            folder,
            io::empty(),
        )?;
    }
    for (path, mode, bytes) in [
        ("bin/busybox", 0o755, program),
        ("etc/passwd", 0o644, USERS.as_bytes()),
        ("etc/group", 0o644, GROUPS.as_bytes()),
    ] {
        let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)?;
    }
    for applet in APPLETS.split_whitespace() {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let mut home = header(EntryType::Directory, 0o755, 0);
    home.set_uid(1000);
    home.set_gid(1000);
    tar.append_data(&mut home, "home/app", io::empty())?;
    tar.into_inner()
}

/// Not all of them: Debian's build has no list to ask on another platform.
const APPLETS: &str = "awk basename cat chgrp chmod chown cp cut date dd dirname du \
    echo env expr false find grep gzip head hostname id ln ls mkdir mkfifo mknod mktemp mv od \
    printf ps pwd readlink rm rmdir sed seq sh sleep sort stat tail tar tee test touch tr true \
    truncate uname uniq wc which whoami xargs yes";

/// Copies somebody's context and gives its files old times.
pub(crate) fn copy_context(from: &Path, to: &Path) -> Result<(), CorpusError> {
    copy(from, to)?;
    settle_times(to, Path::new("")).map_err(at(to))
}

fn copy(from: &Path, to: &Path) -> Result<(), CorpusError> {
    let mut command = Command::new("cp");
    done(command.arg("-a").arg(from.join(".")).arg(to))
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let path = entry.map_err(at(path))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn texts(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let DeValue::Table(table) = value else {
        return Err("a table is wanted".to_owned());
    };
    let mut found = BTreeMap::new();
    for (key, value) in table {
        let DeValue::String(text) = value.get_ref() else {
            return Err(format!("{} takes a text", key.get_ref()));
        };
        found.insert(key.get_ref().to_string(), text.to_string());
    }
    Ok(found)
}

fn list(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(items) = value else {
        return Err("a list is wanted".to_owned());
    };
    let text = |value: &toml::Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err("a list of texts is wanted".to_owned()),
    };
    items.iter().map(text).collect()
}

/// Files that are older than this have the time they are meant to have: the beginning of 2015.
pub(crate) const LATELY: i64 = 1_420_070_400;

/// Gives everything that was made lately a time that its path and content decide: one that a builder
/// has to keep, and that tells files apart. (BuildKit takes a file whose path, size and time it
/// knows for the one it knows.) Older times, and those of the future, mean something to a case.
pub(crate) fn settle_times(root: &Path, relative: &Path) -> io::Result<()> {
    let path = root.join(relative);
    let metadata = fs::symlink_metadata(&path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(&path)? {
            settle_times(root, &relative.join(entry?.file_name()))?;
        }
    }
    let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let now = tomorrow.duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified = metadata.mtime();
    if modified < LATELY || modified > i64::try_from(now.as_secs()).unwrap_or(i64::MAX) {
        return Ok(());
    }
    let content = if metadata.is_file() {
        fs::read(&path)?
    } else {
        Vec::new()
    };
    let mut hash = 0x811c_9dc5_u32;
    for byte in relative.as_os_str().as_bytes().iter().chain(&content) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    let time = Timespec {
        tv_sec: 1_100_000_000 + i64::from(hash % 200_000_000),
        tv_nsec: 700_000_000,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(crate) fn again(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    copy.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    copy
}

fn done(command: &mut Command) -> Result<(), CorpusError> {
    let what = command.get_program().display().to_string();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().map_err(at(Path::new(&what)))?;
    if status.success() {
        return Ok(());
    }
    let said = [stdout, stderr].concat();
    Err(CorpusError::Command {
        what,
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

fn at(path: &Path) -> impl Fn(io::Error) -> CorpusError {
    let path = path.to_owned();
    move |source| CorpusError::Io {
        path: path.clone(),
        source,
    }
}
