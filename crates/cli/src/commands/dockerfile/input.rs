//! Where the Dockerfile and the build context come from: a folder, stdin, the web, a repository.

use std::any::Any;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use launchway_context::{Context, ContextError, JunkRules, read_ignore_rules};
use launchway_dockerfile::GitSource;
use launchway_engine::{CheckedOut, unpack_archive};
use launchway_observe::{Web, WebAnswer, WebValidators};
use launchway_oci::{TempPath, Tree as _, resolve};

use super::Result;
use super::repository::{self, Keys};
use crate::failure::Failure;
use crate::toolbox::{self, Builder};

/// A Dockerfile, and what it is built from.
pub(super) struct Input {
    /// What messages call the Dockerfile.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) context: Context,
    /// When a repository's commit was made, or an archive was changed, in seconds since 1970.
    pub(super) time: Option<i64>,
    /// What was unpacked for the build; removed after it.
    pub(super) held: Option<Box<dyn Any>>,
}

/// Where the context comes from.
pub(super) enum Given<'a> {
    Folder(&'a Path),
    Stdin,
    Url(&'a str),
    Repository(GitSource),
}

impl<'a> Given<'a> {
    pub(super) fn of(context: &'a Path) -> Result<Self> {
        let text = context.to_str().unwrap_or_default();
        if text == "-" {
            return Ok(Self::Stdin);
        }
        if context.is_dir() {
            return Ok(Self::Folder(context));
        }
        if let Some(source) = repository::source(text)? {
            return Ok(Self::Repository(source));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Url(text));
        }
        Ok(Self::Folder(context))
    }

    /// Whether the store has to be there first, for what is unpacked. A user who is not root is moved
    /// into a user namespace by a new start of this program, so stdin cannot be read before either.
    pub(super) fn needs_store(&self, file: Option<&Path>) -> bool {
        !matches!(self, Self::Folder(_)) || is_stdin(file)
    }
}

/// What a Dockerfile from stdin is called.
const STDIN: &str = "stdin";

fn is_stdin(file: Option<&Path>) -> bool {
    file == Some(Path::new("-"))
}

/// Reads the Dockerfile and opens the context. `builder` is there when it was asked for.
pub(super) fn open(
    given: &Given<'_>,
    file: Option<&Path>,
    builder: Option<&Builder>,
    keys: &Keys,
) -> Result<Input> {
    match (given, builder) {
        (Given::Stdin, _) if is_stdin(file) => Err(Failure::usage(
            "both the context and the Dockerfile are to be read from stdin",
            "give one of them as a file",
        )),
        (Given::Folder(folder), _) => of_folder(folder, file),
        (Given::Stdin, Some(builder)) => {
            let received = Received::new(builder)?;
            let mut target = received.file()?;
            io::copy(&mut io::stdin().lock(), &mut target)
                .map_err(|error| Failure::caused("cannot read stdin", &error))?;
            received.open(STDIN, file, builder, None)
        }
        (Given::Url(url), Some(builder)) => {
            let received = Received::new(builder)?;
            let mut target = received.file()?;
            let (web, known) = (Web::default(), WebValidators::default());
            let answer = toolbox::block_here(web.get(url, &known, &mut target))?
                .map_err(|error| Failure::caused(format!("cannot get {}", shown(url)), &error))?;
            let modified = match answer {
                WebAnswer::New { modified, .. } => modified,
                WebAnswer::Unchanged => None,
            };
            received.open(&shown(url), file, builder, modified)
        }
        (Given::Repository(source), Some(builder)) => {
            let taken = repository::check_out(source, keys, builder)?;
            of_repository(taken, file)
        }
        (Given::Stdin | Given::Url(_) | Given::Repository(_), None) => {
            unreachable!("these need the store")
        }
    }
}

