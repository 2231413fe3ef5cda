//! `--output`: the files of an image as a tar and in a folder, as buildx writes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use launchway_testkit::peers;

use crate::lab::{BUSYBOX, Lab, is_root, lacking, outcome};

const EPOCH: &str = "SOURCE_DATE_EPOCH=1000000000";

/// Every kind of entry, removals, and files of several layers.
const KINDS: &str = "\
RUN busybox mkdir -p /o/sub/deep /o/empty /o/gone /o/opaque && busybox touch /o/gone/a /o/opaque/old
RUN echo hi > /o/file && busybox ln /o/file /o/sub/hard && busybox ln -s ../../etc/passwd /o/out \\
 && busybox ln -s file /o/link && busybox mkfifo /o/pipe && busybox mknod /o/null c 1 3 \\
 && busybox mknod /o/disk b 7 200 && busybox chown 1234:5678 /o/file && busybox chown -h 7:8 /o/link \\
 && busybox chmod 4711 /o/sub && busybox chmod 2750 /o/empty && busybox mkdir -m 1777 /o/sticky \\
 && busybox touch -d '2001-02-03 04:05:06' /o/sub/deep/dated && busybox chmod 0 /o/sub/deep/dated \\
 && busybox touch -h -d '2001-02-03 04:05:07' /o/link && busybox chmod 500 /o/sub/deep
RUN busybox rm -r /o/gone /o/opaque && busybox mkdir /o/opaque && busybox touch '/o/opaque/new nämé'
ADD attributes.tar /o/
FROM scratch
COPY --from=0 /o /
";

/// A tar with extended attributes, which a busybox cannot set.
fn attributes() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    // One of the forms of security.capability: version 2, cap_net_raw.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    tar.append_pax_extensions([("SCHILY.xattr.security.capability", &capability[..])])
        .expect("writing to memory");
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(4);
    header.set_mtime(1_000_000_000);
    tar.append_data(&mut header, "capable", &b"file"[..])
        .expect("writing to memory");
    tar.append_pax_extensions([("SCHILY.xattr.user.note", &b"kept"[..])])
        .expect("writing to memory");
    tar.append_data(&mut header, "noted", &b"file"[..])
        .expect("writing to memory");
    tar.into_inner().expect("writing to memory")
}

/// One line for each entry of a tar: all that it says.
pub(crate) fn told_by_tar(bytes: &[u8], with_times: bool) -> Vec<String> {
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let mut lines = Vec::new();
    for entry in archive.entries().expect("reading the tar") {
        let mut entry = entry.expect("reading the tar");
        let attributes: BTreeMap<String, String> = entry
            .pax_extensions()
            .expect("reading the tar")
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter(|extension| extension.key_bytes().starts_with(b"SCHILY.xattr"))
            .map(|extension| {
                (
                    String::from_utf8_lossy(extension.key_bytes()).into_owned(),
                    extension.value_bytes().escape_ascii().to_string(),
                )
            })
            .collect();
        let header = entry.header().clone();
        let link = entry
            .link_name_bytes()
            .map(|link| link.escape_ascii().to_string());
        let path = entry.path_bytes().escape_ascii().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("reading the tar");
        let device = (
            header.device_major().ok().flatten(),
            header.device_minor().ok().flatten(),
        );
        let time = with_times.then(|| header.mtime().expect("a time"));
        lines.push(format!(
            "{path} {:?} {:o} {}:{} {link:?} {device:?} {:?} {attributes:?} {:?}",
            header.entry_type(),
            header.mode().expect("a mode"),
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
            content.escape_ascii().to_string(),
            time,
        ));
    }
    lines
}

