//! Two platforms, one of them by emulation.

use crate::fixture::{busybox, emulates};
use crate::lab::{Lab, content, foreign, lacking, of_kind, platform, text};

/// Both platforms have to be there; the fixture is made for both then.
fn both(test: &str) -> bool {
    if busybox(foreign()).is_none() {
        lacking(
            test,
            "static busybox of the other platform (cargo xtask test fetches it)",
        );
        return false;
    }
    if !emulates() {
        lacking(
            test,
            "emulation of the other platform (packages qemu-user-static and binfmt-support)",
        );
        return false;
    }
    true
}

#[test]
fn every_platform_is_built_and_tested() {
    const NAME: &str = "every_platform_is_built_and_tested";
    let (true, Some(lab)) = (both(NAME), Lab::new(NAME)) else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let all = format!("platforms = [\"linux/{}\", \"{}\"]", foreign(), platform());
    family.edit(
        "launchway.toml",
        &format!("platforms = [\"{}\"]", platform()),
        &all,
    );
    family.edit(
        "Dockerfile.tool",
        "ARG ONE_VERSION\n",
        "ARG ONE_VERSION\nRUN uname -m > /opt/machine\n",
    );
    let machine = lab.machine("a");
    let events = machine.release(&family, &["v1.0.0"]);
    assert_eq!(of_kind(&events, "smoke-done").len(), 8);
    let machines: Vec<String> = [platform(), format!("linux/{}", foreign())]
        .iter()
        .map(|platform| {
            let image = registry.image_for("v1.0.0-all", platform);
            assert_eq!(
                format!("linux/{}", text(&image.config["architecture"])),
                *platform
            );
            content(&image, "opt/machine").unwrap().to_owned()
        })
        .collect();
    assert_ne!(machines[0], machines[1]);
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(0)
        .says("nothing to do");
    machine.text(&family, &["verify", "v1.0.0"]).expect(0);
}

#[test]
fn a_neutral_feature_is_built_once() {
    const NAME: &str = "a_neutral_feature_is_built_once";
    let (true, Some(lab)) = (both(NAME), Lab::new(NAME)) else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let all = format!("platforms = [\"linux/{}\", \"{}\"]", foreign(), platform());
    family.edit(
        "launchway.toml",
        &format!("platforms = [\"{}\"]", platform()),
        &all,
    );
    family.append(
        "launchway.toml",
        "[image.tool.feature.three]\nneutral = true\n",
    );
    family.edit(
        "Dockerfile.tool",
        "ARG THREE_VERSION\n",
        "ARG THREE_VERSION\nENV THREE=yes\nRUN uname -m > /opt/machine\n",
    );
    let machine = lab.machine("a");
    let events = machine.release(&family, &["v1.0.0"]);
    let steps = of_kind(&events, "step-started");
    let runs = steps.iter().filter(|step| {
        step["node"] == "tool/feature/three" && text(&step["text"]).contains("uname")
    });
    assert_eq!(runs.count(), 1);
    let images = [platform(), format!("linux/{}", foreign())].map(|platform| {
        let image = registry.image_for("v1.0.0-three", &platform);
        assert_eq!(
            format!("linux/{}", text(&image.config["architecture"])),
            platform
        );
        image
    });
    assert_eq!(
        content(&images[0], "opt/machine"),
        content(&images[1], "opt/machine")
    );
    assert_ne!(
        content(&images[0], "bin/busybox"),
        content(&images[1], "bin/busybox")
    );
    for image in &images {
        assert!(
            image.config["config"]["Env"]
                .to_string()
                .contains("THREE=yes")
        );
    }

    // With machine code in it, it is refused, and the path is named.
    family.edit(
        "Dockerfile.tool",
        "ENV THREE=yes\n",
        "RUN cp /bin/busybox /opt/program\n",
    );
    let before = registry.tags();
    let done = machine.text(&family, &["release", "v1.1.0"]);
    done.expect(1).says("/opt/program").says("neutral");
    let tags = registry.tags();
    assert!(!tags.contains_key("v1.1.0-three"));
    assert_eq!(tags["latest-three"], before["latest-three"]);
    assert_eq!(tags["latest"], before["latest"]);
}

#[test]
fn a_base_without_the_platform_is_told() {
    let Some(lab) = Lab::new("a_base_without_the_platform_is_told") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let before = registry.everything();
    let done = lab.machine("a").text(
        &family,
        &["release", "v1.0.0", "--platform", "linux/riscv64"],
    );
    done.expect(1).says("linux/riscv64");
    assert_eq!(registry.everything(), before);
}
