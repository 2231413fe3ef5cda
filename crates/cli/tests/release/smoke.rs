//! Smoke tests that fail keep tags where they are.

use crate::lab::{Lab, built, of_kind};

#[test]
fn a_failing_test_blocks_its_variant_and_every_rolling_tag() {
    let Some(lab) = Lab::new("a_failing_test_blocks_its_variant_and_every_rolling_tag") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    let machine = lab.machine("a");
    machine.release(&family, &["v1.0.0"]);
    let before = registry.tags();
    let good = family.read("launchway.toml").replace("1.0.0", "1.1.0");
    for (at, (test, why)) in [
        (
            "run = [\"two\"]\nstdout = \"three\"",
            "stdout does not contain `three`",
        ),
        ("run = [\"two\"]\nexit = 3", "exit code 0, expected 3"),
        (
            "run = [\"sh\", \"-c\", \"exit 7\"]",
            "exit code 7, expected 0",
        ),
        (
            "run = [\"sleep\", \"30\"]\ntimeout = \"300ms\"",
            "took longer than",
        ),
        ("run = [\"sh\", \"-c\", \"kill -9 $$\"]", "signal 9"),
        ("run = [\"no-such-program\"]", "no-such-program"),
        ("script = \"check.sh\"", "exit code 5, expected 0"),
        ("script = \"notes.sh\"", "chmod +x notes.sh"),
    ]
    .into_iter()
    .enumerate()
    {
        family.script("check.sh", "#!/bin/sh\nexit 5\n");
        family.write("notes.sh", "#!/bin/sh\n");
        let version = format!("v1.1.{at}");
        family.write(
            "launchway.toml",
            &format!("{good}\n[[image.tool.smoke]]\nvariants = [\"two\"]\n{test}\n"),
        );
        let done = machine.text(&family, &["release", &version]);
        done.expect(1).says(why).says("tool/two");
        let tags = registry.tags();
        assert!(!tags.contains_key(&format!("{version}-two")), "{test}");
        // Its siblings are released under their immutable tags; what people follow stays.
        assert!(tags.contains_key(&version), "{test}");
        for rolling in ["latest", "latest-two", "latest-all", "v1", "base-latest"] {
            assert_eq!(tags[rolling], before[rolling], "{rolling} after {test}");
        }
    }

    // Running again with the test put right does what is left, and builds nothing.
    family.write("launchway.toml", &good);
    let events = machine.release(&family, &["v1.1.7"]);
    assert!(built(&events).is_empty(), "{:?}", built(&events));
    assert_eq!(
        of_kind(&events, "smoke-done").len(),
        1,
        "only what has no tag yet is tested"
    );
    let tagged = of_kind(&events, "tagged");
    assert_eq!(tagged.len(), 1);
    let tags = registry.tags();
    for suffix in ["", "-two", "-three", "-all"] {
        assert_eq!(
            tags[&format!("latest{suffix}")],
            tags[&format!("v1.1.7{suffix}")]
        );
    }
    machine.text(&family, &["verify", "v1.1.7"]).expect(0);
}

#[test]
fn tests_see_the_image_as_its_users_do() {
    let Some(lab) = Lab::new("tests_see_the_image_as_its_users_do") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.script("check.sh", "#!/bin/sh\nset -e\ntest \"$(one)\" = 'one 1.0.0'\ntest \"$TWO\" = 2.0.0\ntest ! -e /check.sh\n");
    family.append(
        "launchway.toml",
        "[[image.tool.smoke]]\nscript = \"check.sh\"\nfeatures = [\"two\"]\n\n\
         [[image.tool.smoke]]\nrun = [\"id\", \"-u\"]\nuser = \"1234\"\nstdout = \"1234\"\n\n\
         [[image.tool.smoke]]\nrun = [\"false\"]\nexit = 1\n",
    );
    let events = lab.machine("a").release(&family, &["v1.0.0"]);
    assert_eq!(of_kind(&events, "smoke-done").len(), 4);
    // What tests leave behind is in no image.
    assert!(
        !registry
            .image("v1.0.0-two")
            .entries
            .contains_key(&b"run/launchway"[..])
    );
}
