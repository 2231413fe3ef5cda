//! Build checks on the command line: alone, in builds, as errors.

use crate::lab::Lab;

const WORDY: &str = "FROM scratch AS Main\nENV a b\n";

#[test]
fn checking_builds_nothing_and_says_by_its_exit_code_what_it_found() {
    let lab = Lab::new(WORDY);
    let found = lab.build(&["--check"]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert_eq!(found.stdout, "2 warnings\n");
    assert!(found.stderr.contains("warning[LW0230]"), "{}", found.stderr);
    assert!(
        found.stderr.contains("(StageNameCasing)"),
        "{}",
        found.stderr
    );
    assert!(
        found.stderr.contains("(LegacyKeyValueFormat)"),
        "{}",
        found.stderr
    );

    lab.write("Dockerfile", "FROM scratch\nENV a=b\n");
    let clean = lab.build(&["--check"]);
    assert_eq!(
        (clean.code, clean.stdout.as_str()),
        (Some(0), "nothing found\n")
    );

    lab.write("Dockerfile", "FROM scratch\nNOTHING\n");
    let wrong = lab.build(&["--call=check"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn findings_are_json_when_asked_for() {
    let lab = Lab::new(WORDY);
    let outcome = lab.build(&["--call=check,format=json"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let value: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    let first = &value["warnings"][0];
    assert_eq!(first["ruleName"], "StageNameCasing");
    assert_eq!(first["code"], "LW0230");
    assert_eq!(first["location"]["ranges"][0]["start"]["line"], 1);
    assert_eq!(first["place"]["column"], 17);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_build_warns_unless_findings_are_errors() {
    let lab = Lab::new(WORDY);
    let warned = lab.build(&["--target", "main"]);
    assert_eq!(warned.code, Some(0), "{}", warned.stderr);
    assert!(
        warned.stderr.contains("(LegacyKeyValueFormat)"),
        "{}",
        warned.stderr
    );

    let asked = "BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing;error=true";
    let refused = lab.build(&["--build-arg", asked]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    assert!(
        refused.stderr.contains("error[LW0239]"),
        "{}",
        refused.stderr
    );
    assert!(
        !refused.stderr.contains("StageNameCasing"),
        "{}",
        refused.stderr
    );

    let silent = lab.build(&["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
    assert_eq!(silent.code, Some(0), "{}", silent.stderr);
    assert!(!silent.stderr.contains("warning"), "{}", silent.stderr);
}

#[test]
fn targets_and_what_they_take() {
    let lab = Lab::new("# V of what\nARG V=1\nFROM scratch AS a\nFROM a AS b\nARG V\n");
    let outcome = lab.build(&["--call=targets"]);
    assert_eq!(outcome.stdout, "TARGET       DESCRIPTION\na\nb (default)\n");
    let outcome = lab.build(&["--call=outline", "--build-arg", "V=2"]);
    assert_eq!(
        outcome.stdout,
        "target: b\n\nBUILD ARG  VALUE  DESCRIPTION\nV          2      of what\n"
    );
    assert_eq!(lab.build(&["--call=nothing"]).code, Some(2));
}

#[test]
fn json_of_a_call_has_the_dockerfile_and_all_that_is_needed() {
    let lab =
        Lab::new("FROM scratch\nRUN --mount=type=ssh,id=a,required --mount=type=secret,id=s x\n");
    let outcome = lab.build(&["--call=outline,format=json"]);
    let value: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    assert_eq!(value["ssh"][0]["name"], "a");
    assert_eq!(value["ssh"][0]["required"], true);
    assert_eq!(value["secrets"][0]["name"], "s");
    let source = value["sources"][0].as_str().expect("a text");
    assert!(source.starts_with("RlJPTSBzY3JhdGNoClJVTi"), "{source}");
    let outcome = lab.build(&["--call=targets,format=json"]);
    let value: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    assert_eq!(value["sources"][0], source);
}
