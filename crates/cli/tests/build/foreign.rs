//! Building for another platform, with its programs run by emulation.

use std::path::Path;

use launchway_testkit::flatten::Kind;

use crate::lab::{BUSYBOX, Lab, host_architecture, lacking};

#[test]
fn steps_of_another_platform_run() {
    const NAME: &str = "steps_of_another_platform_run";
    let (architecture, machine, handler) = match host_architecture() {
        "amd64" => ("arm64", "aarch64", "qemu-aarch64"),
        _ => ("amd64", "x86_64", "qemu-x86_64"),
    };
    if !Path::new("/proc/sys/fs/binfmt_misc").join(handler).exists() {
        return lacking(NAME, "emulation of another platform");
    }
    let steps =
        format!("RUN busybox test \"$(busybox uname -m)\" = {machine} && echo yes > /seen\n");
    let Some(lab) = Lab::with_busybox_of(NAME, &format!("{BUSYBOX}{steps}"), architecture) else {
        return;
    };
    let image = lab.image(&["--platform", &format!("linux/{architecture}")]);
    assert_eq!(image.config["architecture"], architecture);
    let seen = &image.entries[b"seen".as_slice()];
    assert!(matches!(seen.kind, Kind::File { size: 4, .. }), "{seen}");
    // Nothing of the emulator stays. The three folders are what every step leaves, as BuildKit's do.
    let paths: Vec<String> = image
        .entries
        .keys()
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    assert_eq!(
        paths,
        ["", "bin", "bin/busybox", "dev", "proc", "seen", "sys"]
    );
}
