//! What is released is an image to other people's tools.

use std::process::Command;

use launchway_testkit::peers;
use serde_json::Value;

use crate::lab::{Lab, lacking, platform, text};
use crate::lab_registry::Registry;

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

fn released(lab: &Lab) -> Registry {
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    lab.machine("a").release(&family, &["v1.0.0"]);
    registry
}

#[test]
fn crane_finds_nothing_wrong() {
    const NAME: &str = "crane_finds_nothing_wrong";
    let Some(mut crane) = peers::tool("crane") else {
        return lacking(NAME, "crane");
    };
    let Some(lab) = Lab::new(NAME) else {
        return;
    };
    let registry = released(&lab);
    let image = format!("{}/toolbox:v1.0.0-all", registry.prefix());
    ran(crane.args(["validate", "--remote", &image]));
    let mut crane = peers::tool("crane").expect("it was there just now");
    let digest = ran(crane.args(["digest", &image]));
    assert_eq!(digest.trim(), registry.tags()["latest-all"]);
}

#[test]
fn skopeo_reads_every_variant() {
    const NAME: &str = "skopeo_reads_every_variant";
    if peers::tool("skopeo").is_none() {
        return lacking(NAME, "skopeo");
    }
    let Some(lab) = Lab::new(NAME) else {
        return;
    };
    let registry = released(&lab);
    for tag in [
        "v1.0.0",
        "v1.0.0-two",
        "latest-three",
        "v1-all",
        "base-latest",
    ] {
        let mut skopeo = peers::tool("skopeo").expect("it was there just now");
        let image = format!("docker://{}/toolbox:{tag}", registry.prefix());
        let told = ran(skopeo.args(["inspect", "--tls-verify=false", &image]));
        let told: Value = serde_json::from_str(&told).expect("skopeo answers JSON");
        assert_eq!(text(&told["Digest"]), registry.tags()[tag]);
        assert_eq!(
            format!("{}/{}", text(&told["Os"]), text(&told["Architecture"])),
            platform()
        );
    }
}

#[test]
fn docker_runs_what_was_released() {
    const NAME: &str = "docker_runs_what_was_released";
    if peers::docker().is_none() {
        return lacking(NAME, "docker with a daemon");
    }
    let Some(lab) = Lab::new(NAME) else {
        return;
    };
    let registry = released(&lab);
    let image = format!("{}/toolbox:latest-all", registry.prefix());
    let docker = || peers::docker().expect("it was there just now");
    let said = ran(docker().args([
        "run",
        "--rm",
        "--pull=always",
        "--network=none",
        &image,
        "sh",
        "-c",
        "one && two && three && echo $TWO && cat /etc/motd",
    ]));
    let removed = docker().args(["image", "rm", "--force", &image]).output();
    assert!(removed.is_ok());
    assert_eq!(said, "one 1.0.0\ntwo 2.0.0\nthree 3.0.0\n2.0.0\nwelcome\n");
}