/// A Dockerfile from stdin is built with the repository's files, as with buildx.
fn of_repository(taken: CheckedOut, file: Option<&Path>) -> Result<Input> {
    let (name, bytes, context) = if is_stdin(file) {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::caused("cannot read stdin", &error))?;
        let context = repository::open(taken.path(), Path::new(".stdin"))?;
        ("stdin".to_owned(), bytes, context)
    } else {
        let (name, bytes) = repository::dockerfile(taken.path(), file)?;
        let context = repository::open(taken.path(), &name)?;
        (name.display().to_string(), bytes, context)
    };
    Ok(Input {
        text: utf8(&name, bytes)?,
        name,
        context,
        time: Some(taken.time()),
        held: Some(Box::new(taken)),
    })
}

fn of_folder(folder: &Path, file: Option<&Path>) -> Result<Input> {
    if !folder.is_dir() {
        return Err(Failure::usage(
            format!("the context {} is no folder", folder.display()),
            "name the folder that COPY takes files from, - for stdin, or a URL",
        ));
    }
    let (name, path, bytes) = if is_stdin(file) {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::caused("cannot read stdin", &error))?;
        // No ignore file can stand beside it.
        ("stdin".to_owned(), folder.join(".stdin"), bytes)
    } else {
        let path = match file {
            Some(file) => lower_case(file.to_owned()),
            None => lower_case(folder.join("Dockerfile")),
        };
        let bytes = fs::read(&path).map_err(|error| {
            Failure::usage(
                format!("cannot read {}: {error}", path.display()),
                "name the Dockerfile with --file, and the folder it copies from as the context",
            )
        })?;
        (path.display().to_string(), path, bytes)
    };
    let rules = read_ignore_rules(folder, &path).map_err(|error| no_context(&error))?;
    // A plain Dockerfile is built from exactly what buildx would see; only families leave junk out.
    let context = Context::open(folder, rules, JunkRules::none())
        .map_err(|error| no_context(&error))?
        .staying();
    Ok(Input {
        text: utf8(&name, bytes)?,
        name,
        context,
        time: None,
        held: None,
    })
}

/// A context that holds the store would be copied into itself without end.
pub(super) fn keeps_out(context: &Context, state: &Path) -> Result {
    let (Ok(folder), Ok(state)) = (context.path().canonicalize(), state.canonicalize()) else {
        return Ok(());
    };
    let Ok(inside) = state.strip_prefix(&folder) else {
        return Ok(());
    };
    if !matches!(context.entry(inside), Ok(Some(_))) {
        return Ok(());
    }
    Err(Failure::usage(
        format!(
            "the state directory {} is in the build context",
            state.display()
        ),
        "leave it out with .dockerignore, or give another one with --state-dir",
    ))
}

/// `dockerfile`, where there is that and no `Dockerfile`.
fn lower_case(path: PathBuf) -> PathBuf {
    if path.file_name() == Some("Dockerfile".as_ref()) && !path.exists() {
        let lower = path.with_file_name("dockerfile");
        if lower.exists() {
            return lower;
        }
    }
    path
}

/// What was sent: an archive is the context, anything else is a Dockerfile without one.
struct Received {
    held: TempPath,
}

impl Received {
    /// The largest Dockerfile that is sent, in bytes.
    const LIMIT: u64 = 16 << 20;
    const FILE: &'static str = "context";
    const FOLDER: &'static str = "unpacked";

    fn new(builder: &Builder) -> Result<Self> {
        let held = builder.store.temp_path();
        fs::create_dir_all(held.path().join(Self::FOLDER))
            .map_err(|error| Failure::caused("cannot make room for the context", &error))?;
        Ok(Self { held })
    }

    fn file(&self) -> Result<File> {
        File::create(self.held.path().join(Self::FILE))
            .map_err(|error| Failure::caused("cannot make room for the context", &error))
    }

