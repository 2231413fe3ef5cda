//! Images that were built here, judged: what is found, who is blamed, and what refuses an image.

use std::process::Command;

use serde_json::Value;

use crate::lab::{BUSYBOX, Lab, Outcome, outcome};

/// The image of a Dockerfile whose steps have busybox, as a layout.
fn built(test: &str, steps: &str) -> Option<Lab> {
    let lab = Lab::with_busybox(test, &format!("{BUSYBOX}{steps}"))?;
    let output = format!("type=oci,tar=false,dest={}", lab.path("layout").display());
    lab.digest(&[
        "--output",
        &output,
        "--build-arg",
        "NPM_TOKEN=hunter2hunter2",
    ]);
    Some(lab)
}

fn lint(lab: &Lab, flags: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_launchway"));
    command
        .arg("--state-dir")
        .arg(lab.path("reader"))
        .arg("lint")
        .arg(format!("oci:{}", lab.path("layout").display()))
        .args(flags)
        .env("NO_COLOR", "1");
    outcome(&mut command)
}

fn report(lab: &Lab, flags: &[&str]) -> Value {
    let mut all = vec!["--format", "json"];
    all.extend(flags);
    serde_json::from_str(&lint(lab, &all).stdout).expect("the report is JSON")
}

/// `rule level layer wasted: first path`, for each finding.
fn told(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("a list");
    let told = findings.iter().map(|one| {
        let (rule, level) = (one["rule"].as_str(), one["level"].as_str());
        format!(
            "{} {} {} {}: {}",
            rule.expect("a rule"),
            level.expect("a level"),
            one["layer"],
            one["wasted"],
            one["paths"][0]["path"].as_str().expect("a path")
        )
    });
    told.collect()
}

