//! A root file system of one static program, and runs in it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use launchway_sandbox::{Exit, RunSpec, Running, Sandbox, SandboxError, Stdio, Stream};
use tempfile::TempDir;

const PROBE: &str = env!("CARGO_BIN_EXE_launchway-sandbox-probe");

const TOOLS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "dd", "df", "echo", "env", "false", "find", "grep", "head",
    "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nc", "ps", "pwd",
    "rm", "rmdir", "sed", "seq", "setsid", "sh", "sleep", "sort", "stat", "touch", "true",
    "umount", "unshare", "wc", "yes",
];

/// A directory with `layer`, `upper` and `work`.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

/// `None`, with the reason printed, where runs are not possible.
pub(crate) fn place() -> Option<Place> {
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        eprintln!("skipped: needs a static busybox (Debian package busybox-static)");
        return None;
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let place = Place {
        directory: tempfile::tempdir().expect("temporary directory"),
    };
    for name in ["layer/bin", "layer/etc", "layer/tmp", "upper", "work"] {
        fs::create_dir_all(place.path(name)).expect("creating the root");
    }
    fs::copy(busybox, place.path("layer/bin/busybox")).expect("copying busybox");
    for tool in TOOLS {
        symlink("busybox", place.path("layer/bin").join(tool)).expect("linking a tool");
    }
    Some(place)
}

impl Place {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A shell script over the layer; changes are thrown away.
    pub(crate) fn script(&self, script: &str) -> RunSpec {
        let mut spec = RunSpec::new(vec![self.path("layer")], words(&["/bin/sh", "-c", script]));
        spec.env = vec![("PATH".into(), "/bin".into())];
        spec
    }

    /// The same with the changes kept in `upper`.
    pub(crate) fn changing(&self, script: &str) -> RunSpec {
        RunSpec {
            upper: Some(self.path("upper")),
            work: Some(self.path("work")),
            ..self.script(script)
        }
    }

    /// Every path in `upper`, relative and sorted.
    pub(crate) fn changes(&self) -> Vec<String> {
        fn walk(directory: &Path, under: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).expect("reading the upper directory") {
                let path = entry.expect("reading the upper directory").path();
                found.push(
                    path.strip_prefix(under)
                        .expect("a path below")
                        .display()
                        .to_string(),
                );
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, under, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("upper"), &self.path("upper"), &mut found);
        found.sort();
        found
    }
}

pub(crate) fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// What a run wrote, by stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(PathBuf::from(PROBE))
}

pub(crate) fn probe() -> &'static Path {
    Path::new(PROBE)
}

pub(crate) fn start(spec: &RunSpec, stdin: Option<Vec<u8>>) -> (Running, Arc<Mutex<Output>>) {
    let output = Arc::new(Mutex::new(Output::default()));
    let kept = Arc::clone(&output);
    let sink = move |stream, bytes: &[u8]| {
        let mut kept = kept.lock().expect("no panic while collecting");
        let text = String::from_utf8_lossy(bytes);
        match stream {
            Stream::Stdout => kept.stdout.push_str(&text),
            Stream::Stderr => kept.stderr.push_str(&text),
        }
    };
    let running = sandbox()
        .spawn(
            spec,
            Stdio {
                stdin,
                output: Box::new(sink),
            },
        )
        .expect("starting the helper");
    (running, output)
}

pub(crate) fn run(spec: &RunSpec) -> (Result<Exit, SandboxError>, Output) {
    let (mut running, output) = start(spec, None);
    let exit = running.wait();
    let output = output.lock().expect("no panic while collecting").clone();
    (exit, output)
}

/// Standard output of a run that must succeed.
#[track_caller]
pub(crate) fn stdout(spec: &RunSpec) -> String {
    let (exit, output) = run(spec);
    assert!(matches!(exit, Ok(Exit::Code(0))), "{exit:?}, {output:?}");
    output.stdout
}

/// Processes of this machine whose command line holds a text.
pub(crate) fn processes(text: &str) -> usize {
    fs::read_dir("/proc")
        .expect("reading /proc")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(text))
        .count()
}

/// Waits for something that other processes do, for as long as a slow machine may need.
#[track_caller]
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}

/// A program of three instructions for arm64 that ends with code 7, or one for a processor that nothing runs here.
pub(crate) fn tiny_program(machine: u16) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&2_u16.to_le_bytes());
    file.extend_from_slice(&machine.to_le_bytes());
    file.extend_from_slice(&1_u32.to_le_bytes());
    for word in [BASE + 120, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&1_u32.to_le_bytes());
    file.extend_from_slice(&5_u32.to_le_bytes());
    for word in [0, BASE, BASE, 132, 132, 0x1000] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    // mov x0, #7; mov x8, #93; svc #0
    for instruction in [0xd280_00e0_u32, 0xd280_0ba8, 0xd400_0001] {
        file.extend_from_slice(&instruction.to_le_bytes());
    }
    file
}
