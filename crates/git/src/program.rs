//! The `git` of this machine, started so that neither a repository nor the user's settings can make
//! it do anything but fetch and unpack.
//!
//! A program rather than a library: it knows every transport, and is what the fixes for hostile
//! repositories are made for first.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use launchway_dockerfile::{GitSource, GitTransport};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Access, GitError, Repositories};

/// The oldest git that takes settings from its environment.
const OLDEST: (u32, u32) = (2, 31);

/// So much of what git says is kept, in bytes.
const SAID: usize = 64 * 1024;

/// Variables of the user's that git sees: where programs are, and the way to the network.
const PASSED_ON: [&str; 15] = [
    "PATH",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// Settings that win over those of a repository. No hooks, no helpers, no housekeeping, and patience
/// that ends.
const SETTINGS: [(&str, &str); 16] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.autocrlf", "false"),
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
    // The folders are ours, whoever owns what they stand in.
    ("safe.directory", "*"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
];

/// The transports that are used at all, for submodules as well.
const TRANSPORTS: &str = "http:https:git:ssh";

/// git as it is started for one source.
pub(crate) struct Program<'a> {
    access: &'a Access<'a>,
    variables: BTreeMap<String, String>,
    settings: Vec<(String, String)>,
    /// The setting that gives the server what opens the repository.
    header: Option<(String, String)>,
    /// What must not be repeated.
    secrets: Vec<String>,
    directory: PathBuf,
    /// Held by everything that git starts, so that a lock lasts as long as they do.
    held: Option<File>,
}

impl<'a> Program<'a> {
    pub(crate) fn for_source(
        repositories: &'a Repositories,
        source: &GitSource,
        access: &'a Access<'a>,
    ) -> Result<Self, GitError> {
        let environment = &repositories.environment;
        check_version(environment)?;
        if source.transport == GitTransport::Ssh && access.agent.is_none() {
            return Err(GitError::NoAgent);
        }
        let mut variables: BTreeMap<String, String> = PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), environment.get(*name)?.clone())))
            .collect();
        let ssh = ssh_command(&repositories.folder, environment.get("HOME").map(Path::new));
        for (name, value) in [
            ("LC_ALL", "C"),
            // No settings, no .netrc.
            ("HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", TRANSPORTS),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_SSH_VARIANT", "ssh"),
            ("GIT_SSH_COMMAND", &ssh),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        if let Some(agent) = access.agent {
            let agent = agent.display().to_string();
            variables.insert("SSH_AUTH_SOCK".to_owned(), agent);
        }
        let mut program = Self {
            access,
            variables,
            settings: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            header: None,
            secrets: Vec::new(),
            directory: repositories.folder.clone(),
            held: None,
        };
        program.authorise(source)?;
        Ok(program)
    }

    /// Works in another directory from now on.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.directory = directory.to_owned();
        self
    }

    /// A lock that is held until all that is started from now on has ended.
    pub(crate) fn holding(mut self, lock: File) -> Self {
        self.held = Some(lock);
        self
    }

    /// The user's right to read the repository, as a header that goes to that repository alone: with
    /// it, no redirect is followed, for git would send it on. It stands in no argument and in no file.
    fn authorise(&mut self, source: &GitSource) -> Result<(), GitError> {
        if !matches!(source.transport, GitTransport::Http | GitTransport::Https) {
            return Ok(());
        }
        let Some(value) = authorization(source, self.access.secret)? else {
            return Ok(());
        };
        let name = format!("http.{}.extraHeader", scope(&source.remote));
        self.header = Some((name, format!("Authorization: {value}")));
        self.secrets.extend(value.split(' ').map(str::to_owned));
        self.secrets.push(value);
        Ok(())
    }

    /// Runs git to its end and gives what it printed.
    pub(crate) fn run(&self, act: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let outcome = |header: Option<&(String, String)>| {
            self.outcome(&arguments, header)
                .map_err(|error| match error {
                    GitError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                        GitError::NotInstalled
                    }
                    other => other,
                })
        };
        let (good, printed, said) = outcome(self.header.as_ref())?;
        if good {
            return Ok(printed);
        }
        // A repository that everybody can read is read where it moved to.
        if self.header.is_some()
            && tells_of_redirect(&said)
            && let (true, printed, _) = outcome(None)?
        {
            return Ok(printed);
        }
        Err(GitError::Failed {
            act,
            said: self.cleaned(&said),
        })
    }

    /// Whether git says yes.
    pub(crate) fn agrees(&self, arguments: &[&str]) -> Result<bool, GitError> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        Ok(self.outcome(&arguments, None)?.0)
    }

    fn outcome(
        &self,
        arguments: &[&OsStr],
        header: Option<&(String, String)>,
    ) -> Result<(bool, String, String), GitError> {
        let failed = || GitError::io("run git");
        let input = match &self.held {
            Some(lock) => Stdio::from(lock.try_clone().map_err(failed())?),
            None => Stdio::null(),
        };
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.variables)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let stay = header.map(|_| ("http.followRedirects", "false"));
        let settings = self.settings.iter().chain(header);
        let settings = settings.map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<(&str, &str)> = settings.chain(stay).collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        let mut child = command.spawn().map_err(failed())?;
        let printed = child.stdout.take();
        let said = child.stderr.take();
        let group = Pid::from_child(&child);
        std::thread::scope(|scope| {
            let printed = scope.spawn(|| all_of(printed, usize::MAX));
            let said = scope.spawn(|| all_of(said, SAID));
            let mut pause = Duration::from_millis(1);
            let status = loop {
                if let Some(status) = child.try_wait().map_err(failed())? {
                    break status;
                }
                if (self.access.is_cancelled)() {
                    let _ = kill_process_group(group, Signal::KILL);
                    let _ = child.wait();
                    return Err(GitError::Cancelled);
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(40));
            };
            let text = |bytes: std::thread::Result<Vec<u8>>| {
                String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
            };
            Ok((status.success(), text(printed.join()), text(said.join())))
        })
    }

    /// The end of what git said, without progress, control characters and secrets.
    fn cleaned(&self, said: &str) -> String {
        let mut text = said.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.len() >= 4) {
            text = text.replace(secret.as_str(), "***");
        }
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.rsplit('\r').next().unwrap_or_default())
            .map(|line| line.chars().filter(|c| !c.is_control()).take(300).collect())
            .filter(|line: &String| !line.is_empty() && !line.starts_with("hint:"))
            .collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// Whether a server sent git elsewhere, where it does not go.
