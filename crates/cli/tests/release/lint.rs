//! What a family holds its images to, before their tags are written.

use crate::family::record;
use crate::lab::{Lab, of_kind};

/// The trap that smoke tests cannot see: the base's install prefix is below a path that users mount a
/// volume over, and a feature installs there.
#[test]
fn an_install_that_a_mount_will_hide_blocks_its_variants() {
    let Some(lab) = Lab::new("an_install_that_a_mount_will_hide_blocks_its_variants") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.append(
        "Dockerfile.base",
        "ENV NPM_CONFIG_PREFIX=/home/me/.tools\nENV PATH=/home/me/.tools/bin:/usr/local/bin:/bin\nRUN mkdir -p /home/me/.tools/bin\n",
    );
    let machine = lab.machine("a");
    let events = machine.release(&family, &["v1.0.0"]);
    assert!(of_kind(&events, "linted").is_empty(), "nobody asked for it");
    let before = registry.tags();

    family.edit(
        "launchway.toml",
        "rolling = [\"base-latest\"]\n",
        "rolling = [\"base-latest\"]\nruntime-mounts = [\"/home/me/.tools\"]\n",
    );
    family.append("launchway.toml", "[image.tool.lint]\n");
    family.edit(
        "Dockerfile.tool",
        "> /usr/local/bin/two && chmod 755 /usr/local/bin/two",
        "> $NPM_CONFIG_PREFIX/bin/two && chmod 755 $NPM_CONFIG_PREFIX/bin/two",
    );
    let plan = machine.plan(&family, &["v1.1.0"]);
    let actions = plan["actions"].as_array().expect("a list");
    let of = |name: &str| actions.iter().position(|one| one["action"] == name);
    assert!(of("push") < of("lint") && of("lint") < of("smoke"));
    let done = machine.text(&family, &["release", "v1.1.0"]);
    done.expect(1)
        .says("shadowed-program")
        .says("tool/two")
        .says("/home/me/.tools/bin/two");
    let tags = registry.tags();
    for suffix in ["-two", "-all"] {
        assert!(!tags.contains_key(&format!("v1.1.0{suffix}")), "{suffix}");
    }
    assert!(tags.contains_key("v1.1.0-three"), "its sibling is released");
    for rolling in ["latest", "latest-two", "latest-three", "v1", "base-latest"] {
        assert_eq!(tags[rolling], before[rolling], "{rolling} stays");
    }

    // The cure is to install elsewhere.
    family.edit(
        "Dockerfile.tool",
        "$NPM_CONFIG_PREFIX/bin",
        "/usr/local/bin",
    );
    let events = machine.release(&family, &["v1.2.0"]);
    let linted = of_kind(&events, "linted");
    assert_eq!(linted.len(), 4);
    assert!(linted.iter().all(|one| one["passed"] == true));
    let tags = registry.tags();
    assert_eq!(tags["latest-two"], tags["v1.2.0-two"]);
}

#[test]
fn a_budget_blocks_what_is_over_it_until_it_is_mended_or_accepted() {
    let Some(lab) = Lab::new("a_budget_blocks_what_is_over_it_until_it_is_mended_or_accepted")
    else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.edit(
        "Dockerfile.tool",
        "> /usr/local/bin/three &&",
        "> /usr/local/bin/three && mkdir -p /tmp && dd if=/dev/zero of=/tmp/left bs=1000 count=300 &&",
    );
    family.append("launchway.toml", "[lint]\nwasted = \"200kB\"\n");
    let machine = lab.machine("a");
    let done = machine.text(&family, &["release", "v1.0.0"]);
    done.expect(1)
        .says("it wastes 300.0 kB of 200.0 kB allowed")
        .says("made by RUN printf");
    let tags = registry.tags();
    assert!(!tags.contains_key("v1.0.0-three") && !tags.contains_key("latest"));

    // Accepted, with a reason; an entry that accepts nothing is told.
    family.append(
        "launchway.toml",
        "[[lint.allow]]\nrule = \"leftovers\"\npath = \"/tmp/left\"\nreason = \"needed at run time\"\n\n[[image.tool.lint.allow]]\nrule = \"setuid\"\nreason = \"none\"\n",
    );
    let events = machine.release(&family, &["v1.0.0"]);
    let linted = of_kind(&events, "linted");
    let three = linted.iter().find(|one| one["node"] == "tool/three");
    let three = three.expect("it is judged again");
    assert_eq!(three["wasted"], 0);
    assert_eq!(three["unused"], serde_json::json!(["setuid"]));
    let record = record(&registry, "launchway-record-v1.0.0");
    let nodes = record["nodes"].as_array().expect("a list");
    let three = nodes.iter().find(|one| one["node"] == "tool/three");
    let lint = &three.expect("it is recorded")["lint"];
    assert_eq!(lint[crate::lab::platform()]["wasted"], 0, "{lint}");

    // Too large for its platform is refused as well; the family's other images keep their own limit.
    family.append(
        "launchway.toml",
        &format!(
            "[image.tool.lint.platform-size]\n{:?} = \"1kB\"\n",
            crate::lab::platform()
        ),
    );
    machine
        .text(&family, &["release", "v1.1.0"])
        .expect(1)
        .says("it weighs");
}
