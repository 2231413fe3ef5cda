//! Directories in each other, deeper than there are files to open at once by default, and deeper than a
//! path is long.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::lab::{BUSYBOX, Lab};

#[test]
fn a_deep_folder_is_copied_and_written_out() {
    const LEVELS: usize = 1_500;
    let lab = Lab::new("FROM scratch\nCOPY d /d\n");
    let open = |path: &std::path::Path| -> OwnedFd {
        openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("a folder")
    };
    let mut at = open(&lab.context());
    for _ in 0..LEVELS {
        mkdirat(&at, "d", Mode::RWXU).expect("making a folder");
        at = openat(&at, "d", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("a folder");
    }
    drop(at);
    let files = lab.path("f");
    lab.digest(&["-o", &files.display().to_string()]);
    let deep = files.join("d/".repeat(LEVELS));
    assert!(deep.is_dir());
    assert!(!deep.join("d").exists());
    // Also as a layer, with its tar.
    let image = lab.image(&[]);
    let below = image.entries.keys().filter(|path| path.starts_with(b"d"));
    assert_eq!(below.count(), LEVELS);
}

#[test]
fn what_no_path_reaches_is_refused_and_removed() {
    let twice = "cd $p && busybox mkdir -p $p && ";
    let step = format!(
        "RUN p=d; for n in 1 2 3 4 5 6 7 8 9 10; do p=$p/$p; done; busybox mkdir -p $p && {}true; true\n",
        twice.repeat(4)
    );
    let Some(lab) = Lab::with_busybox(
        "what_no_path_reaches_is_refused_and_removed",
        &format!("{BUSYBOX}{step}"),
    ) else {
        return;
    };
    let outcome = lab.build(&[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("4095"), "{}", outcome.stderr);
    // The next one finds nothing left, and works.
    lab.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    lab.digest(&[]);
    for kind in ["root", "rootless", "single"] {
        if let Ok(left) = fs::read_dir(lab.state().join(kind).join("store/tmp")) {
            let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(left, ["lock"]);
        }
    }
}