#[test]
fn a_build_is_judged_before_it_goes_anywhere() {
    const NAME: &str = "a_build_is_judged_before_it_goes_anywhere";
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{WASTEFUL}")) else {
        return;
    };
    let layout = lab.path("judged");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let flags = ["--lint", "-o", &output];
    let refused = lab.build(&flags);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for words in [
        "error[secret-file]",
        "made by layer",
        "does not pass: linux/",
        ": it has secret-file (",
    ] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    assert!(!layout.exists());
    lab.write("Dockerfile", "FROM scratch\nCOPY busybox /bin/\n");
    let passed = lab.build(&flags);
    assert_eq!(passed.code, Some(0), "{}", passed.stderr);
    assert!(
        passed.stderr.contains("nothing found;"),
        "{}",
        passed.stderr
    );
    assert!(layout.exists());
    let quiet = lab.build(&["--lint", "--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    let several = lab.build(&["--lint", "--platform=linux/amd64,linux/arm64"]);
    for words in ["\nlinux/arm64\n\nlayer ", "linux/amd64\n\nlayer "] {
        assert!(several.stderr.contains(words), "{}", several.stderr);
    }
    let mut command = lab.command(&flags);
    let told = outcome(command.args(["--format", "json"]));
    let lines = told
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let linted = lines
        .into_iter()
        .find(|line| line["event"] == "linted")
        .expect("an event");
    assert_eq!(
        (&linted["passed"], &linted["findings"]),
        (&true.into(), &Vec::<Value>::new().into())
    );
    assert_eq!(linted["passed-over"], 0);
}

const WASTEFUL: &str = r#"ARG NPM_TOKEN
RUN b=/bin/busybox; $b mkdir -p /root /opt/a /var/lib/apt/lists && $b dd if=/dev/zero of=/var/lib/apt/lists/x_Packages bs=1000 count=300
RUN b=/bin/busybox; $b dd if=/dev/urandom of=/opt/a/big bs=1000 count=1500; $b dd if=/dev/urandom of=/opt/gone bs=1000 count=200; echo "//host/:_authToken=s3cr3tvalue" > /root/.npmrc
RUN b=/bin/busybox; $b rm /opt/gone /root/.npmrc; $b cp /opt/a/big /opt/copy
RUN b=/bin/busybox; $b chown 7 /opt/a/big && $b chmod 777 /opt
"#;

#[test]
fn every_kind_of_waste_is_found_with_its_layer() {
    let Some(lab) = built("every_kind_of_waste_is_found_with_its_layer", WASTEFUL) else {
        return;
    };
    let found = report(&lab, &[]);
    assert_eq!(
        told(&found),
        [
            "secret-file deny 3 0: /root/.npmrc",
            "secret-config deny null 0: history:4",
            "duplicate-file warn 4 1500000: /opt/copy",
            "metadata-change warn 5 1500000: /opt/a/big",
            "package-cache warn 2 300000: /var/lib/apt/lists/x_Packages",
            "deleted-file warn 4 200031: /opt/gone",
            "world-writable warn 5 0: /opt",
        ]
    );
    let instruction = |at: usize| found["findings"][at]["instruction"].as_str();
    assert!(instruction(4).is_some_and(|text| text.contains("mkdir -p /root")));
    assert_eq!(found["findings"][5]["origin"], 3);
    assert_eq!(found["wasted"], 3_500_031);
    assert_eq!(found["passed"], false);

    // No value is told, in no form.
    for flags in [&["--format", "json"][..], &[]] {
        let outcome = lint(&lab, flags);
        assert_eq!(outcome.code, Some(1));
        for secret in ["hunter2hunter2", "s3cr3tvalue"] {
            let all = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(!all.contains(secret), "{all}");
        }
    }
}

#[test]
fn budgets_levels_and_allowed_paths_decide() {
    let Some(lab) = built("budgets_levels_and_allowed_paths_decide", WASTEFUL) else {
        return;
    };
    let known = [
        "--allow",
        "secret-file:/root/.npmrc",
        "--allow",
        "secret-config:history:*",
    ];
    let check = |flags: &[&str], code: i32, says: &str| {
        let mut all = known.to_vec();
        all.extend(flags);
        let outcome = lint(&lab, &all);
        assert_eq!(outcome.code, Some(code), "{flags:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(says),
            "{flags:?}: {}",
            outcome.stderr
        );
    };
    check(&[], 0, "");
    check(&["--budget", "wasted=3.6MB"], 0, "");
    check(
        &["--budget", "wasted=3.4MB"],
        1,
        "it wastes 3.5 MB of 3.4 MB allowed",
    );
    check(&["--budget", "wasted=1%"], 1, "it wastes");
    check(&["--budget", "size=1GB"], 0, "");
    check(&["--budget", "size=1kB"], 1, "it weighs");
    check(
        &["--deny", "package-cache"],
        1,
        "package-cache (/var/lib/apt/lists/x_Packages)",
    );
    check(&["--deny", "warnings"], 1, "duplicate-file");
    check(&["--allow", "setuid"], 0, "--allow setuid  allowed nothing");
    check(&["--budget", "waste=1"], 2, "there is no such budget");
    check(&["--budget", "size=much"], 2, "size");
    check(
        &["--deny", "package-caches"],
        2,
        "did you mean `package-cache`?",
    );
}

#[test]
fn an_install_below_a_volume_or_a_mount_is_found() {
    let steps = "ENV NPM_CONFIG_PREFIX=/home/me/.pi/npm\nRUN b=/bin/busybox; $b mkdir -p /home/me/.pi/npm/bin /srv/data && echo '#!/bin/sh' > /home/me/.pi/npm/bin/tool && $b chmod 755 /home/me/.pi/npm/bin/tool && echo x > /srv/data/x\nVOLUME /srv/data\n";
    let Some(lab) = built("an_install_below_a_volume_or_a_mount_is_found", steps) else {
        return;
    };
    assert_eq!(
        told(&report(&lab, &[])),
        ["shadowed-data warn 2 0: /srv/data/x"]
    );
    let mounted = report(&lab, &["--mount", "/home/me/.pi"]);
    assert_eq!(
        told(&mounted)[0],
        "shadowed-program deny 2 0: /home/me/.pi/npm/bin/tool"
    );
    let help = mounted["findings"][0]["help"].as_str();
    assert!(help.is_some_and(|text| text.contains("RUN NPM_CONFIG_PREFIX=/usr")));
}

#[test]
fn what_the_base_has_is_not_blamed_on_the_image() {
    let Some(lab) = built("what_the_base_has_is_not_blamed_on_the_image", WASTEFUL) else {
        return;
    };
    let base = format!("oci:{}", lab.path("layout").display());
    let found = report(&lab, &["--base", &base]);
    assert_eq!(
        told(&found),
        ["secret-config deny null 0: history:4"],
        "the configuration is its own"
    );
    let other = Lab::new("FROM scratch\nCOPY Dockerfile /\n");
    let output = format!("type=oci,tar=false,dest={}", other.path("layout").display());
    other.digest(&["--output", &output]);
    let outcome = lint(
        &lab,
        &["--base", &format!("oci:{}", other.path("layout").display())],
    );
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("was not built on it"),
        "{}",
        outcome.stderr
    );
}
