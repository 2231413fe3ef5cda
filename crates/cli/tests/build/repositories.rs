//! Git repositories as sources of ADD and as build contexts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use launchway_testkit::flatten::Image;
use launchway_testkit::git::{self, GitServer, TOKEN};
use launchway_testkit::http::Server;

use crate::lab::{Lab, Outcome, lacking, outcome};

/// Served repositories, with a runtime for the server.
struct Served {
    lab: Lab,
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn new(test: &str, dockerfile: &str) -> Option<Self> {
        if git::run(Path::new("/"), &["version"]).is_err() {
            lacking(test, "git");
            return None;
        }
        let lab = Lab::new(dockerfile);
        let folder = lab.path("served");
        fs::create_dir(&folder).expect("making a folder");
        git::repositories(&folder).expect("making repositories");
        let runtime = tokio::runtime::Runtime::new().expect("starting a runtime");
        let server = runtime.block_on(Server::start_both(Vec::new(), GitServer::new(&folder)));
        Some(Self {
            lab,
            server,
            _runtime: runtime,
        })
    }

    fn bare(&self) -> PathBuf {
        self.lab.path("served/plain.git")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.host())
    }

    fn web(&self) -> String {
        format!("WEB=http://{}", self.server.host())
    }

    /// Builds what a repository holds.
    fn build_context(&self, context: &str, flags: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_launchway"));
        command
            .arg("--state-dir")
            .arg(self.lab.state())
            .args(["dockerfile", "build"])
            .args(flags)
            .arg(context)
            .env("NO_COLOR", "1");
        outcome(&mut command)
    }

    fn image_of(&self, context: &str, flags: &[&str]) -> Image {
        let layout = self.lab.path("layout");
        let _ = fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        let all = [&["--output", &output], flags].concat();
        let outcome = self.build_context(context, &all);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        launchway_testkit::flatten::flatten(&layout, None).expect("reading the layout")
    }
}

/// The paths of an image, below a folder.
fn paths(image: &Image, below: &str) -> Vec<String> {
    let paths = image.entries.keys();
    paths
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .filter(|path| path.starts_with(below))
        .collect()
}

#[test]
fn a_branch_is_built_anew_when_it_moves_and_only_then() {
    let text = "FROM scratch\nARG WEB\nADD ${WEB}/git/plain.git#main /x\n";
    let Some(served) = Served::new("a_branch_is_built_anew_when_it_moves_and_only_then", text)
    else {
        return;
    };
    let web = served.web();
    let flags = ["--build-arg", web.as_str()];
    let digest = |flags: &[&str]| served.lab.image(flags).config["rootfs"].to_string();
    let first = digest(&flags);
    let outcome = served
        .lab
        .build(&[&flags[..], &["--progress", "plain"]].concat());
    assert!(outcome.stderr.contains("cached"), "{}", outcome.stderr);
    // Whoever builds it, whenever: the same bytes, the folder that ADD makes included.
    fs::remove_dir_all(served.lab.state()).expect("removing the state");
    assert_eq!(digest(&flags), first);
    let bare = served.bare();
    let tree = git::run(&bare, &["rev-parse", "side^{tree}"]).expect("a tree");
    let commit =
        git::fed(&bare, &["commit-tree", &tree, "-p", "main"], b"three").expect("a commit");
    git::run(&bare, &["update-ref", "refs/heads/main", &commit]).expect("moving a branch");
    assert_ne!(digest(&flags), first);
}