pub(crate) fn tells_of_redirect(said: &str) -> bool {
    ["301", "302", "303", "307", "308"]
        .iter()
        .any(|status| said.contains(&format!("returned error: {status}")))
}

/// Reads to the end, keeps a part.
fn all_of(from: Option<impl Read>, keep: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let Some(mut from) = from else { return kept };
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..length]);
        if kept.len() > keep {
            kept.drain(..kept.len() - keep);
        }
    }
    kept
}

/// What stands in the header: a secret of that host, any secret, or what stood in the URL.
fn authorization(
    source: &GitSource,
    secret: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Option<String>, GitError> {
    let rest = source.remote.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let basic = |pair: &str| format!("basic {}", STANDARD.encode(pair));
    for (name, is_token) in [
        (format!("GIT_AUTH_HEADER.{host}"), false),
        (format!("GIT_AUTH_TOKEN.{host}"), true),
        ("GIT_AUTH_HEADER".to_owned(), false),
        ("GIT_AUTH_TOKEN".to_owned(), true),
    ] {
        let Some(value) = secret(&name) else { continue };
        let value = String::from_utf8(value).map_err(|_| GitError::BadSecret)?;
        let value = value.trim();
        if value.chars().any(char::is_control) {
            return Err(GitError::BadSecret);
        }
        return Ok(Some(match is_token {
            true => basic(&format!("x-access-token:{value}")),
            false => value.to_owned(),
        }));
    }
    let Some(user_info) = &source.user_info else {
        return Ok(None);
    };
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    Ok(Some(basic(&format!(
        "{}:{}",
        decoded(user),
        decoded(password)
    ))))
}

/// The URLs that a header is for: the repository's, and on GitHub, where submodules are often of
/// the same owner, the whole host's.
fn scope(remote: &str) -> &str {
    ["https://github.com/", "https://www.github.com/"]
        .into_iter()
        .find(|host| remote.starts_with(*host))
        .unwrap_or(remote)
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%');
        let pair = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// ssh without settings and keys of the user's, other than those of the agent. The keys of servers
/// that are met for the first time are noted, and others than the noted ones are refused.
fn ssh_command(folder: &Path, home: Option<&Path>) -> String {
    let mut known = vec![folder.join("known_hosts")];
    known.extend(home.map(|home| home.join(".ssh/known_hosts")));
    let known: Vec<String> = known
        .iter()
        .map(|path| path.display().to_string())
        // ssh has no way to write these.
        .filter(|path| !path.contains(['"', '%', '\\', '\n']))
        .map(|path| format!("\"{path}\""))
        .collect();
    let options = [
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        format!("UserKnownHostsFile={}", known.join(" ")),
        "IdentityFile=none".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "ConnectTimeout=30".to_owned(),
        "ServerAliveInterval=20".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ];
    let mut command = "ssh -F /dev/null".to_owned();
    for option in options {
        command.push_str(&format!(" -o '{}'", option.replace('\'', "'\\''")));
    }
    command
}

/// The version of this machine's git, as numbers and as it says it; none when there is no git.
pub fn find_git(environment: &BTreeMap<String, String>) -> Option<((u32, u32), String)> {
    let output = Command::new("git")
        .arg("version")
        .env_clear()
        .envs(environment.get("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().strip_prefix("git version ")?.to_owned();
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    Some(((numbers.next()?, numbers.next()?), version))
}

/// Whether git of that version can be used.
pub fn is_new_enough(version: (u32, u32)) -> bool {
    version >= OLDEST
}

/// Whether this machine has OpenSSH's client.
pub fn find_ssh(environment: &BTreeMap<String, String>) -> bool {
    let started = Command::new("ssh")
        .arg("-V")
        .env_clear()
        .envs(environment.get("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    started.is_ok_and(|status| status.success())
}

fn check_version(environment: &BTreeMap<String, String>) -> Result<(), GitError> {
    match find_git(environment) {
        None => Err(GitError::NotInstalled),
        Some((version, _)) if is_new_enough(version) => Ok(()),
        Some((_, found)) => Err(GitError::TooOld { found }),
    }
}

#[cfg(test)]
mod tests {
    use launchway_dockerfile::git_source;

    use super::*;

    #[test]
    fn what_goes_into_the_header() {
        let secrets = |given: &'static [(&str, &str)]| {
            move |id: &str| {
                let found = given.iter().find(|(name, _)| *name == id);
                found.map(|(_, value)| value.as_bytes().to_vec())
            }
        };
        let token = |text: &str| Some(format!("basic {}", STANDARD.encode(text)));
        for (url, given, want) in [
            ("https://h/a.git", &[][..], None),
            (
                "https://h/a.git",
                &[("GIT_AUTH_TOKEN", "t\n")],
                token("x-access-token:t"),
            ),
            (
                "https://h/a.git",
                &[("GIT_AUTH_HEADER", "bearer x")],
                Some("bearer x".to_owned()),
            ),
            (
                "https://h:1/a.git",
                &[("GIT_AUTH_HEADER", "no"), ("GIT_AUTH_TOKEN.h:1", "t")],
                token("x-access-token:t"),
            ),
            ("https://h:1/a.git", &[("GIT_AUTH_TOKEN.h", "t")], None),
            ("https://u:p%40@h/a.git", &[], token("u:p@")),
            ("https://only@h/a.git", &[], token("only:")),
        ] {
            let source = git_source(url).unwrap().unwrap();
            let found = authorization(&source, &secrets(given)).unwrap();
            assert_eq!(found, want, "{url}");
        }
        let source = git_source("https://h/a.git").unwrap().unwrap();
        let broken = secrets(&[("GIT_AUTH_HEADER", "a\nX-Other: b")]);
        assert!(matches!(
            authorization(&source, &broken),
            Err(GitError::BadSecret)
        ));
    }

    #[test]
    fn whom_the_header_is_for() {
        assert_eq!(scope("https://h/a.git"), "https://h/a.git");
        assert_eq!(scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(
            scope("https://github.com.evil/a.git"),
            "https://github.com.evil/a.git"
        );
    }

    #[test]
    fn paths_of_ssh_are_quoted() {
        let command = ssh_command(Path::new("/a b/it's"), Some(Path::new("/home/x")));
        let want = r#"'UserKnownHostsFile="/a b/it'\''s/known_hosts" "/home/x/.ssh/known_hosts"'"#;
        assert!(command.contains(want), "{command}");
        assert!(!ssh_command(Path::new("/a\"b"), None).contains("a\"b"));
    }

    #[test]
    fn old_versions() {
        for (version, good) in [
            ((1, 99), false),
            ((2, 30), false),
            ((2, 31), true),
            ((3, 0), true),
        ] {
            assert_eq!(is_new_enough(version), good, "{version:?}");
        }
    }
}
