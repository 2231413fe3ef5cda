//! What is copied can be read by other people's tools, and what they write can be copied.

use std::process::Command;

use launchway_testkit::peers;
use serde_json::Value;

use crate::lab::{Lab, lacking};

#[track_caller]
fn ran(command: &mut Command) -> String {
    let output = command.output().expect("starting a peer");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn skopeo_and_we_read_each_others_layouts_and_archives() {
    const NAME: &str = "skopeo_and_we_read_each_others_layouts_and_archives";
    let Some(skopeo) = peers::tool("skopeo") else {
        return lacking(NAME, "skopeo");
    };
    drop(skopeo);
    let lab = Lab::new();
    let digest = lab.image();
    let skopeo = |arguments: &[&str]| {
        let mut command = peers::tool("skopeo").expect("it was there just now");
        let copy = [
            "copy",
            "--all",
            "--insecure-policy",
            "--src-tls-verify=false",
        ];
        ran(command
            .args(copy)
            .arg("--dest-tls-verify=false")
            .args(arguments))
    };
    let at = |word: &str, path: &str| format!("{word}:{}/{path}", lab.path().display());
    let registry = lab.registry("registry");
    let remote = format!("{}/app:v1", registry.host);
    lab.good(&["copy", "oci:image:v1", &remote]);
    skopeo(&[&format!("docker://{remote}"), &at("oci", "theirs:v1")]);
    skopeo(&[
        &format!("docker://{remote}"),
        &at("oci-archive", "theirs.tar:v1"),
    ]);
    for theirs in ["oci:theirs:v1", "oci-archive:theirs.tar:v1"] {
        assert_eq!(lab.good(&["digest", theirs]).trim(), digest);
        let again = format!("{}/again:v1", registry.host);
        assert_eq!(lab.good(&["copy", theirs, &again]).trim(), digest);
    }
    lab.good(&["copy", &remote, "oci:ours:v1"]);
    lab.good(&["copy", &remote, "oci-archive:ours.tar:v1"]);
    for ours in [at("oci", "ours:v1"), at("oci-archive", "ours.tar:v1")] {
        let back = format!("{}/back:v1", registry.host);
        skopeo(&["--preserve-digests", &ours, &format!("docker://{back}")]);
        assert_eq!(lab.good(&["digest", &back]).trim(), digest);
    }
    // Its docker archives are those of older dockers.
    let arm = format!("docker://{remote}");
    let mut command = peers::tool("skopeo").expect("it was there just now");
    ran(command
        .args([
            "--override-arch",
            "arm64",
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
        ])
        .args([&arm, &at("docker-archive", "docker.tar:me/app:v3")]));
    let found = lab.json(&["inspect", "docker-archive:docker.tar:me/app:v3"]);
    assert_eq!(found["image"]["platform"], "linux/arm64");
    let config = lab.good(&["inspect", &remote, "--config", "--platform", "linux/arm64"]);
    let theirs = lab.good(&["inspect", "docker-archive:docker.tar", "--config"]);
    let [config, theirs] = [config, theirs]
        .map(|text| serde_json::from_str::<Value>(&text).expect("it is JSON")["rootfs"].clone());
    assert_eq!(config, theirs);
    lab.good(&[
        "copy",
        "docker-archive:docker.tar",
        &format!("{}/docker:v1", registry.host),
    ]);
}

#[test]
fn crane_and_oras_find_nothing_wrong_with_a_copy() {
    const NAME: &str = "crane_and_oras_find_nothing_wrong_with_a_copy";
    for tool in ["crane", "oras"] {
        if peers::tool(tool).is_none() {
            return lacking(NAME, tool);
        }
    }
    let lab = Lab::new();
    let digest = lab.image();
    let registry = lab.registry("registry");
    let remote = format!("{}/app:v1", registry.host);
    lab.good(&["copy", "oci:image:v1", &remote]);
    let tool = |name: &str| peers::tool(name).expect("it was there just now");
    // It takes the layer of an attestation for a tar, so an image is shown to it.
    let amd = lab.good(&["digest", &remote, "--platform", "linux/amd64"]);
    let amd = format!("{}/app@{}", registry.host, amd.trim());
    ran(tool("crane").args(["validate", "--remote", &amd]));
    let layout = lab.path().join("theirs");
    ran(tool("crane")
        .args(["pull", "--format=oci", &remote])
        .arg(&layout));
    assert_eq!(lab.good(&["digest", "oci:theirs"]).trim(), digest);
    let layout = format!("{}/oras:v1", lab.path().display());
    ran(tool("oras").args([
        "copy",
        "--from-plain-http",
        &remote,
        "--to-oci-layout",
        &layout,
    ]));
    assert_eq!(lab.good(&["digest", "oci:oras:v1"]).trim(), digest);
    let ours = format!("{}/ours:v1", lab.path().display());
    lab.good(&["copy", &remote, "oci:ours:v1"]);
    let fetched = ran(tool("oras").args(["manifest", "fetch", "--oci-layout", &ours]));
    assert_eq!(launchway_testkit::sha256(fetched.as_bytes()), digest);
    // Its archives have compressed layers under names of their own.
    let archive = lab.path().join("crane.tar");
    ran(tool("crane")
        .args(["pull", "--platform=linux/amd64", &remote])
        .arg(&archive));
    let copied = format!("{}/crane:v1", registry.host);
    lab.good(&["copy", "docker-archive:crane.tar", &copied]);
    ran(tool("crane").args(["validate", "--remote", &copied]));
}

#[test]
fn docker_loads_what_we_save_and_we_read_what_it_saves() {
    const NAME: &str = "docker_loads_what_we_save_and_we_read_what_it_saves";
    if peers::docker().is_none() {
        return lacking(NAME, "docker with a daemon");
    }
    let lab = Lab::new();
    lab.image();
    let docker = || peers::docker().expect("it was there just now");
    let platform = match std::env::consts::ARCH {
        "aarch64" => "linux/arm64",
        _ => "linux/amd64",
    };
    let name = format!("launchway-test-{}:v1", std::process::id());
    let archive = format!("docker-archive:ours.tar:{name}");
    let digest = lab.good(&["copy", "oci:image:v1", &archive, "--platform", platform]);
    ran(docker()
        .arg("load")
        .arg("-i")
        .arg(lab.path().join("ours.tar")));
    let saved = docker()
        .args(["save", "-o"])
        .arg(lab.path().join("theirs.tar"))
        .arg(&name)
        .output();
    let removed = docker().args(["image", "rm", &name]).output();
    let saved = saved.expect("starting docker");
    assert!(
        saved.status.success(),
        "{}",
        String::from_utf8_lossy(&saved.stderr)
    );
    assert!(removed.expect("starting docker").status.success());
    // Where docker keeps images as they came, the digest is the same; in any case it is the same
    // image.
    let theirs = format!("docker-archive:theirs.tar:{name}");
    let found = lab.json(&["inspect", &theirs]);
    let ours = lab.json(&["inspect", &archive]);
    for field in ["platform", "config"] {
        assert_eq!(found["image"][field], ours["image"][field]);
    }
    assert_eq!(ours["digest"], digest.trim());
    lab.good(&["copy", &theirs, "oci:back:v1", "--platform", platform]);
}
