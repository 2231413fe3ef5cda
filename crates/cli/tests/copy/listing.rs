//! Digests, and what images and registries hold.

use serde_json::Value;

use crate::lab::Lab;

#[test]
fn digests_of_many_references_come_in_their_order() {
    let lab = Lab::new();
    let digest = lab.image();
    let registry = lab.registry("registry");
    let app = format!("{}/app", registry.host);
    lab.good(&["copy", "oci:image:v1", &format!("{app}:v1")]);
    let [one, lost, down] = [
        format!("{app}:v1"),
        format!("{app}:v2"),
        "127.0.0.1:1/app:v1".to_owned(),
    ];
    assert_eq!(lab.good(&["digest", &one]), format!("{digest}\n"));
    assert_eq!(
        lab.good(&["digest", "oci:image:v1", &one]),
        format!("{digest} oci:image:v1\n{digest} {one}\n")
    );
    let ran = lab.run_with(&["digest", "-"], &format!("{one}\n\n  {one}\n"));
    assert_eq!(ran.out, format!("{digest} {one}\n{digest} {one}\n"));

    // What is not there, and what could not be asked.
    let ran = lab.run(&["digest", &lost, &one]);
    assert_eq!((ran.code, ran.out), (Some(1), format!("{digest} {one}\n")));
    assert!(
        ran.err.contains("error[LW0404]") && ran.err.contains("no tag v2"),
        "{}",
        ran.err
    );
    let hasty = ["--format", "json"];
    let ran = lab.run(&[&["digest", &down, &lost, &one][..], &hasty].concat());
    assert_eq!(ran.code, Some(4));
    assert!(ran.err.contains("error[LW0401]"), "{}", ran.err);
    let told: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    for (at, state) in ["unknown", "absent", "present"].iter().enumerate() {
        assert_eq!(told["references"][at]["state"], *state);
    }
}

#[test]
fn a_platform_has_a_digest_of_its_own() {
    let lab = Lab::new();
    let index = lab.image();
    let found = lab.json(&["inspect", "oci:image:v1"]);
    let arm = found["manifests"][1]["digest"]
        .as_str()
        .expect("it is there");
    let told = lab.good(&["digest", "oci:image:v1", "--platform", "linux/arm64"]);
    assert_eq!(told.trim(), arm);
    let ran = lab.run(&["digest", "oci:image:v1", "--platform", "linux/s390x"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("error[LW0421]"), "{}", ran.err);
    assert!(
        ran.err.contains("there are linux/amd64, linux/arm64"),
        "{}",
        ran.err
    );
    let lone = format!("oci:image@{arm}");
    assert_eq!(
        lab.good(&["digest", &lone, "--platform", "linux/arm64"])
            .trim(),
        arm
    );
    assert_eq!(
        lab.run(&["digest", &lone, "--platform", "linux/amd64"])
            .code,
        Some(1)
    );
    assert_ne!(index, arm);
}

#[test]
fn an_image_is_shown_for_people_and_for_programs() {
    let lab = Lab::new();
    let digest = lab.image();
    let text = lab.good(&["inspect", "oci:image:v1", "--platform", "linux/arm64"]);
    insta::assert_snapshot!("inspected", text);
    let raw = lab.run(&["inspect", "oci:image:v1", "--raw"]).out;
    assert_eq!(launchway_testkit::sha256(raw.as_bytes()), digest);
    let config = ["inspect", "oci:image:v1", "--config"];
    let ran = lab.run(&config);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("there are linux/amd64, linux/arm64"),
        "{}",
        ran.err
    );
    let config = lab.good(&[&config[..], &["--platform", "linux/amd64"]].concat());
    let config: Value = serde_json::from_str(&config).expect("it is JSON");
    assert_eq!(config["architecture"], "amd64");
    let found = lab.json(&["inspect", "oci:image:v1", "--platform", "linux/amd64"]);
    assert_eq!(found["image"]["config"]["config"]["User"], "app");
    assert_eq!(found["image"]["layers"][1]["created-by"], "COPY amd64 /");
    assert_eq!(found["manifests"][2]["attestation"], true);
}

#[test]
fn registries_tell_what_they_hold() {
    let lab = Lab::new();
    lab.image();
    let registry = lab.registry("registry");
    let app = format!("{}/team/app", registry.host);
    for tag in ["v1", "v2"] {
        lab.good(&["copy", "oci:image:v1", &format!("{app}:{tag}")]);
    }
    assert_eq!(lab.good(&["registry", "tags", &app]), "v1\nv2\n");
    assert_eq!(
        lab.good(&["registry", "repositories", &registry.host]),
        format!("{app}\n")
    );
    let found = lab.json(&["registry", "tags", &app]);
    assert_eq!(found["tags"], serde_json::json!(["v1", "v2"]));
    let ran = lab.run(&["registry", "tags", &format!("{app}lication")]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("error[LW0404]"), "{}", ran.err);
    let ran = lab.run(&["registry", "tags", &format!("{app}:v1")]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("leave the tag out"), "{}", ran.err);
}
