//! Starter files: each parses without errors and says what its Dockerfiles say.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use launchway_diagnostics::{Colour, SourceMap, render_all};
use launchway_manifest::{Family, Flavour, FoundDockerfile, parse, starter};

fn found(path: &str, stages: &[&str], bases: &[&str], args: &[&str]) -> FoundDockerfile {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    FoundDockerfile {
        path: path.to_owned(),
        stages: owned(stages),
        external_bases: owned(bases),
        args: owned(args),
    }
}

fn written(dockerfiles: &[FoundDockerfile]) -> (String, Family) {
    let text = starter(dockerfiles);
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("launchway.toml", text.as_str()), &text);
    let problems = render_all(&parsed.diagnostics, &sources, Colour::Never);
    assert_eq!(problems, "", "{text}");
    (text, parsed.family.unwrap())
}

/// Each image as `name <- base: dockerfile in context, variants`.
fn summary(family: &Family) -> Vec<String> {
    let images = family.images.iter();
    images
        .map(|image| {
            let base = image.from.as_ref().map_or("-", |from| from.value.as_str());
            let variants: Vec<&str> = image.variants.iter().map(|one| one.name.as_str()).collect();
            format!(
                "{} <- {base}: {} in {} as {} [{}]",
                image.name,
                image.dockerfile.value,
                image.context.value,
                image.repository.value,
                variants.join(" ")
            )
        })
        .collect()
}

#[test]
fn images_are_recognised() {
    for (dockerfiles, want) in [
        (vec![], vec!["app <- -: Dockerfile in . as app []"]),
        (
            vec![found("Dockerfile", &[], &["debian"], &[])],
            vec!["app <- -: Dockerfile in . as app []"],
        ),
        (
            // The base is named by an ARG.
            vec![
                found("Dockerfile.base", &[], &["debian"], &[]),
                found(
                    "Dockerfile.variant",
                    &[],
                    &["${BASE_IMAGE}"],
                    &["BASE_IMAGE", "INSTALL_OMOS"],
                ),
            ],
            vec![
                "base <- -: Dockerfile.base in . as app []",
                "app <- base: Dockerfile.variant in . as app [default omos]",
            ],
        ),
        (
            // The base is named by its image's name, and its stages are features.
            vec![
                found(
                    "Dockerfile.variant",
                    &["opencode", "omos"],
                    &["base", "base"],
                    &[],
                ),
                found("Dockerfile.base", &[], &["debian"], &["OPENCODE_VERSION"]),
            ],
            vec![
                "base <- -: Dockerfile.base in . as app []",
                "app <- base: Dockerfile.variant in . as app [full]",
            ],
        ),
        (
            // A Dockerfile of a folder is built in it; one of `docker/` is not.
            vec![
                found("images/rust/Dockerfile", &[], &["debian"], &[]),
                found(
                    "images/go/Dockerfile",
                    &["build"],
                    &["golang", "debian"],
                    &[],
                ),
                found("docker/tools.Dockerfile", &[], &["debian"], &[]),
            ],
            vec![
                "rust <- -: images/rust/Dockerfile in images/rust as rust []",
                "go <- -: images/go/Dockerfile in images/go as go []",
                "tools <- -: docker/tools.Dockerfile in . as tools []",
            ],
        ),
        (
            // Several on one base, which then keeps a repository of its own.
            vec![
                found("a/Dockerfile", &[], &["base"], &[]),
                found("b/Dockerfile", &[], &["$BASE"], &["BASE"]),
                found("base/Dockerfile", &[], &["debian"], &[]),
            ],
            vec![
                "base <- -: base/Dockerfile in base as base []",
                "a <- base: a/Dockerfile in a as a []",
                "b <- base: b/Dockerfile in b as b []",
            ],
        ),
        (
            // No circle, no name twice, nothing that cannot be written.
            vec![
                found("x/Dockerfile", &[], &["y"], &[]),
                found("y/Dockerfile", &[], &["x"], &[]),
                found("z/x/Dockerfile", &[], &["${BASE}"], &["BASE"]),
                found("../Dockerfile", &[], &[], &[]),
                found(
                    "we\"ird..__/Dockerfile.\u{e9}",
                    &["A B"],
                    &["$(x)"],
                    &["1_VERSION", "WITH_"],
                ),
            ],
            vec![
                "y <- -: y/Dockerfile in y as x []",
                "x-2 <- -: z/x/Dockerfile in z/x as x-2 []",
                "app <- -: we\"ird..__/Dockerfile.\u{e9} in . as app []",
                "x <- y: x/Dockerfile in x as x []",
            ],
        ),
    ] {
        let (text, family) = written(&dockerfiles);
        assert_eq!(summary(&family), want, "{text}");
    }
}

#[test]
fn a_base_named_by_an_argument_is_passed_as_one() {
    let (_, family) = written(&[
        found("Dockerfile.base", &[], &["debian"], &[]),
        found(
            "Dockerfile.variant",
            &[],
            &["${BASE_IMAGE:-x}"],
            &["BASE_IMAGE"],
        ),
    ]);
    assert_eq!(family.images[1].args["BASE_IMAGE"].as_str(), "base");
}

#[test]
fn stages_on_the_base_become_features() {
    let (text, family) = written(&[
        found("Dockerfile.base", &[], &["debian"], &[]),
        found(
            "Dockerfile.variant",
            &["opencode", "omos"],
            &["base", "base"],
            &["PI_VERSION"],
        ),
    ]);
    let Flavour::Features(features) = &family.images[1].variants[0].flavour else {
        panic!("{text}")
    };
    assert_eq!(features.len(), 2);
    assert!(
        text.contains("# PI_VERSION = { npm = \"PACKAGE\" }"),
        "{text}"
    );
}

/// What a comment shows has to be right once it is uncommented.
#[test]
fn the_examples_in_comments_are_right() {
    for dockerfiles in [
        vec![],
        vec![
            found("Dockerfile.base", &[], &["debian"], &[]),
            found(
                "Dockerfile.variant",
                &["opencode", "omos"],
                &["base"],
                &["PI_VERSION", "OMOS_VERSION"],
            ),
        ],
    ] {
        let text = starter(&dockerfiles);
        let mut seen = std::collections::BTreeSet::new();
        let uncommented: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                // Alternatives of one key: the first is enough here.
                Some(code) if is_code(code) => match code.split_once(" = ") {
                    Some((key, _)) if key != "run" && !seen.insert(key.to_owned()) => line,
                    _ => code,
                },
                _ => line,
            })
            .collect();
        assert!(uncommented.len() > seen.len() && seen.len() > 1);
        let text = uncommented.join("\n").replace("PACKAGE", "package");
        // The smoke test's version is any entry of [versions].
        let text = text.replace("{TOOL_VERSION}", &format!("{{{}}}", seen_version(&seen)));
        let mut sources = SourceMap::new();
        let parsed = parse(sources.add("launchway.toml", text.as_str()), &text);
        let problems = render_all(&parsed.diagnostics, &sources, Colour::Never);
        assert_eq!(problems, "", "{text}");
    }
}

fn is_code(line: &str) -> bool {
    line.starts_with('[')
        || line
            .split_once(" = ")
            .is_some_and(|(key, _)| !key.contains(' '))
}

fn seen_version(seen: &std::collections::BTreeSet<String>) -> &str {
    seen.iter().find(|key| key.ends_with("_VERSION")).unwrap()
}
