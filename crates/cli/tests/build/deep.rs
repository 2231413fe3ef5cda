//! Directories in each other, deeper than there are files to open at once by default, and deeper than a
//! path is long.

use std::fs;

use crate::lab::{BUSYBOX, Lab};

/// Its name is the way to a thousand directories in each other.
const THOUSAND: &str = "p=d; for n in 1 2 3 4 5 6 7 8 9 10; do p=$p/$p; done";

#[test]
fn a_deep_folder_is_packed_and_written_out() {
    let Some(lab) = Lab::with_busybox(
        "a_deep_folder_is_packed_and_written_out",
        &format!("{BUSYBOX}RUN {THOUSAND}; busybox mkdir -p $p\n"),
    ) else {
        return;
    };
    let files = lab.path("files");
    let image = lab.image(&["-o", &files.display().to_string()]);
    let below = image.entries.keys().filter(|path| path.starts_with(b"d/"));
    assert_eq!(below.count(), 1_023);
    assert!(files.join("d/".repeat(1_024)).is_dir());
    assert!(!files.join("d/".repeat(1_025)).exists());
}

#[test]
fn what_no_path_reaches_is_refused_and_removed() {
    // A thousand in each other, which then lie below another thousand, and so on.
    let step = format!(
        "RUN {THOUSAND}; busybox mkdir -p $p; \
         for n in 1 2 3 4; do busybox mv d e; busybox mkdir -p $p; busybox mv e $p/e; done\n"
    );
    let Some(lab) = Lab::with_busybox(
        "what_no_path_reaches_is_refused_and_removed",
        &format!("{BUSYBOX}{step}"),
    ) else {
        return;
    };
    let outcome = lab.build(&[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("longer than 3584 bytes"),
        "{}",
        outcome.stderr
    );
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
