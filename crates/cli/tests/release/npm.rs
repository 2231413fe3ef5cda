//! Floating versions: resolved against an npm registry that is played here.

use launchway_testkit::proxy::{Harm, Proxy, Rule};

use crate::lab::{Family, Lab, built, content, tool};

/// An npm registry with one package.
fn npm() -> Proxy {
    Proxy::start("127.0.0.1:9", Vec::new())
}

/// What the registry has of the package: its versions, the last one being `latest`.
fn publishes(npm: &Proxy, versions: &[&str]) {
    let latest = versions.last().copied().unwrap_or_default();
    let document = |version: &str| format!(r#"{{"name":"tool-one","version":"{version}"}}"#);
    let all: Vec<String> = versions
        .iter()
        .map(|version| format!("{version:?}:{}", document(version)))
        .collect();
    let package = format!(
        r#"{{"name":"tool-one","dist-tags":{{"latest":"{latest}"}},"versions":{{{}}}}}"#,
        all.join(",")
    );
    let answer = |body: String| Harm::Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body,
    };
    npm.set_rules(vec![
        Rule::new("GET", "/tool-one/latest", answer(document(latest))),
        Rule::new("GET", "/tool-one", answer(package)),
        Rule::new("*", "", Harm::status(404)),
    ]);
}

fn floating(lab: &Lab, prefix: &str, bases: &str, npm: &Proxy, source: &str) -> Family {
    let family = lab.family(&[prefix], bases);
    family.edit(
        "launchway.toml",
        "ONE_VERSION = \"1.0.0\"",
        &format!("ONE_VERSION = {source}"),
    );
    family.append(
        "launchway.toml",
        &format!("[npm]\nregistry = \"http://{}\"\n", npm.host()),
    );
    family
}

#[test]
fn a_version_floats_until_its_release_has_begun() {
    let Some(lab) = Lab::new("a_version_floats_until_its_release_has_begun") else {
        return;
    };
    let (registry, npm) = (lab.registry("registry"), npm());
    let family = floating(
        &lab,
        &registry.prefix(),
        &registry.host,
        &npm,
        "{ npm = \"tool-one\", accept = \"1\" }",
    );
    publishes(&npm, &["0.9.0", "1.0.0", "1.1.0", "2.0.0"]);
    let machine = lab.machine("a");
    machine.release(&family, &["v1.0.0"]);
    let image = registry.image("v1.0.0");
    assert_eq!(
        content(&image, "usr/local/bin/one"),
        Some(tool("one", "1.1.0").as_str())
    );

    // A new version upstream is the next release's business.
    publishes(&npm, &["1.0.0", "1.1.0", "1.2.0", "2.0.0"]);
    machine
        .text(&family, &["release", "v1.0.0"])
        .expect(0)
        .says("nothing to do");
    let events = machine.release(&family, &["v1.0.1"]);
    assert_eq!(built(&events), ["tool/feature/one"]);
    let image = registry.image("v1.0.1-all");
    assert_eq!(
        content(&image, "usr/local/bin/one"),
        Some(tool("one", "1.2.0").as_str())
    );
}

#[test]
fn a_half_done_release_keeps_the_versions_of_all_its_variants() {
    let Some(lab) = Lab::new("a_half_done_release_keeps_the_versions_of_all_its_variants") else {
        return;
    };
    let (registry, npm) = (lab.registry("registry"), npm());
    let family = floating(
        &lab,
        &registry.prefix(),
        &registry.host,
        &npm,
        "{ npm = \"tool-one\" }",
    );
    // Only `two` and what is made of it floats, so that the first variant knows nothing of it.
    family.edit(
        "launchway.toml",
        "ONE_VERSION = { npm = \"tool-one\" }",
        "ONE_VERSION = \"1.0.0\"",
    );
    family.edit(
        "launchway.toml",
        "TWO_VERSION = \"2.0.0\"",
        "TWO_VERSION = { npm = \"tool-one\" }",
    );
    family.append(
        "launchway.toml",
        "[[image.tool.smoke]]\nrun = [\"false\"]\nvariants = [\"three\"]\n",
    );
    publishes(&npm, &["2.0.0"]);
    let machine = lab.machine("a");
    machine.text(&family, &["release", "v1.0.0"]).expect(1);
    assert!(registry.tags().contains_key("v1.0.0-two"));
    publishes(&npm, &["2.0.0", "2.0.1"]);
    family.edit("launchway.toml", "run = [\"false\"]", "run = [\"true\"]");
    let events = machine.release(&family, &["v1.0.0"]);
    assert!(built(&events).is_empty());
    machine.text(&family, &["verify", "v1.0.0"]).expect(0);
}

#[test]
fn a_version_that_cannot_be_had_is_never_another() {
    let Some(lab) = Lab::new("a_version_that_cannot_be_had_is_never_another") else {
        return;
    };
    let (registry, npm) = (lab.registry("registry"), npm());
    let before = registry.everything();
    let check = |source: &str, said: &[&str]| {
        let family = floating(&lab, &registry.prefix(), &registry.host, &npm, source);
        for command in ["plan", "release"] {
            let done = lab.machine("a").text(&family, &[command, "v1.0.0"]);
            done.expect(1)
                .says("LW0606")
                .says("ONE_VERSION")
                .says("launchway.toml:");
            for part in said {
                done.says(part);
            }
        }
        assert_eq!(registry.everything(), before, "{source}");
    };
    publishes(&npm, &["1.0.0"]);
    check("{ npm = \"no-such-package\" }", &["no-such-package"]);
    check("{ npm = \"tool-one\", accept = \"^3\" }", &["^3"]);
    check("{ npm = \"tool-one\", accept = \"beta\" }", &["beta"]);
    npm.set_rules(vec![Rule::new(
        "*",
        "",
        Harm::Answer {
            status: 200,
            headers: Vec::new(),
            body: "<html>please log in</html>".to_owned(),
        },
    )]);
    check("{ npm = \"tool-one\" }", &["tool-one"]);
}

#[test]
fn without_any_npm_configuration_it_says_what_to_do() {
    let Some(lab) = Lab::new("without_any_npm_configuration_it_says_what_to_do") else {
        return;
    };
    let registry = lab.registry("registry");
    let family = lab.family(&[&registry.prefix()], &registry.host);
    family.edit(
        "launchway.toml",
        "ONE_VERSION = \"1.0.0\"",
        "ONE_VERSION = { npm = \"tool-one\" }",
    );
    // No npm client on the PATH either.
    let machine = lab.machine("a").with("PATH", "/nonexistent");
    let done = machine.text(&family, &["plan", "v1.0.0"]);
    done.expect(1).says("LW0606").says("[npm]");
}
