//! The registries that clients are tried with.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use launchway_testkit::{peers, sha256};
use serde_json::Value;
use tempfile::TempDir;

use super::image::{INDEX, Image, children};
use crate::serving::Serving;
use crate::wire::Connection;

/// `htpasswd -Bbn -C 4 tester s3cret-word`: quick to check.
const HTPASSWD: &str = "tester:$2y$04$xQ2b36ICm/vUmKbgf2JeOucrW3Zc9shDx2octFIAO9mBPtIQLcyjG\n";
/// `tester:s3cret-word` in base64, as files of credentials and the header hold it.
const AUTH: &str = "dGVzdGVyOnMzY3JldC13b3Jk";

pub(super) struct Registry {
    /// `127.0.0.1:port`.
    pub(super) host: String,
    password: bool,
    /// What keeps it running, and its files.
    _running: Option<(Running, TempDir)>,
}

enum Running {
    Ours(#[expect(dead_code, reason = "held for what its end does")] Serving),
    Distribution(Child),
}

impl Registry {
    pub(super) fn ours(password: bool) -> Option<Self> {
        let (folder, htpasswd) = folder();
        let flags = ["--htpasswd", htpasswd.as_str()];
        let flags = if password { &flags[..] } else { &[] };
        let serving = Serving::start(&folder.path().join("root"), flags);
        Some(Self {
            host: serving.host.clone(),
            password,
            _running: Some((Running::Ours(serving), folder)),
        })
    }

    /// Debian's `docker-registry`; `None` when it is not installed.
    pub(super) fn distribution(password: bool) -> Option<Self> {
        if !peers::on_path("docker-registry") {
            return None;
        }
        let (folder, htpasswd) = folder();
        // It cannot say which port it was given.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("finding a port");
        let address = listener.local_addr().expect("it has an address");
        drop(listener);
        let auth = match password {
            true => format!("auth: {{htpasswd: {{realm: test, path: {htpasswd}}}}}\n"),
            false => String::new(),
        };
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\"}}\nlog: {{level: error}}\n{auth}",
            folder.path().join("root").display()
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).expect("writing a configuration");
        let log = fs::File::create(folder.path().join("log")).expect("making a log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starting docker-registry");
        let running = Running::Distribution(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "docker-registry did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            host: address.to_string(),
            password,
            _running: Some((running, folder)),
        })
    }

    pub(super) fn has_password(&self) -> bool {
        self.password
    }

    /// The same registry, for somebody who does not know the password.
    pub(super) fn without_password(&self) -> Self {
        Self {
            host: self.host.clone(),
            password: false,
            _running: None,
        }
    }

    /// A file of credentials, in the format of docker and of containers.
    pub(super) fn credentials(&self) -> String {
        match self.password {
            true => format!(r#"{{"auths":{{"{}":{{"auth":"{AUTH}"}}}}}}"#, self.host),
            false => "{}".to_owned(),
        }
    }

    /// The digest under the tag of a repository, asked without any client.
    pub(super) fn digest_of(&self, repository: &str) -> String {
        sha256(&self.index_of(repository))
    }

    /// The index of a repository lists the manifests of the image.
    pub(super) fn has_children(&self, repository: &str, image: &Image) {
        let index: Value = serde_json::from_slice(&self.index_of(repository)).expect("it is JSON");
        let wanted: Vec<_> = image
            .platforms
            .iter()
            .map(|platform| platform.manifest.clone())
            .collect();
        assert_eq!(children(&index), wanted, "{repository}");
    }

    fn index_of(&self, repository: &str) -> Vec<u8> {
        let authorization = format!("Basic {AUTH}");
        let headers = [("accept", INDEX), ("authorization", &authorization)];
        let headers = &headers[..1 + usize::from(self.password)];
        let mut connection = Connection::open(&self.host).expect("connecting");
        let target = format!("/v2/{repository}/manifests/{}", super::image::TAG);
        let answer = connection
            .ask_with("GET", &target, headers, &[])
            .expect("asking for an index");
        assert_eq!(answer.status, 200, "{repository}");
        answer.body
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Distribution(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("making a folder");
    let file = folder.path().join("htpasswd");
    fs::write(&file, HTPASSWD).expect("writing a file of passwords");
    let file: &Path = &file;
    let text = super::text(file);
    (folder, text)
}
