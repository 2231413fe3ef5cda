//! Git repositories with a fixed history, and a server that gives them over HTTP.
//!
//! Below `/git/` the server speaks git's own protocol, below `/files/` it gives plain files, and
//! below `/private/` it speaks the protocol with those who know [`TOKEN`].

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::http::{Answer, Handler, Seen};

/// What opens `/private/`, as the password of the user `x-access-token`.
pub const TOKEN: &str = "let-me-in";

/// `x-access-token:let-me-in` in base64.
const BASIC: &str = "eC1hY2Nlc3MtdG9rZW46bGV0LW1lLWlu";

/// git without any settings of this machine, in a folder, always the same author and time.
pub fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "init.defaultBranch=main",
        ])
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Someone")
        .env("GIT_AUTHOR_EMAIL", "someone@example.com")
        .env("GIT_AUTHOR_DATE", "1000000000 +0000")
        .env("GIT_COMMITTER_NAME", "Someone")
        .env("GIT_COMMITTER_EMAIL", "someone@example.com")
        .env("GIT_COMMITTER_DATE", "1000000000 +0000");
    command
}

/// Runs it and gives what it printed, without the end of the last line.
///
/// # Errors
/// When git fails; with what it said.
pub fn run(folder: &Path, arguments: &[&str]) -> io::Result<String> {
    fed(folder, arguments, b"")
}

/// The same with something on its standard input.
///
/// # Errors
/// When git fails; with what it said.
pub fn fed(folder: &Path, arguments: &[&str], input: &[u8]) -> io::Result<String> {
    let output = answer_of(git(folder).args(arguments), input)?;
    Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
}

fn answer_of(command: &mut Command, input: &[u8]) -> io::Result<Vec<u8>> {
    let output = outcome_of(command, input)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {said}")))
}

fn outcome_of(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut to = child.stdin.take();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read to the end has what it needs.
            let _ = to.as_mut().map(|to| to.write_all(input));
            drop(to);
        });
        child.wait_with_output()
    })
}

/// Makes bare repositories below an empty folder:
///
/// - `plain.git`: folders, a program, a symbolic link, line ends by attributes; the branches `main`
///   (two commits) and `side`, the tag `v1` and the annotated tag `v2`, and a branch and a tag that
///   are both called `both`;
/// - `outer.git`: `plain.git` as a submodule, at its first commit.
///
/// # Errors
/// When git fails.
pub fn repositories(folder: &Path) -> io::Result<()> {
    let work = folder.join("work");
    fs::create_dir_all(work.join("dir/deep"))?;
    let in_work = |arguments: &[&str]| run(&work, arguments);
    let commit = |message: &str| {
        in_work(&["add", "-A"])?;
        in_work(&["commit", "-q", "-m", message])
    };
    in_work(&["init", "-q"])?;
    fs::write(work.join("file"), "one\n")?;
    fs::write(work.join("dir/program"), "#!/bin/sh\n")?;
    fs::set_permissions(work.join("dir/program"), fs::Permissions::from_mode(0o755))?;
    fs::write(work.join("dir/deep/x"), "x\n")?;
    fs::write(work.join("windows.txt"), "a\nb\n")?;
    fs::write(
        work.join(".gitattributes"),
        "windows.txt text eol=crlf\nfile ident\n",
    )?;
    fs::write(work.join(".dockerignore"), "windows.txt\n")?;
    fs::write(work.join("Dockerfile"), "FROM scratch\nCOPY . /all/\n")?;
    std::os::unix::fs::symlink("deep/x", work.join("dir/link"))?;
    commit("one")?;
    in_work(&["tag", "v1"])?;
    in_work(&["branch", "both"])?;
    in_work(&["checkout", "-q", "-b", "side"])?;
    fs::write(work.join("side"), "side\n")?;
    commit("side")?;
    in_work(&["tag", "both"])?;
    in_work(&["checkout", "-q", "main"])?;
    fs::write(work.join("file"), "two $Id$\n")?;
    commit("two")?;
    in_work(&["tag", "-a", "-m", "the second", "v2"])?;
    in_work(&["clone", "-q", "--bare", ".", "../plain.git"])?;

    let outer = folder.join("outer");
    fs::create_dir_all(&outer)?;
    let in_outer = |arguments: &[&str]| run(&outer, arguments);
    in_outer(&["init", "-q"])?;
    let first = in_work(&["rev-parse", "v1"])?;
    fs::write(outer.join("own"), "own\n")?;
    fs::write(
        outer.join(".gitmodules"),
        "[submodule \"inner\"]\n\tpath = modules/inner\n\turl = ../plain.git\n",
    )?;
    in_outer(&["add", "-A"])?;
    in_outer(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{first},modules/inner"),
    ])?;
    in_outer(&["commit", "-q", "-m", "outer"])?;
    in_outer(&["clone", "-q", "--bare", ".", "../outer.git"])?;
    for bare in ["plain.git", "outer.git"] {
        let bare = folder.join(bare);
        // Any commit may be asked for, as at the large hosts.
        run(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"])?;
        run(&bare, &["update-server-info"])?;
    }
    fs::remove_dir_all(work)?;
    fs::remove_dir_all(outer)
}

