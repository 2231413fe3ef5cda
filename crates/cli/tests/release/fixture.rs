//! The static busybox that images of tests are made from, and whether the other platform runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Machine, PROGRAM, architecture, foreign, platform};
use crate::lab_registry::Registry;

/// A static busybox of an architecture: what `cargo xtask test` has laid ready, else the host's own.
pub(crate) fn busybox(architecture_wanted: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let prepared = workspace.join(format!("target/fixtures/busybox-{architecture_wanted}"));
    let host = (architecture_wanted == architecture()).then(|| PathBuf::from("/bin/busybox"));
    let mut places = std::iter::once(prepared).chain(host);
    places.find(|path| fs::read(path).is_ok_and(|bytes| is_static(&bytes)))
}

/// A program without an interpreter needs nothing beside it.
fn is_static(program: &[u8]) -> bool {
    let head = &program[..program.len().min(4096)];
    head.starts_with(b"\x7fELF") && !head.windows(7).any(|part| part == b"/ld-lin")
}

/// Whether programs of the other platform run here.
pub(crate) fn emulates() -> bool {
    let name = match foreign() {
        "arm64" => "qemu-aarch64",
        _ => "qemu-x86_64",
    };
    Path::new("/proc/sys/fs/binfmt_misc").join(name).exists()
}

/// A registry's folder with `library/busybox:1`, made once for all tests by this very program.
pub(crate) fn fixture(program: &Path) -> PathBuf {
    let tool = fs::metadata(PROGRAM).and_then(|metadata| metadata.modified());
    let age = tool
        .expect("the program is there")
        .duration_since(std::time::UNIX_EPOCH);
    let age = age.expect("the program is younger than 1970").as_nanos();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ready = home.join(format!("busybox-registry-{age}"));
    if ready.is_dir() {
        return ready;
    }
    let work = tempfile::tempdir_in(home).expect("making a folder");
    let context = work.path().join("context");
    fs::create_dir_all(&context).expect("making a folder");
    let mut platforms = vec![platform()];
    fs::copy(program, context.join(format!("busybox-{}", architecture())))
        .expect("copying busybox");
    if let Some(other) = busybox(foreign()).filter(|_| emulates()) {
        fs::copy(other, context.join(format!("busybox-{}", foreign()))).expect("copying busybox");
        platforms.push(format!("linux/{}", foreign()));
    }
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY --chmod=755 busybox-$TARGETARCH /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("writing a file");
    let root = work.path().join("root");
    let mut registry = Registry::start(&root, 0);
    let machine = Machine {
        state: work.path().join("state"),
        variables: BTreeMap::new(),
    };
    let folder = context.display().to_string();
    let tag = format!("{}/library/busybox:1", registry.host);
    let platforms = platforms.join(",");
    machine
        .run(&[
            "dockerfile",
            "build",
            "--platform",
            &platforms,
            "--tag",
            &tag,
            "--push",
            &folder,
        ])
        .expect(0);
    registry.stop();
    // Whoever comes second throws its own away.
    if fs::rename(&root, &ready).is_err() {
        assert!(ready.is_dir(), "the fixture can be moved into place");
    }
    ready
}

/// Hard links files, as registries never change them in place, but for their indexes and locks.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("making a folder");
    for entry in fs::read_dir(from).expect("reading a folder") {
        let entry = entry.expect("reading a folder");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target);
        } else if from.ends_with("sha256") {
            fs::hard_link(&source, &target).expect("linking a blob");
        } else {
            fs::copy(&source, &target).expect("copying a file");
        }
    }
}
