//! Contexts and Dockerfiles from stdin and the web, as buildx takes them.

use std::io::Write as _;
use std::process::Command;

use launchway_testkit::http::{Answer, Server, Step};
use launchway_testkit::peers;

use crate::lab::{Lab, is_root, lacking, piped};
use crate::outputs::told_by_tar;

const DOCKERFILE: &str = "FROM scratch\nCOPY f d /x/\nADD g /\nCOPY --from=lib mine /\n";
const EPOCH: [&str; 2] = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];

/// A context as a tar whose files belong to several users.
fn archive(dockerfile: &str, name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, owner, content) in [
        (name, 5, dockerfile),
        (".dockerignore", 5, "f\n"),
        ("f", 7, "file"),
        ("g", 8, "other"),
        ("d/h", 9, "deep"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o640);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes())
            .expect("writing to memory");
    }
    tar.into_inner().expect("writing to memory")
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

fn lab() -> (Lab, String) {
    let lab = Lab::new("FROM scratch\nCOPY Dockerfile /from-folder\n");
    lab.write("lib/mine", "mine");
    let flag = format!("lib={}", lab.context().join("lib").display());
    (lab, flag)
}

#[test]
fn an_archive_on_stdin_is_the_context() {
    const NAME: &str = "an_archive_on_stdin_is_the_context";
    if !is_root() {
        return lacking(NAME, "root, whose builds have several owners");
    }
    let (lab, lib) = lab();
    let mut flags = EPOCH.to_vec();
    flags.extend(["--build-context", &lib, "-o", "-", "-"]);
    let plain = archive(DOCKERFILE, "Dockerfile");
    let built = lab.build_with_stdin(&flags, &plain);
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{said}");
    let told = told_by_tar(&built.stdout, true);
    assert!(
        told.iter()
            .any(|line| line.starts_with("x/f Regular 640 7:7")),
        "{told:?}"
    );
    for bytes in [gzipped(&plain), archive(DOCKERFILE, "dockerfile")] {
        let again = lab.build_with_stdin(&flags, &bytes);
        assert_eq!(told_by_tar(&again.stdout, true), told);
    }
    let mut named = vec!["-f", "other/file"];
    named.extend(&flags);
    let again = lab.build_with_stdin(&named, &archive(DOCKERFILE, "other/file"));
    assert_eq!(told_by_tar(&again.stdout, true), told);
    // Only the owners differ, and that is no hit of the cache.
    let Some(mut docker) = peers::docker() else {
        return lacking(NAME, "docker with BuildKit");
    };
    docker.args(["buildx", "build", "--provenance=false"]);
    let theirs = piped(docker.args(&flags), &plain);
    assert_eq!(told_by_tar(&theirs.stdout, true), told, "left: buildx");
}

#[test]
fn a_dockerfile_on_stdin_has_no_files_or_those_of_a_folder() {
    let (lab, lib) = lab();
    let dockerfile = "FROM scratch\nCOPY --from=lib mine /\n";
    let flags = ["--build-context", lib.as_str(), "-o", "-"];
    let with = |more: &[&str], text: &str| {
        let mut all = flags.to_vec();
        all.extend(more);
        lab.build_with_stdin(&all, text.as_bytes())
    };
    let alone = with(&["-"], dockerfile);
    assert_eq!(told_by_tar(&alone.stdout, false).len(), 1);
    let context = lab.context().display().to_string();
    let beside = with(
        &["-f", "-", &context],
        &format!("{dockerfile}COPY lib /lib\n"),
    );
    let told = told_by_tar(&beside.stdout, false);
    assert_eq!(told.len(), 3, "{}", String::from_utf8_lossy(&beside.stderr));
    for (more, text, why) in [
        (
            vec!["-"],
            "FROM scratch\nCOPY Dockerfile /\n",
            "`Dockerfile` is not in the build context",
        ),
        (vec!["-f", "-", "-"], dockerfile, "from stdin"),
        (vec!["-f", "x", "-"], dockerfile, "is no archive"),
        (vec!["-"], "FROM scratch\nCOPPY x /\n", "stdin:2"),
        (vec!["/none/such"], "", "is no folder"),
    ] {
        let refused = with(&more, text);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains(why),
            "{more:?}: {said}"
        );
        assert!(refused.stdout.is_empty());
    }
}

#[test]
fn no_link_of_an_archive_leads_out() {
    let (lab, _) = lab();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "Dockerfile", "/etc/hostname")
        .expect("writing to memory");
    let bytes = tar.into_inner().expect("writing to memory");
    let refused = lab.build_with_stdin(&["-"], &bytes);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("has no Dockerfile"), "{said}");
}

#[test]
fn urls_of_archives_and_dockerfiles() {
    let runtime = tokio::runtime::Runtime::new().expect("starting a runtime");
    let archive = gzipped(&archive("FROM scratch\nCOPY g /\n", "Dockerfile"));
    let server = runtime.block_on(Server::start(vec![
        Step::new("GET", "/c.tgz", Answer::status(200).body(archive)).always(),
        Step::new(
            "GET",
            "/Dockerfile",
            Answer::status(200).body("FROM scratch\nCOPY --from=lib mine /\n"),
        )
        .always(),
        Step::new("GET", "/gone", Answer::status(404)).always(),
    ]));
    let (lab, lib) = lab();
    for (path, name) in [("c.tgz", "g"), ("Dockerfile", "mine")] {
        let url = format!("http://{}/{path}", server.host());
        let built = lab.build_with_stdin(&["--build-context", &lib, "-o", "-", &url], b"");
        let told = told_by_tar(&built.stdout, false);
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(
            told.len() == 1 && told[0].starts_with(name),
            "{told:?} {said}"
        );
    }
    // What is no archive is the Dockerfile, by whatever name.
    let url = format!("http://{}/Dockerfile", server.host());
    let flags = ["--build-context", &lib, "-o", "-", "-f", "other", &url];
    let built = lab.build_with_stdin(&flags, b"");
    assert_eq!(told_by_tar(&built.stdout, false).len(), 1);
    let refused = lab.build_with_stdin(&[&format!("http://{}/gone", server.host())], b"");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && said.contains("404"),
        "{said}"
    );
}

#[test]
fn a_store_is_not_copied_into_itself() {
    let lab = Lab::new("FROM scratch\nCOPY . /\n");
    let context = lab.context();
    let build = || {
        let output = Command::new(env!("CARGO_BIN_EXE_launchway"))
            .arg("--state-dir")
            .arg(context.join("state"))
            .args(["dockerfile", "build"])
            .arg(&context)
            .output()
            .expect("starting launchway");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = build();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is in the build context"), "{said}");
    lab.write(".dockerignore", "state\n");
    assert_eq!(build().0, Some(0));
}

#[test]
fn what_is_too_large_for_a_dockerfile_is_not_read() {
    let lab = Lab::new("");
    let refused = lab.build_with_stdin(&["-"], &b"#".repeat(17 << 20));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("too large for a Dockerfile"), "{said}");
}
