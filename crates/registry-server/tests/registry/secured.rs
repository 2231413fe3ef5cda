//! Real clients that log in over TLS. A machine without them says so and passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use launchway_registry_server::{Options, ServeOptions, Tokens};
use launchway_testkit::peers;
use tempfile::TempDir;

use crate::access::access;
use crate::serving::Server;
use crate::support::{Fixture, options};
use crate::tls::{certify, tls};

struct Secured {
    directory: TempDir,
    server: Server,
}

impl Secured {
    /// A registry with one image, for `ann` whose password is `secret`.
    async fn start(tokens: Option<Tokens>) -> Self {
        let fixture = Fixture::new();
        fixture.image("seed/app", "v1", "").await;
        let Fixture {
            directory,
            registry,
        } = fixture;
        drop(registry);
        certify(directory.path());
        let options = Options {
            access: Some(access(directory.path(), tokens)),
            ..options()
        };
        let serving = ServeOptions {
            tls: Some(tls(directory.path()).unwrap()),
            ..ServeOptions::default()
        };
        let root = directory.path().join("root");
        let server = Server::start_with(&root, options, serving).await;
        Self { directory, server }
    }

    fn at(&self, what: &str) -> String {
        format!("{}/{what}", self.server.address)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a tool that trusts our certificate and has no credentials but its own here.
    async fn run(&self, mut command: Command, arguments: &[&str]) -> (bool, String) {
        let home = self.place("home");
        fs::create_dir_all(&home).unwrap();
        command
            .args(arguments)
            .env("DOCKER_CONFIG", home.join("docker"))
            .env("XDG_RUNTIME_DIR", &home)
            .env("REGISTRY_AUTH_FILE", home.join("auth.json"))
            .env("SSL_CERT_FILE", self.place("cert.pem"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let mut shown = String::from_utf8_lossy(&output.stdout).into_owned();
        shown.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), shown)
    }
}

/// Logs in with the wrong password, with the right one, and copies an image within the registry.
async fn logs_in(tool: &str, login: &[&str], copy: &[&str]) {
    if peers::tool(tool).is_none() {
        peers::skipped(&format!("secured::{tool}"), tool);
        return;
    }
    let command = || peers::tool(tool).expect("it was there a moment ago");
    let tokens = Tokens {
        lifetime: Duration::from_secs(300),
        realm: None,
    };
    for tokens in [None, Some(tokens)] {
        let kind = if tokens.is_some() { "bearer" } else { "basic" };
        let secured = Secured::start(tokens).await;
        let (from, to) = (secured.at("seed/app:v1"), secured.at("copied/app:v1"));
        let host = secured.server.address.to_string();
        let certificates = secured.directory.path().to_str().unwrap().to_owned();
        let fill = |arguments: &[&str], password: &str| -> Vec<String> {
            arguments
                .iter()
                .map(|text| {
                    text.replace("HOST", &host)
                        .replace("PASSWORD", password)
                        .replace("CERTIFICATES", &certificates)
                        .replace("FROM", &from)
                        .replace("TO", &to)
                })
                .collect()
        };
        let run = async |arguments: Vec<String>| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            secured.run(command(), &arguments).await
        };
        let (copied, shown) = run(fill(copy, "")).await;
        assert!(!copied, "{tool} {kind}, without a login: {shown}");
        // crane takes any password down and finds out when it uses it.
        if tool != "crane" {
            let (done, shown) = run(fill(login, "wrong")).await;
            assert!(!done, "{tool} {kind}, with a wrong password: {shown}");
        }
        let (done, shown) = run(fill(login, "secret")).await;
        assert!(done, "{tool} {kind}, logging in: {shown}");
        let (copied, shown) = run(fill(copy, "secret")).await;
        assert!(copied, "{tool} {kind}, copying: {shown}");
        let copied = index_of(secured.directory.path(), "copied/app");
        assert_eq!(
            copied["manifests"][0]["digest"],
            index_of(secured.directory.path(), "seed/app")["manifests"][0]["digest"]
        );
        secured.server.stop().await;
    }
}

fn index_of(directory: &Path, repository: &str) -> serde_json::Value {
    let path = directory.join("root/repositories").join(repository);
    serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn crane() {
    logs_in(
        "crane",
        &["auth", "login", "HOST", "-u", "ann", "-p", "PASSWORD"],
        &["copy", "FROM", "TO"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oras() {
    logs_in(
        "oras",
        &["login", "HOST", "-u", "ann", "-p", "PASSWORD"],
        &["copy", "FROM", "TO"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo() {
    logs_in(
        "skopeo",
        &["login", "HOST", "-u", "ann", "-p", "PASSWORD"],
        &[
            "--insecure-policy",
            "copy",
            "--preserve-digests",
            "docker://FROM",
            "docker://TO",
        ],
    )
    .await;
}
