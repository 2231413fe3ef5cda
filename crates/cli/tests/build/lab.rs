//! A build context and a state folder of its own for each test. No registry is needed: images start
//! from `scratch` with a static busybox.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use launchway_testkit::corpus::FIXTURES_VARIABLE;
use launchway_testkit::flatten::{self, Image};
use launchway_testkit::peers;
use tempfile::TempDir;

/// The beginning of a Dockerfile whose RUN steps have `busybox` as their shell and their tools.
pub(crate) const BUSYBOX: &str =
    "FROM scratch\nCOPY --chmod=755 busybox /bin/\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n";

pub(crate) struct Lab {
    folder: TempDir,
}

/// How a run of the program ended.
pub(crate) struct Outcome {
    /// Nothing when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    pub(crate) fn new(dockerfile: &str) -> Self {
        let lab = Self {
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("making a folder"),
        };
        lab.write("Dockerfile", dockerfile);
        lab
    }

    /// With a static busybox of this machine; nothing, and a word about it, where there is none or
    /// where the machine lets us run nothing.
    pub(crate) fn with_busybox(test: &str, dockerfile: &str) -> Option<Self> {
        Self::with_busybox_of(test, dockerfile, host_architecture())
    }

    pub(crate) fn with_busybox_of(
        test: &str,
        dockerfile: &str,
        architecture: &str,
    ) -> Option<Self> {
        let lab = Self::new(dockerfile);
        let fixture = fixture(architecture);
        if !fixture.is_file() {
            lacking(test, "static busybox in target/fixtures");
            return None;
        }
        fs::copy(fixture, lab.context().join("busybox")).expect("copying busybox");
        Some(lab)
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().expect("it is in the context")).expect("making a folder");
        fs::write(path, content).expect("writing a file");
    }

    /// `launchway dockerfile build FLAGS CONTEXT`, ready to start.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_launchway"));
        command
            .arg("--state-dir")
            .arg(self.state())
            .args(["dockerfile", "build"])
            .args(flags)
            .arg(self.context())
            .env_remove("SOURCE_DATE_EPOCH")
            // What is kept must not depend on how full the disk of the machine is.
            .env("LAUNCHWAY_CACHE_MIN_FREE", "off")
            .env("NO_COLOR", "1");
        command
    }

    /// `launchway dockerfile build FLAGS`, where the flags name the context, with something on stdin.
    pub(crate) fn build_with_stdin(&self, flags: &[&str], stdin: &[u8]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_launchway"));
        command
            .arg("--state-dir")
            .arg(self.state())
            .args(["dockerfile", "build"])
            .args(flags)
            .env_remove("SOURCE_DATE_EPOCH")
            .env("NO_COLOR", "1");
        piped(&mut command, stdin)
    }

    pub(crate) fn build(&self, flags: &[&str]) -> Outcome {
        outcome(&mut self.command(flags))
    }

    /// Builds, and gives the digest that was printed.
    pub(crate) fn digest(&self, flags: &[&str]) -> String {
        let outcome = self.build(flags);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout.trim().to_owned()
    }

    /// Builds, and gives the image as one value.
    pub(crate) fn image(&self, flags: &[&str]) -> Image {
        let layout = self.path("layout");
        let _ = fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let mut all = vec!["--output", &output];
        all.extend(flags);
        let outcome = self.build(&all);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        flatten::flatten(&layout, None).expect("reading the layout")
    }
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("starting launchway");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Runs a command with something on stdin.
pub(crate) fn piped(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting a program");
    let mut pipe = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Who refuses something early does not read it all.
            let _ = pipe.write_all(stdin);
        });
        child.wait_with_output().expect("waiting for a program")
    })
}

/// Says why a test cannot run here. Where nothing may be skipped, that is a failure.
pub(crate) fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: this machine has no {what}, and in CI nothing is skipped"
    );
    peers::skipped(test, what);
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("running id");
    output.stdout.trim_ascii() == b"0"
}

pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

fn fixture(architecture: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = own.ancestors().nth(2).unwrap_or(own);
    let folder = std::env::var_os(FIXTURES_VARIABLE)
        .map_or_else(|| workspace.join("target/fixtures"), PathBuf::from);
    folder.join(format!("busybox-{architecture}"))
}