/// Serves the bare repositories in a folder.
#[derive(Clone, Debug)]
pub struct GitServer {
    folder: PathBuf,
}

impl GitServer {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn smart(&self, request: &Seen, path: &str) -> io::Result<Answer> {
        let upload_pack = |repository: &str, arguments: &[&str], input: &[u8]| {
            let mut command = git(&self.folder);
            command
                .arg("upload-pack")
                .arg("--stateless-rpc")
                .args(arguments);
            if let Some(version) = request.header("Git-Protocol") {
                command.env("GIT_PROTOCOL", version);
            }
            let output = outcome_of(command.arg(self.folder.join(repository)), input)?;
            // What it refuses is part of its answer.
            match output.stdout.is_empty() && !output.status.success() {
                true => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
                false => Ok(output.stdout),
            }
        };
        if let Some(repository) = path.strip_suffix("/info/refs") {
            let mut body = b"001e# service=git-upload-pack\n0000".to_vec();
            body.extend(upload_pack(repository, &["--advertise-refs"], b"")?);
            let kind = "application/x-git-upload-pack-advertisement";
            return Ok(Answer::status(200).header("Content-Type", kind).body(body));
        }
        let Some(repository) = path.strip_suffix("/git-upload-pack") else {
            return Ok(Answer::status(404));
        };
        let mut input = request.body.to_vec();
        if request.header("Content-Encoding") == Some("gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*input).read_to_end(&mut plain)?;
            input = plain;
        }
        let body = upload_pack(repository, &[], &input)?;
        let kind = "application/x-git-upload-pack-result";
        Ok(Answer::status(200).header("Content-Type", kind).body(body))
    }
}

impl Handler for GitServer {
    fn answer(&mut self, request: &Seen, _: bool) -> Answer {
        let path = request.path();
        if path.contains("/..") {
            return Answer::status(404);
        }
        if let Some(path) = path.strip_prefix("/files/") {
            return match fs::read(self.folder.join(path)) {
                Ok(body) => Answer::status(200).body(body),
                Err(_) => Answer::status(404),
            };
        }
        let private = path.strip_prefix("/private/");
        let knows = |header: &str| header.eq_ignore_ascii_case(&format!("basic {BASIC}"));
        if private.is_some() && !request.header("Authorization").is_some_and(knows) {
            return Answer::status(401).header("WWW-Authenticate", "Basic realm=\"git\"");
        }
        match private.or_else(|| path.strip_prefix("/git/")) {
            Some(path) => self
                .smart(request, path)
                .unwrap_or_else(|error| Answer::status(500).body(error.to_string().into_bytes())),
            None => Answer::status(404),
        }
    }
}
