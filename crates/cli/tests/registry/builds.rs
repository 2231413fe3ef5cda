//! What `dockerfile build` pushes, and what it leaves alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::serving::{PROGRAM, Serving};

fn run(home: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .env_clear()
        .env("HOME", home)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(home)
        .args(arguments)
        .output()
        .expect("running the program")
}

fn printed(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Who builds one platform on each machine pushes by digest, and writes the tag once all are there.
#[test]
fn a_push_by_digest_writes_no_tag() {
    let folder = tempfile::tempdir().expect("a folder of its own");
    let home = folder.path();
    let context = home.join("context");
    fs::create_dir(&context).expect("making a folder");
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY f /f\n").expect("writing");
    fs::write(context.join("f"), "content").expect("writing");
    let registry = Serving::start(&home.join("registry"), &[]);
    let repository = format!("{}/me/app", registry.host);
    let build = |output: &str, more: &[&str]| {
        let flags = [
            "dockerfile",
            "build",
            "--metadata-file",
            "told",
            "-o",
            output,
        ];
        let arguments = [&flags[..], more, &["context"]].concat();
        let digest = printed(home, &arguments);
        let told = fs::read(home.join("told")).expect("reading");
        let told: serde_json::Value = serde_json::from_slice(&told).expect("it is JSON");
        (digest, told["image.name"].as_str().map(str::to_owned))
    };
    let by_digest = format!("type=image,name={repository},push=true,push-by-digest=true");
    let (one, name) = build(&by_digest, &[]);
    assert_eq!(name.as_ref(), Some(&repository));
    let (two, _) = build(&by_digest, &["--platform=linux/amd64,linux/arm64"]);
    for digest in [&one, &two] {
        let pinned = format!("{repository}@{digest}");
        // With all that it needs.
        let layout = format!("oci:{}", home.join(&digest[7..]).display());
        assert_eq!(&printed(home, &["copy", &pinned, &layout]), digest);
    }
    let tags = run(home, &["registry", "tags", &repository]);
    assert_eq!(String::from_utf8_lossy(&tags.stdout), "");
    let tag = format!("{repository}:latest");
    assert_eq!(run(home, &["digest", &tag]).status.code(), Some(1));
    // Without the word there is one.
    let (three, name) = build(&format!("type=image,name={repository},push=true"), &[]);
    assert_eq!(name, Some(tag.clone()));
    assert_eq!(printed(home, &["digest", &tag]), three);
}
