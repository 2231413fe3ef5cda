//! A served folder of repositories, and what is needed to take from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use launchway_dockerfile::git_source;
use launchway_git::{Access, GitError, Repositories, Resolved};
use launchway_testkit::git::{self, GitServer};
use launchway_testkit::http::Server;
use launchway_testkit::peers;

/// Whether this machine has no git, which in CI is a failure.
pub(crate) fn git_is_missing(test: &str) -> bool {
    let missing = git::run(Path::new("/"), &["version"]).is_err();
    if missing {
        assert!(std::env::var_os("CI").is_none(), "git is missing");
        peers::skipped(test, "git");
    }
    missing
}

pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) cancelled: AtomicBool,
    pub(crate) agent: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    repositories: Repositories,
    taken: AtomicUsize,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let served = folder.path().join("served");
        std::fs::create_dir(&served).unwrap();
        git::repositories(&served).unwrap();
        let server = Server::start_both(Vec::new(), GitServer::new(&served)).await;
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let state = folder.path().join("state");
        Self {
            repositories: Repositories::open(&state, environment.clone()).unwrap(),
            folder,
            server,
            secrets: Vec::new(),
            cancelled: AtomicBool::new(false),
            agent: None,
            environment,
            taken: AtomicUsize::new(0),
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// As the next process finds it.
    pub(crate) fn reopen(&mut self) {
        self.repositories = Repositories::open(&self.state(), self.environment.clone()).unwrap();
    }

    /// The same on a machine without git.
    pub(crate) fn forget_git(&mut self) {
        let nowhere = BTreeMap::from([("PATH".to_owned(), "/nonexistent".to_owned())]);
        self.repositories = Repositories::open(&self.state(), nowhere).unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.host())
    }

    /// The commit behind a name of a served repository.
    pub(crate) fn id(&self, repository: &str, name: &str) -> String {
        let folder = self.folder.path().join("served").join(repository);
        git::run(&folder, &["rev-parse", &format!("{name}^{{commit}}")]).unwrap()
    }

    pub(crate) fn take(&self, text: &str, keep: bool) -> Result<(Resolved, PathBuf), GitError> {
        let source = git_source(text).unwrap().unwrap();
        let secret = |id: &str| {
            let found = self.secrets.iter().find(|(name, _)| name == id);
            found.map(|(_, value)| value.clone().into_bytes())
        };
        let access = Access {
            secret: &secret,
            agent: self.agent.as_deref(),
            is_cancelled: &|| self.cancelled.load(Ordering::SeqCst),
        };
        let number = self.taken.fetch_add(1, Ordering::SeqCst);
        let to = self.folder.path().join(format!("taken-{number}"));
        std::fs::create_dir(&to).unwrap();
        let resolved = self.repositories.resolve(&source, &access)?;
        let tree = self
            .repositories
            .checkout(&source, &resolved, keep, &access, &to)?
            .path;
        Ok((resolved, tree))
    }
}

/// All paths below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, below: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
            }
            found.push(name);
        }
    }
    let mut found = Vec::new();
    walk(folder, "", &mut found);
    found.sort();
    found
}