#[test]
fn tokens_reach_the_repository_and_nothing_else() {
    let text = "FROM scratch\nARG WEB\nADD --keep-git-dir ${WEB}/private/plain.git#v1 /x\n";
    let Some(served) = Served::new("tokens_reach_the_repository_and_nothing_else", text) else {
        return;
    };
    let web = served.web();
    let denied = served.lab.build(&["--build-arg", &web]);
    assert_eq!(denied.code, Some(1));
    for words in ["LW0520", "GIT_AUTH_TOKEN"] {
        assert!(denied.stderr.contains(words), "{}", denied.stderr);
    }
    let layout = served.lab.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let flags = [
        "--build-arg",
        &web,
        "--secret",
        "id=GIT_AUTH_TOKEN,env=THE_TOKEN",
        "--output",
        &output,
        "--compression",
        "gzip",
    ];
    let built = outcome(served.lab.command(&flags).env("THE_TOKEN", TOKEN));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    assert!(!built.stderr.contains(TOKEN));
    let found = Command::new("grep")
        .args(["-rl", TOKEN])
        .args([&served.lab.state(), &layout])
        .output()
        .expect("running grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn what_is_said_of_a_repository_that_cannot_be_had() {
    let text = "FROM scratch\nARG WEB\nADD ${WEB}/git/plain.git#nothing /x\n";
    let Some(served) = Served::new("what_is_said_of_a_repository_that_cannot_be_had", text) else {
        return;
    };
    let web = served.web();
    let flags = ["--build-arg", web.as_str()];
    for (reference, words) in [
        (
            "#nothing",
            &["LW0520", "no branch or tag `nothing`", "Dockerfile:3:"][..],
        ),
        ("#main:nowhere", &["LW0520", "no folder nowhere"]),
    ] {
        let text = format!("FROM scratch\nARG WEB\nADD ${{WEB}}/git/plain.git{reference} /x\n");
        served.lab.write("Dockerfile", &text);
        let outcome = served.lab.build(&flags);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        for words in words {
            assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        }
    }
    let without = outcome(served.lab.command(&flags).env("PATH", "/nonexistent"));
    assert!(
        without.stderr.contains("git is not installed"),
        "{}",
        without.stderr
    );
    served
        .lab
        .write("Dockerfile", "FROM scratch\nADD git@127.0.0.1:x/y.git /x\n");
    let over_ssh = served.lab.build(&[]);
    assert!(
        over_ssh.stderr.contains("--ssh default"),
        "{}",
        over_ssh.stderr
    );
}

#[test]
fn a_repository_is_a_build_context() {
    let Some(served) = Served::new("a_repository_is_a_build_context", "") else {
        return;
    };
    let url = served.url("git/plain.git");
    let image = served.image_of(&format!("{url}#main"), &[]);
    // Its own ignore rules hold.
    let want = [
        "",
        "all",
        "all/.dockerignore",
        "all/.gitattributes",
        "all/Dockerfile",
        "all/dir",
        "all/dir/deep",
        "all/dir/deep/x",
        "all/dir/link",
        "all/dir/program",
        "all/file",
    ];
    assert_eq!(paths(&image, ""), want);
    let kept = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    let image = served.image_of(&format!("{url}#v1"), &kept);
    assert!(paths(&image, "all/.git/").contains(&"all/.git/HEAD".to_owned()));
    let missing = served.build_context(&format!("{url}#main:dir"), &[]);
    assert_eq!(missing.code, Some(2), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("the repository has no Dockerfile"),
        "{}",
        missing.stderr
    );
    let wrong = served.build_context(&format!("{url}?bogus=1"), &[]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    let nothing = served.build_context(&format!("{url}#nothing"), &[]);
    assert_eq!(nothing.code, Some(1), "{}", nothing.stderr);
    assert!(
        nothing.stderr.contains("no branch or tag"),
        "{}",
        nothing.stderr
    );
}

#[test]
fn a_repository_reads_nothing_of_this_machine() {
    let Some(served) = Served::new("a_repository_reads_nothing_of_this_machine", "") else {
        return;
    };
    let outside = served.lab.path("outside");
    fs::write(&outside, "FROM scratch\nCOPY . /of-this-machine/\n").expect("writing a file");
    let work = served.lab.path("work");
    git::run(
        &served.lab.path("served"),
        &["clone", "-q", "plain.git", &work.display().to_string()],
    )
    .expect("cloning");
    for name in ["Dockerfile", ".dockerignore"] {
        fs::remove_file(work.join(name)).expect("removing a file");
    }
    symlink(&outside, work.join("Dockerfile")).expect("making a link");
    symlink(&outside, work.join(".dockerignore")).expect("making a link");
    for arguments in [
        &["add", "-A"][..],
        &["commit", "-q", "-m", "links"],
        &["push", "-q", "origin", "HEAD:links"],
    ] {
        git::run(&work, arguments).expect("committing");
    }
    let url = format!("{}#links", served.url("git/plain.git"));
    let linked = served.build_context(&url, &[]);
    assert_eq!(linked.code, Some(2), "{}", linked.stderr);
    assert!(
        linked.stderr.contains("the repository has no Dockerfile"),
        "{}",
        linked.stderr
    );
    let above = served.build_context(&url, &["-f", "../../../outside"]);
    assert_eq!(above.code, Some(2), "{}", above.stderr);
}