/// One line for each entry of a folder: all that it is.
fn told_by_folder(folder: &Path, with_times: bool) -> Vec<String> {
    let mut first_names: BTreeMap<u64, String> = BTreeMap::new();
    let mut lines = Vec::new();
    let mut todo = vec![folder.to_owned()];
    let mut paths = Vec::new();
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).expect("listing a folder") {
            let path = entry.expect("listing a folder").path();
            if fs::symlink_metadata(&path).expect("looking").is_dir() {
                todo.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    let attributes = attributes_of(&paths);
    for (at, path) in paths.into_iter().enumerate() {
        let found = fs::symlink_metadata(&path).expect("looking");
        let name = path.strip_prefix(folder).expect("it is below");
        let name = name.as_os_str().as_bytes().escape_ascii().to_string();
        let kind = found.file_type();
        let first = first_names.entry(found.ino()).or_insert(name.clone());
        let content = if kind.is_file() {
            fs::read(&path).expect("reading").escape_ascii().to_string()
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(&path).expect("reading"))
        } else {
            String::new()
        };
        let attributes = attributes.get(at).map_or("", String::as_str);
        let time = with_times.then_some((found.mtime(), found.mtime_nsec()));
        lines.push(format!(
            "{name} {}{}{}{} {:o} {}:{} {} {first} {content:?} {attributes} {time:?}",
            u8::from(kind.is_dir()),
            u8::from(kind.is_symlink()),
            u8::from(kind.is_fifo()),
            u8::from(kind.is_char_device() || kind.is_block_device()),
            found.mode(),
            found.uid(),
            found.gid(),
            found.rdev(),
        ));
    }
    lines
}

/// The extended attributes as Python sees them, a line for each path; nothing on a machine without it.
fn attributes_of(paths: &[PathBuf]) -> Vec<String> {
    const SCRIPT: &str = "import os, sys\nfor p in sys.argv[1:]: print([(n, os.getxattr(p, n, follow_symlinks=False)) for n in sorted(os.listxattr(p, follow_symlinks=False))])";
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .args(paths)
        .output();
    output.map_or(Vec::new(), |output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(str::to_owned).collect()
    })
}

/// Builds with buildx what the lab has.
fn buildx(lab: &Lab, flags: &[&str]) -> Vec<u8> {
    let mut docker = peers::docker().expect("it was there a moment ago");
    docker.args(["buildx", "build", "--provenance=false", "--progress=plain"]);
    let output = docker
        .args(flags)
        .arg(lab.context())
        .output()
        .expect("starting docker");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output.stdout
}

#[test]
fn files_are_written_as_buildx_writes_them() {
    const NAME: &str = "files_are_written_as_buildx_writes_them";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{KINDS}")) else {
        return;
    };
    if !is_root() {
        return lacking(NAME, "root, whose builds have device nodes");
    }
    if peers::docker().is_none() {
        return lacking(NAME, "docker with BuildKit");
    }
    fs::write(lab.context().join("attributes.tar"), attributes()).expect("writing a file");
    for (flags, with_times) in [(vec![], false), (vec!["--build-arg", EPOCH], true)] {
        let mut tar = flags.clone();
        tar.extend(["-o", "-"]);
        let mut theirs = told_by_tar(&buildx(&lab, &tar), with_times);
        for line in &mut theirs {
            // In their tar a block device is a character device, which no image has.
            *line = line.replace("disk Char", "disk Block");
        }
        let ours = lab.command(&tar).output().expect("starting launchway");
        let said = String::from_utf8_lossy(&ours.stderr);
        assert!(ours.status.success(), "{said}");
        let ours = told_by_tar(&ours.stdout, with_times);
        assert!(ours.len() > 12, "{ours:?}");
        assert_eq!(theirs, ours, "a tar; left: buildx");

        let told = ["theirs", "ours"].map(|who| {
            let folder = lab.path(who);
            let _ = fs::remove_dir_all(&folder);
            let shown = folder.display().to_string();
            let mut local = flags.clone();
            local.extend(["-o", &shown]);
            if who == "theirs" {
                buildx(&lab, &local);
            } else {
                let outcome = lab.build(&local);
                assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            }
            let mode = fs::metadata(&folder).expect("it is there").mode();
            (mode, told_by_folder(&folder, with_times))
        });
        let [mut theirs, ours] = told;
        for line in &mut theirs.1 {
            // The same here.
            *line = line.replace("disk 0001 20644", "disk 0001 60644");
        }
        assert_eq!(theirs, ours, "a folder; left: buildx");
    }
}

