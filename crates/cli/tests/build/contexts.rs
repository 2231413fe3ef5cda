//! `--build-context`: what `corpus/contexts` cannot hold, and what goes wrong.

use std::fs;

use launchway_testkit::http::{Answer, Server, Step};

use crate::lab::Lab;

fn text_of(lab: &Lab, flags: &[&str], path: &str) -> String {
    let folder = lab.path("files");
    let _ = fs::remove_dir_all(&folder);
    let shown = folder.display().to_string();
    let mut all = vec!["-o", &shown];
    all.extend(flags);
    let outcome = lab.build(&all);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    fs::read_to_string(folder.join(path)).expect("reading")
}

/// Neither the stage nor the folder is named by anything but the image's triggers.
#[test]
fn triggers_of_an_image_take_from_stages_and_contexts() {
    let lab = Lab::new(
        "FROM scratch\nCOPY f /f\nONBUILD COPY --from=files /f /g\nONBUILD COPY --from=more h /h\n",
    );
    lab.write("f", "of the base");
    lab.write("more/h", "of the folder");
    let layout = lab.path("base");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    lab.digest(&["-o", &output]);
    lab.write("f", "of the stage");
    lab.write(
        "Dockerfile",
        "FROM scratch AS files\nCOPY f /f\nFROM base\nCOPY f /i\n",
    );
    let base = format!("base=oci-layout://{}", layout.display());
    let more = format!("more={}", lab.context().join("more").display());
    let flags = ["--build-context", &base, "--build-context", &more];
    for (path, text) in [
        ("f", "of the base"),
        ("g", "of the stage"),
        ("h", "of the folder"),
    ] {
        assert_eq!(text_of(&lab, &flags, path), text);
    }
}

#[test]
fn images_of_a_layout_by_tag_and_digest() {
    let lab = Lab::new("FROM scratch\nARG N\nCOPY f-$N /f\nENV N=$N\n");
    lab.write("f-1", "one");
    lab.write("f-2", "two");
    let layout = lab.path("images");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let build = |number: &str, output: &str| {
        let argument = format!("N={number}");
        let tag = format!("made:{number}");
        lab.digest(&["--build-arg", &argument, "-t", &tag, "-o", output])
    };
    let first = build("1", &output);
    lab.write("Dockerfile", "FROM img\nCOPY --from=img f /again\n");
    let flag = |rest: &str| format!("img=oci-layout://{}{rest}", layout.display());
    for rest in [
        "",
        ":1",
        ":other",
        &format!("@{first}"),
        &format!(":other@{first}"),
    ] {
        let flag = flag(rest);
        assert_eq!(text_of(&lab, &["--build-context", &flag], "again"), "one");
    }
    let image = lab.image(&["--build-context", &flag("")]);
    assert!(image.config["config"]["Env"].to_string().contains("N=1"));
    // What the layout does not have, is damaged, or is no layout at all.
    let gone = format!("@sha256:{}", "0".repeat(64));
    let outcome = lab.build(&["--build-context", &flag(&gone)]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("LW0513"), "{}", outcome.stderr);
    let outcome = lab.build(&[
        "--build-context",
        &format!("img=oci-layout://{}", lab.context().display()),
    ]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let other = Lab::new("FROM img\n");
    let (_, hex) = first.split_once(':').expect("a digest");
    fs::write(layout.join("blobs/sha256").join(hex), "damaged").expect("writing");
    let outcome = other.build(&["--build-context", &flag("")]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("digest"), "{}", outcome.stderr);
}

#[test]
fn files_of_the_web_are_a_file_called_context() {
    let runtime = tokio::runtime::Runtime::new().expect("starting a runtime");
    let answer = Answer::status(200).body("from the web");
    let server = runtime.block_on(Server::start(vec![
        Step::new("GET", "/file.txt", answer).always(),
        Step::new("GET", "/gone", Answer::status(404)).always(),
    ]));
    let lab = Lab::new("FROM scratch\nCOPY --from=web context /f\n");
    let flag = format!("web=http://{}/file.txt", server.host());
    let flags = ["--build-context", &flag];
    assert_eq!(text_of(&lab, &flags, "f"), "from the web");
    let flag = format!("web=http://{}/gone", server.host());
    let outcome = lab.build(&["--build-context", &flag]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("404"), "{}", outcome.stderr);
    // One that is not used is not asked for.
    lab.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /f\n");
    assert_eq!(lab.build(&["--build-context", &flag]).code, Some(0));
}

#[test]
fn the_content_of_a_context_decides_what_is_done_again() {
    let lab = Lab::new("FROM lib\nCOPY --from=lib f /copy\n");
    lab.write("lib/f", "one");
    let flag = format!("lib={}", lab.context().join("lib").display());
    let flags = ["--build-context", flag.as_str(), "--progress=plain"];
    let steps = |lab: &Lab| lab.build(&flags).stderr;
    let first = steps(&lab);
    assert!(!first.contains("cached"), "{first}");
    let again = steps(&lab);
    assert!(again.contains("cached"), "{again}");
    lab.write("lib/f", "two");
    assert_eq!(text_of(&lab, &flags[..2], "copy"), "two");
    assert_eq!(text_of(&lab, &flags[..2], "f"), "two");
    // What is ignored there is told apart from what is not there.
    lab.write("lib/.dockerignore", "f\n");
    let outcome = lab.build(&flags[..2]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("left out of the context `lib`"),
        "{}",
        outcome.stderr
    );
}