    /// `modified` is what the server says of it.
    fn open(
        self,
        from: &str,
        file: Option<&Path>,
        builder: &Builder,
        modified: Option<i64>,
    ) -> Result<Input> {
        let folder = self.held.path().join(Self::FOLDER);
        let sent = self.held.path().join(Self::FILE);
        // Where a user has only one id, everything is root's.
        let owner = builder.state.ends_with("single").then_some((0, 0));
        let before = SystemTime::now();
        let is_archive = unpack_archive(&sent, &folder, owner).map_err(|error| {
            Failure::caused(format!("cannot unpack the context from {from}"), &error)
        })?;
        let time = modified.or_else(|| newest(&folder, before));
        let (name, bytes) = if is_archive {
            self.dockerfile_inside(&folder, from, file)?
        } else if file.is_some() && from == STDIN {
            return Err(Failure::usage(
                "what stdin gives is no archive, so it is the Dockerfile; --file names another",
                "leave --file out, or send a tar",
            ));
        } else {
            // Of a URL too, which then gives the Dockerfile whatever --file calls it.
            let unread = |error| Failure::caused("cannot read the Dockerfile", &error);
            if fs::metadata(&sent).map_err(unread)?.len() > Self::LIMIT {
                return Err(Failure::usage(
                    format!("what {from} gives is no archive, and too large for a Dockerfile"),
                    "send a tar: plain, or with gzip, bzip2, xz or zstd",
                ));
            }
            (from.to_owned(), fs::read(&sent).map_err(unread)?)
        };
        // The ignore rules are the business of who makes the archive, as in BuildKit.
        let context = Context::open(
            &folder,
            launchway_dockerfile::IgnoreRules::default(),
            JunkRules::none(),
        )
        .map_err(|error| no_context(&error))?
        .keeping_owners();
        Ok(Input {
            text: utf8(&name, bytes)?,
            name,
            context,
            time,
            held: Some(Box::new(self.held)),
        })
    }

    /// The Dockerfile of an archive, which may be a link, but none that leads out.
    fn dockerfile_inside(
        &self,
        folder: &Path,
        from: &str,
        file: Option<&Path>,
    ) -> Result<(String, Vec<u8>)> {
        if let Some(file) = file.filter(|file| file.is_absolute()) {
            let bytes = crate::settings::read(file)?;
            return Ok((file.display().to_string(), bytes));
        }
        let tree = Context::open(
            folder,
            launchway_dockerfile::IgnoreRules::default(),
            JunkRules::none(),
        )
        .map_err(|error| no_context(&error))?;
        let read = |name: &Path| {
            let path = resolve(&tree, name, true)?;
            let mut bytes = Vec::new();
            tree.open(&path)?.read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        };
        let name = file.unwrap_or(Path::new("Dockerfile"));
        let name = name.strip_prefix(".").unwrap_or(name);
        let bytes = read(name)
            .or_else(|error| match file {
                None => read(Path::new("dockerfile")).map_err(|_| error),
                Some(_) => Err(error),
            })
            .map_err(|error| {
                Failure::usage(
                    format!("the archive from {from} has no {}: {error}", name.display()),
                    "name the Dockerfile in it with --file",
                )
            })?;
        Ok((name.display().to_string(), bytes))
    }
}

/// A URL without what may be secret in it: user, password and query.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// The latest time of what was unpacked, in seconds since 1970. What the archive says nothing about got
/// the time of unpacking, and does not count.
fn newest(folder: &Path, before: SystemTime) -> Option<i64> {
    let before = before.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let before = i64::try_from(before).ok()?;
    let mut newest = None;
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let Ok(found) = entry.path().symlink_metadata() else {
                continue;
            };
            if found.mtime() < before {
                newest = newest.max(Some(found.mtime()));
            }
            if found.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    newest
}

fn utf8(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{name} is not UTF-8 text"), "save it as UTF-8"))
}

fn no_context(error: &ContextError) -> Failure {
    Failure::caused("cannot use the build context", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        for (url, want) in [
            ("https://h/f.tar", "https://h/f.tar"),
            ("https://u:p@h:1/a/f.tar?sig=x#y", "https://h:1/a/f.tar"),
            ("https://u:p@q@h", "https://h"),
            ("http://h/a@b", "http://h/a@b"),
        ] {
            assert_eq!(shown(url), want);
        }
    }
}