#[test]
fn several_platforms_have_a_folder_each() {
    const NAME: &str = "several_platforms_have_a_folder_each";
    let lab = Lab::new("FROM scratch\nARG TARGETARCH\nCOPY same $TARGETARCH /\n");
    lab.write("same", "same");
    lab.write("amd64", "amd64");
    lab.write("arm64", "arm64");
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    let with = |more: &[&'static str]| {
        let mut all = platforms.to_vec();
        all.extend_from_slice(more);
        all
    };
    let ours = lab.command(&with(&["-o", "-"])).output();
    let ours = ours.expect("starting launchway").stdout;
    let names: Vec<String> = told_by_tar(&ours, false)
        .iter()
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect();
    assert_eq!(
        names,
        [
            "linux_amd64/",
            "linux_amd64/amd64",
            "linux_amd64/same",
            "linux_arm64/",
            "linux_arm64/arm64",
            "linux_arm64/same"
        ]
    );
    if peers::docker().is_some() {
        let theirs = buildx(&lab, &with(&["-o", "-", "--build-arg", EPOCH]));
        let ours = lab
            .command(&with(&["-o", "-", "--build-arg", EPOCH]))
            .output();
        let ours = ours.expect("starting launchway").stdout;
        assert_eq!(told_by_tar(&theirs, true), told_by_tar(&ours, true));
        let one = [
            "--platform=linux/arm64",
            "--build-arg=BUILDKIT_MULTI_PLATFORM=1",
            "--build-arg",
            EPOCH,
            "-o-",
        ];
        let theirs = told_by_tar(&buildx(&lab, &one), true);
        let ours = lab.command(&one).output().expect("starting launchway");
        assert_eq!(theirs, told_by_tar(&ours.stdout, true));
        assert!(theirs.iter().any(|line| line.starts_with("linux_arm64/")));
    } else {
        lacking(NAME, "docker with BuildKit");
    }
    // Without folders, files must not hide each other.
    let folder = lab.path("merged");
    let output = format!("type=local,dest={},platform-split=false", folder.display());
    let mut flags = platforms.to_vec();
    flags.extend(["-o", &output]);
    let outcome = lab.build(&flags);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("same is in several"),
        "{}",
        outcome.stderr
    );
    assert!(!folder.exists(), "nothing half-written is left");
    lab.write(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /d/\n",
    );
    assert_eq!(lab.build(&flags).code, Some(0));
    assert!(folder.join("d/amd64").is_file() && folder.join("d/arm64").is_file());
}

