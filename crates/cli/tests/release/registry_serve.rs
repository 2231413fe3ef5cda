//! `launchway registry`: what its flags do and refuse.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use launchway_testkit::sha256;

use crate::lab::PROGRAM;
use crate::lab_registry::Registry;
use crate::wire;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with flags of its own; killed when it is dropped.
struct Serving {
    child: Child,
    host: String,
}

impl Serving {
    fn start(root: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", root)
            .args(["registry", "serve", "--listen", "127.0.0.1:0", "--root"])
            .arg(root)
            .args(flags)
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
        Self { child, host }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_mirror_outlives_what_it_mirrors() {
    let directory = tempfile::tempdir().expect("a folder");
    let mut upstream = Registry::start(&directory.path().join("upstream"), 0);
    let config = "{}";
    let layer = "a layer".repeat(100_000);
    for blob in [config, &layer] {
        let digest = sha256(blob.as_bytes());
        wire::push_blob(&upstream.host, "team/app", &digest, blob.as_bytes());
    }
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        sha256(config.as_bytes()),
        sha256(layer.as_bytes()),
        layer.len()
    );
    let put = wire::put(
        &upstream.host,
        "/v2/team/app/manifests/v1",
        MANIFEST,
        text.as_bytes(),
    );
    assert_eq!(put.status, 201);
    let of = format!("http://{}/team", upstream.host);
    let root = directory.path().join("mirror");
    let mirror = Serving::start(&root, &["--mirror-of", &of]);
    let blob = format!("/v2/app/blobs/{}", sha256(layer.as_bytes()));
    // Before its manifest is here, and so without knowing its size.
    let got = wire::get(&mirror.host, &blob);
    assert_eq!((got.status, got.body == layer.as_bytes()), (200, true));
    for target in ["/v2/app/manifests/none", "/v2/none/manifests/v1"] {
        assert_eq!(wire::get(&mirror.host, target).status, 404, "{target}");
    }
    let got = wire::get(&mirror.host, "/v2/app/manifests/v1?ns=127.0.0.1:1");
    assert_eq!(got.status, 404, "of another registry");
    for _ in 0..2 {
        let got = wire::get(&mirror.host, "/v2/app/manifests/v1");
        assert_eq!(got.status, 200);
        assert_eq!(got.body, text.as_bytes());
        assert_eq!(wire::get(&mirror.host, &blob).status, 200);
        let stale = got.header("warning").is_some();
        assert_eq!(stale, upstream.host.is_empty());
        upstream.stop();
        upstream.host.clear();
    }
    let put = wire::put(&mirror.host, "/v2/app/manifests/v1", MANIFEST, b"{}");
    assert_eq!(put.status, 405);
}

#[test]
fn what_cannot_be_served_is_refused_before_it_listens() {
    let directory = tempfile::tempdir().expect("a folder");
    let place = |name: &str| directory.path().join(name).display().to_string();
    fs::write(place("users"), "ann:$apr1$x$y\nbob:hunter2\n").expect("a file");
    let (users, none) = (place("users"), place("none"));
    for (flags, exit, want) in [
        (
            &["--htpasswd", users.as_str()][..],
            1,
            "line 1: the password of ann is hashed with MD5",
        ),
        (&["--htpasswd", &users], 1, "line 2: the password of bob"),
        (&["--htpasswd", &none], 1, "cannot read"),
        (&["--tokens"], 2, "--htpasswd"),
        (&["--tls-cert", &none], 2, "--tls-key"),
        (&["--tls-cert", &none, "--tls-key", &none], 1, "cannot read"),
        (&["--mirror-of", "ftp://x.example"], 2, "ftp:// is no way"),
        (
            &["--mirror-of", "https://127.0.0.1:5000"],
            2,
            "write http://",
        ),
        (
            &["--mirror-of", "https://x.example/UPPER"],
            2,
            "--mirror-of",
        ),
        (
            &["--mirror-of", "https://x.example", "--read-only"],
            2,
            "cannot be used with",
        ),
    ] {
        let output = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", directory.path())
            .args(["registry", "serve", "--listen", "127.0.0.1:0", "--root"])
            .arg(directory.path().join("root"))
            .args(flags)
            .output()
            .expect("running it");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{flags:?}: {told}");
        assert!(told.contains(want), "{flags:?}: {told}");
        assert!(output.stdout.is_empty(), "{flags:?}: no address");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn gc_shows_and_then_removes() {
    let directory = tempfile::tempdir().expect("a folder");
    let mut registry = Registry::start(&directory.path().join("root"), 0);
    let digest = sha256(b"nobody's");
    wire::push_blob(&registry.host, "app", &digest, b"nobody's");
    let gc = |flags: &[&str]| {
        let output = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", directory.path())
            .args(["registry", "gc", "--root"])
            .arg(directory.path().join("root"))
            .args(flags)
            .output()
            .expect("running it");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), shown, told)
    };
    let (code, _, told) = gc(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("in use by another registry"), "{told}");
    registry.stop();
    let line = format!("app  {digest}\n");
    for (flags, want) in [
        (&[][..], ""),
        (&["--older-than", "0", "--dry-run"], line.as_str()),
        (&["--older-than", "0", "--dry-run"], &line),
        (&["--older-than", "0"], &line),
        (&["--older-than", "0"], ""),
    ] {
        let (code, shown, told) = gc(flags);
        assert_eq!((code, shown.as_str()), (Some(0), want), "{flags:?}: {told}");
    }
}
