//! What is wrong with arguments is told with its place and what to write instead.

use crate::lab::Lab;

#[test]
fn arguments_that_name_nothing_are_shown_where_they_are_wrong() {
    let lab = Lab::new();
    lab.image();
    let mut told = String::new();
    for arguments in [
        &["copy", "Debian:12", "oci:x"][..],
        &["copy", "oci:image:v1", "ghcr.io/Me/app:v1"],
        &["copy", "oci:image:v1", "./x"],
        &["copy", "oci:image:v1", "https://ghcr.io/me/app"],
        &["copy", "docker-daemon:app:v1", "oci:x"],
        &["digest", "oci:image@sha256:12"],
        &["inspect", "debian@latest"],
        &["registry", "repositories", "ghcr.io/me"],
        &["copy", "oci:image:v1", "docker-archive:x.tar"],
        &["copy", "oci:image:v1", "oci-archive:nowhere/x.tar"],
    ] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.err);
        told.push_str(&format!(
            "$ launchway {}\n{}\n",
            arguments.join(" "),
            ran.err
        ));
    }
    insta::assert_snapshot!("arguments", told);
}

#[test]
fn images_that_are_not_there_are_told_with_those_that_are() {
    let lab = Lab::new();
    lab.image();
    let mut told = String::new();
    let other = format!("oci:copy@sha256:{}", "0".repeat(64));
    for (code, arguments) in [
        (1, &["copy", "oci:image:v2", "oci:x"][..]),
        (1, &["copy", "oci:nowhere:v2", "oci:x"]),
        (
            1,
            &["copy", "oci:image:v1", "oci:x", "--platform", "linux/s390x"],
        ),
        (3, &["copy", "oci:image:v1", &other]),
    ] {
        let ran = lab.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
        told.push_str(&format!(
            "$ launchway {}\n{}\n",
            arguments.join(" "),
            ran.err
        ));
    }
    insta::assert_snapshot!("absent", told);
}
