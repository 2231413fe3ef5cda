//! Where these tests run: a folder of their own, registries in it, an image made for them, and the
//! real program driven from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use launchway_testkit::{peers, sha256};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_launchway");

/// Where nothing may be skipped, what is missing is a failure.
pub(crate) fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "this machine has no {what}, and in CI nothing is skipped"
    );
    peers::skipped(test, what);
}

/// A folder for one test; everything in it goes away at the end.
pub(crate) struct Lab {
    folder: TempDir,
}

/// What a run of the program came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("making a folder");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.program(arguments).output().expect("starting it");
        ran(&output)
    }

    /// Runs with lines on stdin.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .program(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting it");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin.write_all(input.as_bytes()).expect("writing to it");
        drop(stdin);
        ran(&child.wait_with_output().expect("waiting for it"))
    }

    /// Runs what has to succeed, and gives its stdout.
    #[track_caller]
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let out = self.good(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&out).expect("it is JSON")
    }

    pub(crate) fn registry(&self, name: &str) -> Registry {
        Registry::start(&self.path().join(name))
    }

    /// A layout `image` with the tag `v1`: two platforms of two layers, of which one is shared, and
    /// an attestation. Gives the digest of its index.
    pub(crate) fn image(&self) -> String {
        let mut maker = Maker::new(&self.path().join("image"));
        let shared = layer("shared", 300_000);
        let mut entries = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let layers = [shared.clone(), layer(architecture, 100_000)];
            entries.push(maker.image(architecture, &layers));
        }
        let about = maker.attestation(&entries[0]);
        entries.push(about);
        maker.finish(&entries)
    }
}

fn ran(output: &Output) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// A tar with one file of so many bytes that do not compress.
fn layer(name: &str, length: usize) -> Vec<u8> {
    let mut state = name
        .bytes()
        .fold(88_172_645_463_325_252_u64, |state, byte| {
            state.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(length / 8)
    .flatten()
    .collect();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, bytes.as_slice())
        .expect("a vector takes everything");
    builder.into_inner().expect("a vector takes everything")
}

/// Wrapped and not made smaller, so that no release of a library changes a digest.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

struct Maker {
    layout: PathBuf,
}

impl Maker {
    fn new(layout: &Path) -> Self {
        fs::create_dir_all(layout.join("blobs/sha256")).expect("making a folder");
        fs::write(
            layout.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .expect("writing a file");
        Self {
            layout: layout.to_owned(),
        }
    }

    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        let path = self.layout.join("blobs").join(digest.replacen(':', "/", 1));
        fs::write(path, bytes).expect("writing a file");
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn manifest(&mut self, config: &Value, layers: &[Value]) -> Value {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn image(&mut self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
        let config = json!({
            "created": "2026-01-02T03:04:05Z",
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Env": ["PATH=/bin", "COLOUR=blue"],
                "Entrypoint": ["/bin/app"],
                "Cmd": ["--serve"],
                "User": "app",
                "WorkingDir": "/srv",
                "Labels": { "org.opencontainers.image.source": "https://example.com/app" },
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [
                { "created_by": "COPY shared /" },
                { "created_by": "ENV COLOUR=blue", "empty_layer": true },
                { "created_by": format!("COPY {architecture} /") },
            ],
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(layer)))
            .collect();
        let mut descriptor = self.manifest(&config, &layers);
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    fn attestation(&mut self, about: &Value) -> Value {
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [sha256(b"{}")] },
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let layer = self.blob("application/vnd.in-toto+json", b"{}");
        let mut descriptor = self.manifest(&config, &[layer]);
        descriptor["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        descriptor["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about["digest"],
        });
        descriptor
    }

    fn finish(&mut self, entries: &[Value]) -> String {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let mut root = self.blob(INDEX, index.to_string().as_bytes());
        let digest = root["digest"].as_str().expect("it has one").to_owned();
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [root] });
        fs::write(self.layout.join("index.json"), index.to_string()).expect("writing a file");
        digest
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// `launchway registry serve` as a process of its own.
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:port`.
    pub(crate) host: String,
}

impl Registry {
    fn start(root: &Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .env_clear()
            .env("HOME", root)
            .args(["registry", "serve", "--listen", "127.0.0.1:0", "--root"])
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
        Self { child, host }
    }

    pub(crate) fn stop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}