#[test]
fn a_folder_is_laid_over_what_is_there() {
    let lab = Lab::new("FROM scratch\nCOPY files /\n");
    for file in [
        "files/dir/new",
        "files/was-link",
        "files/was-folder",
        "files/kept/x",
    ] {
        lab.write(file, "new");
    }
    let target = lab.path("target");
    let outside = lab.path("outside");
    for folder in [&target, &outside] {
        fs::create_dir_all(folder.join("kept")).expect("making a folder");
    }
    fs::write(outside.join("file"), "untouched").expect("writing");
    fs::write(target.join("kept/mine"), "mine").expect("writing");
    fs::create_dir_all(target.join("was-folder/full/of")).expect("making a folder");
    // Whoever wrote there before has put links where the image has a folder and a file.
    symlink(&outside, target.join("dir")).expect("linking");
    symlink(outside.join("file"), target.join("was-link")).expect("linking");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o751)).expect("setting a mode");
    let shown = target.display().to_string();
    for _ in 0..2 {
        let outcome = lab.build(&["-o", &shown]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
    let read = |path: &str| fs::read_to_string(target.join(path)).expect("reading");
    assert_eq!(read("kept/mine"), "mine");
    assert_eq!(read("kept/x"), "new");
    assert_eq!(read("dir/new"), "new");
    assert_eq!(read("was-link"), "new");
    assert_eq!(read("was-folder"), "new");
    let untouched = fs::read_to_string(outside.join("file")).expect("reading");
    assert_eq!(untouched, "untouched");
    assert!(!outside.join("new").exists(), "no link is followed");
    assert!(
        fs::symlink_metadata(target.join("dir"))
            .expect("looking")
            .is_dir()
    );
    assert_eq!(
        fs::metadata(&target).expect("looking").mode() & 0o7777,
        0o751
    );
    let left = fs::read_dir(&target).expect("listing").count();
    assert_eq!(left, 4, "no temporary file stays");
}

#[test]
fn what_is_stale_goes_where_it_is_asked_for() {
    let lab = Lab::new("FROM scratch\nCOPY files /\n");
    for file in ["files/dir/new", "files/file"] {
        lab.write(file, "new");
    }
    let (target, outside) = (lab.path("here/target"), lab.path("outside"));
    fs::create_dir_all(outside.join("kept")).expect("making a folder");
    fs::create_dir_all(target.join("dir/old/deep")).expect("making a folder");
    fs::write(target.join("stale"), "old").expect("writing");
    symlink(&outside, target.join("link")).expect("linking");
    let output = format!("type=local,mode=delete,dest={}", target.display());
    // Not below the current directory, this has to be said.
    let refused = lab.build(&["-o", &output]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--allow=buildx.local.delete"));
    let around = format!("type=local,mode=delete,dest={}", lab.path("here").display());
    let mut at_the_top = lab.command(&["-o", &around]);
    let refused = outcome(at_the_top.current_dir(lab.path("here")));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(target.join("stale").exists());
    let mut above = lab.command(&["-o", "type=local,mode=delete,dest=target"]);
    let built = outcome(above.current_dir(lab.path("here")));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let names = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).expect("listing");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("listing")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&target), ["dir", "file"]);
    assert_eq!(names(&target.join("dir")), ["new"]);
    assert!(outside.join("kept").exists(), "no link is followed");
    fs::write(target.join("stale"), "old").expect("writing");
    let allowed = lab.build(&["-o", &output, "--allow=buildx.local.delete"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
    assert_eq!(names(&target), ["dir", "file"]);
}

#[test]
fn files_are_whole_or_absent_and_devices_stay_devices() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    let target = lab.path("result.tar");
    let link = lab.path("link.tar");
    symlink(&target, &link).expect("linking");
    let outcome = lab.build(&["-o", &format!("type=tar,dest={}", link.display())]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(fs::symlink_metadata(&link).expect("looking").is_symlink());
    assert_eq!(
        told_by_tar(&fs::read(&target).expect("reading"), false).len(),
        1
    );
    // As when a suite throws the result away: the device must not become a file.
    for kind in ["tar", "oci", "docker"] {
        let outcome = lab.build(&["-o", &format!("type={kind},dest=/dev/null")]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let null = fs::metadata("/dev/null").expect("looking");
        assert!(null.file_type().is_char_device());
    }
    // A file that cannot be written is known before anything is built.
    for (output, why) in [
        (
            format!("type=tar,dest={}", lab.context().display()),
            "is a folder",
        ),
        (
            format!("type=oci,dest={}", lab.path("no/x").display()),
            "no folder",
        ),
        (
            format!("type=local,dest={}", target.display()),
            "is no folder",
        ),
    ] {
        let outcome = lab.build(&["-o", &output]);
        assert_eq!(outcome.code, Some(2), "{output}");
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("COPY"), "{}", outcome.stderr);
    }
}

#[test]
fn archives_go_to_stdout_alone() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    for kind in ["oci", "docker"] {
        let output = format!("type={kind},dest=-");
        let built = lab.command(&["-o", &output, "-t", "x:1"]).output();
        let built = built.expect("starting launchway");
        let names: Vec<String> = told_by_tar(&built.stdout, false)
            .iter()
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect();
        assert!(names.contains(&"manifest.json".to_owned()), "{names:?}");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(said.contains("sha256:"), "{said}");
    }
    for flags in [
        vec!["-o", "-", "-o", "type=oci,dest=-"],
        vec!["--format=json", "-o", "-"],
    ] {
        let outcome = lab.build(&flags);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn files_alone_make_no_image() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    let shown = lab.path("out").display().to_string();
    let outcome = lab.build(&["-o", &shown, "-o", "type=cacheonly"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "there is no image to name");
    // The next one takes the layer from the cache, and names the image.
    let again = lab.build(&["-o", &shown, "-o", "type=image"]);
    assert!(again.stdout.starts_with("sha256:"), "{}", again.stdout);
}

#[test]
fn an_output_gives_the_image_a_name_of_its_own() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    let archive = lab.path("named.tar");
    let named = format!("type=docker,dest={},name=own:1", archive.display());
    let outcome = lab.build(&["-t", "tag:1", "-o", &named, "-o", "type=image,name=kept:1"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let told = told_by_tar(&fs::read(&archive).expect("reading"), false).join("\n");
    assert!(told.contains("own:1") && !told.contains("tag:1"), "{told}");
    let mut cache = Command::new(env!("CARGO_BIN_EXE_launchway"));
    cache.arg("--state-dir").arg(lab.state());
    let shown = cache.args(["cache", "show", "--all"]).output();
    let shown = String::from_utf8(shown.expect("starting launchway").stdout).expect("text");
    for (name, is_kept) in [("tag:1", true), ("kept:1", true), ("own:1", false)] {
        let name = format!("docker.io/library/{name}");
        assert_eq!(shown.contains(&name), is_kept, "{name}: {shown}");
    }
}

/// Without the tag, Docker would have an image that it does not find by its name.
#[test]
fn a_name_without_a_tag_is_latest_in_an_archive() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    let layout = lab.path("layout");
    let output = format!("type=docker,tar=false,dest={}", layout.display());
    lab.digest(&["-t", "app", "-o", &output]);
    let index = fs::read(layout.join("index.json")).expect("reading");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("it is JSON");
    let told = &index["manifests"][0]["annotations"];
    assert_eq!(
        told["io.containerd.image.name"],
        "docker.io/library/app:latest"
    );
    assert_eq!(told["org.opencontainers.image.ref.name"], "latest");
    let archive = lab.build(&["-t", "app", "-o", "type=docker,dest=-"]).stdout;
    assert!(archive.contains(r#""RepoTags":["app:latest"]"#));
}

/// As /dev/stdout is one: to replace it would take it from the whole machine.
#[test]
fn links_are_written_through_and_stay() {
    let lab = Lab::new("FROM scratch\nCOPY f /f\n");
    lab.write("f", "content");
    let (id, metadata) = (lab.path("id"), lab.path("metadata"));
    symlink("/proc/self/fd/1", &id).expect("linking");
    symlink("real", &metadata).expect("linking");
    fs::write(lab.path("real"), "old").expect("writing");
    let shown = [&id, &metadata].map(|path| path.display().to_string());
    let stdout = fs::File::create(lab.path("stdout")).expect("making a file");
    let built = lab
        .command(&["--iidfile", &shown[0], "--metadata-file", &shown[1]])
        .stdout(stdout)
        .output()
        .expect("starting launchway");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    for path in [&id, &metadata] {
        let found = fs::symlink_metadata(path).expect("looking");
        assert!(found.is_symlink(), "{}", path.display());
    }
    let told = fs::read_to_string(lab.path("stdout")).expect("reading");
    assert!(told.starts_with("sha256:"), "{told}");
    let told = fs::read_to_string(lab.path("real")).expect("reading");
    assert!(told.contains("containerimage.digest"), "{told}");
}
