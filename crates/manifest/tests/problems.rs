//! Wrong files: what is said about each mistake, and where.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use launchway_diagnostics::{Colour, SourceMap, render_all};
use launchway_manifest::{Parsed, parse};

/// A sound file; each case below spoils it in one way.
const SOUND: &str = r#"[family]
name = "f"
platforms = ["linux/amd64"]
registries = ["docker.io/someone"]

[versions]
PI_VERSION = { npm = "pi" }

[image.base]
dockerfile = "Dockerfile.base"
repository = "f"
rolling = ["base-latest"]

[image.app]
from = "base"
dockerfile = "Dockerfile"
repository = "f"
tags = ["v{version}{suffix}"]
rolling = ["latest{suffix}"]
args = { A = "{PI_VERSION}" }

[image.app.variant]
one = { features = ["opencode"], suffix = "" }
two = { features = ["opencode", "pi"] }

[[image.app.smoke]]
run = ["pi", "--version"]
stdout = "{PI_VERSION}"
"#;

fn read(text: &str) -> (Parsed, SourceMap) {
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("launchway.toml", text), text);
    (parsed, sources)
}

fn spoilt(from: &str, to: &str) -> String {
    assert_eq!(
        SOUND.matches(from).count(),
        1,
        "{from:?} must be there once"
    );
    SOUND.replace(from, to)
}

/// Each problem as `code message | marked text | help`.
fn problems(text: &str) -> Vec<String> {
    let (parsed, sources) = read(text);
    let lines: Vec<String> = parsed
        .diagnostics
        .iter()
        .map(|problem| {
            let label = problem.labels.iter().find(|label| label.primary).unwrap();
            let marked = &sources.text(label.span.source)[label.span.range()];
            let help = problem.help.join("; ");
            format!("{} {} | {marked} | {help}", problem.code, problem.message)
        })
        .collect();
    let sound = !parsed.diagnostics.iter().any(|problem| problem.is_error());
    assert_eq!(parsed.family.is_some(), sound);
    lines
}

fn check(cases: &[(&str, &str, &[&str])]) {
    for (from, to, want) in cases {
        assert_eq!(problems(&spoilt(from, to)), *want, "{from} -> {to}");
    }
}

#[test]
fn nothing_is_wrong_with_a_sound_file() {
    assert_eq!(problems(SOUND), [""; 0]);
}

#[test]
fn keys_and_types() {
    check(&[
        (
            "name = \"f\"",
            "nme = \"f\"",
            &["LW0101 unknown key `nme` | nme | did you mean `name`?"],
        ),
        (
            "name = \"f\"",
            "name = \"f\"\ncolour = \"red\"",
            &[
                "LW0101 unknown key `colour` | colour | [family] takes `name`, `platforms`, `registries`, `plain-http`, `ignore`",
            ],
        ),
        (
            "[versions]\n",
            "[versions]\n\"1X\" = \"1\"\n",
            &["LW0104 \"1X\" cannot name a version | \"1X\" | "],
        ),
        (
            "platforms = [\"linux/amd64\"]",
            "platforms = \"linux/amd64\"",
            &[
                "LW0102 `platforms` takes a list | \"linux/amd64\" | put it in brackets: [\"linux/amd64\"]",
            ],
        ),
        (
            "platforms = [\"linux/amd64\"]",
            "platforms = []",
            &["LW0105 `platforms` is empty | [] | list at least one"],
        ),
        (
            "repository = \"f\"\nrolling",
            "rolling",
            &["LW0103 `repository` is missing | [image.base] | "],
        ),
        (
            "{ A = \"{PI_VERSION}\" }",
            "{ A = true }",
            &["LW0102 `A` takes a text | true | put it in quotes: \"true\""],
        ),
        (
            "run = [\"pi\", \"--version\"]",
            "run = \"pi --version\"",
            &[
                "LW0102 `run` takes a list | \"pi --version\" | put it in brackets: [\"pi\", \"--version\"]",
            ],
        ),
        (
            "run = [\"pi\", \"--version\"]",
            "script = \"a\"\nrun = [\"a\"]",
            &[
                "LW0106 `run` and `script` exclude each other | run | a smoke test takes one of them; take the other out",
            ],
        ),
        (
            "run = [\"pi\", \"--version\"]\n",
            "",
            &["LW0106 neither `run` nor `script` is given | [[image.app.smoke]] | "],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "exit = 300",
            &["LW0105 `exit` is out of range | 300 | "],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "timeout = 60",
            &["LW0102 `timeout` takes a text | 60 | say the unit, as in \"60s\" or \"60m\""],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "timeout = \"0s\"",
            &["LW0105 `timeout` is nothing | \"0s\" | "],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "timeout = \"1 day\"",
            &[
                "LW0105 \"1 day\" is not a length of time | \"1 day\" | write it like \"90s\", \"15m\" or \"1h30m\"",
            ],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "stdout = \"\"",
            &["LW0105 `stdout` is empty | \"\" | "],
        ),
        (
            "[versions]",
            "[build]\nmemory = \"lots\"\n[versions]",
            &[
                "LW0105 \"lots\" is no limit | \"lots\" | `lots` is not a size: write it like 512m or 2g",
            ],
        ),
        (
            "[versions]",
            "[build]\nmemory = \"2g\"\nmemory-swap = \"1g\"\n[versions]",
            &["LW0105 these limits do not fit together | \"1g\" | "],
        ),
        (
            "[versions]",
            "[build]\nulimits = [\"files=3\"]\n[versions]",
            &[
                "LW0105 \"files=3\" is no limit | \"files=3\" | there is no limit `files`; there are core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack",
            ],
        ),
        (
            "[versions]",
            "[build]\ncompression = \"zsdt\"\n[versions]",
            &["LW0105 `compression` cannot be \"zsdt\" | \"zsdt\" | did you mean `zstd`?"],
        ),
        (
            "[versions]",
            "[npm]\nregistry = \"https://me:secret@npm.example.com\"\n[versions]",
            &["LW0105 `registry` is not an address | \"https://me:secret@npm.example.com\" | "],
        ),
    ]);
}

#[test]
fn values() {
    check(&[
        (
            "\"linux/amd64\"",
            "\"amd64\"",
            &[
                "LW0120 \"amd64\" is not a platform to build for | \"amd64\" | write \"linux/amd64\"",
            ],
        ),
        (
            "\"linux/amd64\"",
            "\"linux/amd46\"",
            &[
                "LW0120 \"linux/amd46\" is not a platform to build for | \"linux/amd46\" | did you mean `linux/amd64`?",
            ],
        ),
        (
            "\"linux/amd64\"",
            "\"windows/amd64\"",
            &["LW0120 \"windows/amd64\" is not a platform to build for | \"windows/amd64\" | "],
        ),
        (
            "\"linux/amd64\"",
            "\"linux/amd64\", \"linux/x86_64\"",
            &["LW0107 `linux/amd64` is repeated | \"linux/x86_64\" | take one of them out"],
        ),
        (
            "docker.io/someone",
            "someone",
            &["LW0121 \"someone\" is not a registry | \"someone\" | write \"docker.io/someone\""],
        ),
        (
            "docker.io/someone",
            "https://ghcr.io/someone",
            &[
                "LW0121 \"https://ghcr.io/someone\" is not a registry | https:// | write \"ghcr.io/someone\"",
            ],
        ),
        (
            "docker.io/someone",
            "docker.io/Some",
            &["LW0121 \"docker.io/Some\" is not a registry | S | "],
        ),
        (
            "{ npm = \"pi\" }",
            "{ npm = \"pi@0.75\" }",
            &[
                "LW0105 \"pi@0.75\" is not the name of a package | @0.75 | write accept = \"0.75\" beside it",
            ],
        ),
        (
            "{ npm = \"pi\" }",
            "{ npm = \"a/b\" }",
            &["LW0105 \"a/b\" is not the name of a package | \"a/b\" | "],
        ),
        (
            "{ npm = \"pi\" }",
            "\"latest\"",
            &[
                "LW0105 `PI_VERSION` is not a concrete version | \"latest\" | name the package that it is resolved from: PI_VERSION = { npm = \"PACKAGE\", accept = \"latest\" }",
            ],
        ),
        (
            "repository = \"f\"\nrolling",
            "repository = \"ghcr.io/f\"\nrolling",
            &[
                "LW0122 \"ghcr.io/f\" is not a repository's path | \"ghcr.io/f\" | registries are listed once, under [family]",
            ],
        ),
        (
            "repository = \"f\"\nrolling",
            "repository = \"f:v1\"\nrolling",
            &[
                "LW0122 \"f:v1\" is not a repository's path | : | tags are listed under `tags` and `rolling`",
            ],
        ),
        (
            "\"Dockerfile.base\"",
            "\"../Dockerfile.base\"",
            &[
                "LW0123 \"../Dockerfile.base\" is not a path of the family | \"../Dockerfile.base\" | ",
            ],
        ),
        (
            "\"Dockerfile.base\"",
            "\"/Dockerfile.base\"",
            &["LW0123 \"/Dockerfile.base\" is not a path of the family | \"/Dockerfile.base\" | "],
        ),
        (
            "rolling = [\"base-latest\"]",
            "hash = \"file\"\ninputs = [\"a\", \"b\"]",
            &[
                "LW0141 `hash = \"file\"` hashes one file | [\"a\", \"b\"] | name one of them, or use `hash = \"concat\"`",
            ],
        ),
        (
            "rolling = [\"base-latest\"]",
            "hash = \"concat\"\ninputs = [\"a\", \"../b\", \"./a\"]",
            &[
                "LW0123 \"../b\" is not a path of the family | \"../b\" | ",
                "LW0107 `a` is repeated | \"./a\" | take one of them out",
            ],
        ),
        (
            "rolling = [\"base-latest\"]",
            "release-prefix = \"a b\"",
            &["LW0105 ' ' cannot stand in a release prefix |   | "],
        ),
        (
            "{ features = [\"opencode\", \"pi\"] }",
            "{ features = [\"pi\"], workdir = \"x\" }",
            &["LW0105 \"x\" is not a working directory | \"x\" | "],
        ),
    ]);
}

#[test]
fn bases_and_features() {
    check(&[
        (
            "from = \"base\"",
            "from = \"bsae\"",
            &["LW0110 there is no image `bsae` | \"bsae\" | did you mean `base`?"],
        ),
        (
            "from = \"base\"",
            "from = \"app\"",
            &[
                "LW0112 `app` has variants and cannot be a base | \"app\" | build from an image without variants",
                "LW0111 `app` is built from itself | \"app\" | take one `from` out",
            ],
        ),
        (
            "rolling = [\"base-latest\"]",
            "from = \"app\"",
            &[
                "LW0112 `app` has variants and cannot be a base | \"app\" | build from an image without variants",
                "LW0111 images are built from one another in a circle | \"app\" | take one `from` out",
            ],
        ),
        (
            "rolling = [\"base-latest\"]",
            "variant = { a = {} }",
            &[
                "LW0112 `base` has variants and cannot be a base | \"base\" | build from an image without variants",
            ],
        ),
        (
            "rolling = [\"base-latest\"]",
            "platforms = [\"linux/arm64\"]",
            &[
                "LW0113 `app` is to be built for linux/amd64, but its base `base` is not | \"linux/amd64\" | add linux/amd64 to the platforms of `base`, or give `app` platforms without it",
            ],
        ),
        (
            "from = \"base\"\n",
            "",
            &[
                "LW0114 `app` has features, but no base | \"opencode\" | name the base with `from = \"IMAGE\"`, or let variants differ by `args`",
            ],
        ),
        (
            "{ features = [\"opencode\", \"pi\"] }",
            "{ features = [] }",
            &[
                "LW0115 the list of features is empty | [] | list at least one feature, or leave `features` out",
            ],
        ),
        (
            "{ features = [\"opencode\", \"pi\"] }",
            "{ features = [\"pi\", \"pi\"] }",
            &["LW0107 `pi` is repeated | \"pi\" | take one of them out"],
        ),
        (
            "{ features = [\"opencode\", \"pi\"] }",
            "{ features = [\"pi\"], args = { A = \"b\" } }",
            &[
                "LW0106 `features` and `args` exclude each other | args | a variant takes one of them; take the other out",
            ],
        ),
        (
            "[image.app.variant]",
            "[image.app.feature.opencod]\n[image.app.variant]",
            &[
                "LW0118 feature `opencod` is never built | opencod | a variant lists `opencode`; is it meant?",
            ],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "variants = [\"tow\"]",
            &["LW0117 there is no variant `tow` | \"tow\" | did you mean `two`?"],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "features = [\"opencod\"]",
            &["LW0116 there is no feature `opencod` | \"opencod\" | did you mean `opencode`?"],
        ),
        (
            "stdout = \"{PI_VERSION}\"",
            "variants = [\"one\"]\nfeatures = [\"pi\"]",
            &[
                "LW0119 this smoke test never runs | [[image.app.smoke]] | a variant has to be among `variants` and to list all of `features`",
            ],
        ),
        (
            "[image.base]",
            "[image.Base]",
            &["LW0104 \"Base\" cannot name an image | Base | write `base`"],
        ),
    ]);
}

#[test]
fn tags_and_templates() {
    check(&[
        (
            "\"v{version}{suffix}\"",
            "\"v{vresion}{suffix}\"",
            &["LW0131 unknown placeholder `{vresion}` | {vresion} | did you mean `{version}`?"],
        ),
        (
            "\"v{version}{suffix}\"",
            "\"v{version\"",
            &[
                "LW0130 `{` is not closed | { | placeholders are `{version}`, `{major}`, `{minor}`, `{suffix}`, `{image}`, `{hash}`, `{variant}`",
            ],
        ),
        (
            "\"v{version}{suffix}\"",
            "\"stable{suffix}\"",
            &[
                "LW0134 release tag \"stable{suffix}\" is without `{version}` | \"stable{suffix}\" | add `{version}`, or list it under `rolling`",
            ],
        ),
        (
            "\"v{version}{suffix}\"",
            "\"v{version}\"",
            &[
                "LW0137 variant `one` of `app` and variant `two` of `app` would both publish `f:v1.2.3` | \"v{version}\" | add `{suffix}`, so that variants differ",
            ],
        ),
        (
            "\"v{version}{suffix}\"",
            "\"v {version}{suffix}\"",
            &["LW0136 ' ' cannot stand in a tag |   | tags have letters, digits, `_`, `.` and `-`"],
        ),
        (
            "\"v{version}{suffix}\"",
            "\"{suffix}v{version}\"",
            &[
                "LW0136 tag template \"{suffix}v{version}\" gives \"-twov1.2.3\", which is not a tag | \"{suffix}v{version}\" | ",
            ],
        ),
        (
            "\"v{version}{suffix}\"",
            "\"v{version}{suffix}\", \"v{version}-{feature}\"",
            &[
                "LW0132 `{feature}` has no value in `tags` | {feature} | `tags` can have `{version}`, `{major}`, `{minor}`, `{suffix}`, `{image}`, `{hash}`, `{variant}`",
            ],
        ),
        (
            "\"latest{suffix}\"",
            "\"v{version}-latest\"",
            &[
                "LW0135 rolling tag \"v{version}-latest\" never moves | {version} | list it under `tags`, or use `{major}` or `{minor}`",
            ],
        ),
        (
            "\"latest{suffix}\"",
            "\"v1.2.3{suffix}\"",
            &[
                "LW0137 variant `one` of `app` would publish `f:v1.2.3` twice | \"v1.2.3{suffix}\" | take one of them out, or make them differ",
                "LW0139 rolling tag `v1.2.3-two` is the release tag of version 1.2.3-two | \"v1.2.3{suffix}\" | choose another word for the rolling tag",
            ],
        ),
        (
            "\"latest{suffix}\"",
            "\"v2.0.0{suffix}\"",
            &[
                "LW0139 rolling tag `v2.0.0` is the release tag of version 2.0.0 | \"v2.0.0{suffix}\" | choose another word for the rolling tag",
            ],
        ),
        (
            "\"base-latest\"",
            "\"latest\"",
            &[
                "LW0137 `base` and variant `one` of `app` would both publish `f:latest` | \"latest{suffix}\" | add `{image}` or another word to one of them, or use different repositories",
            ],
        ),
        (
            "\"base-latest\"",
            "\"v9.9.9\"",
            &[
                "LW0139 rolling tag `v9.9.9` is the release tag of version 9.9.9 | \"v9.9.9\" | choose another word for the rolling tag",
            ],
        ),
        (
            "\"base-latest\"",
            "\"v{major}.{minor}\"]\ncontent-tag = \"base",
            &["LW0100 the file is not TOML here |  | "],
        ),
        (
            "\"base-latest\"]",
            "\"x\"]\ncontent-tag = \"base\"",
            &["LW0133 `content-tag` is without `{hash}` | \"base\" | write \"base-{hash}\""],
        ),
        (
            "\"base-latest\"]",
            "\"x\"]\ncontent-tag = \"{version}-{hash}\"",
            &[
                "LW0132 `{version}` has no value in `content-tag` | {version} | `content-tag` can have `{image}`, `{suffix}`, `{hash}`",
            ],
        ),
        (
            "two = {",
            "two = { suffix = \"\",",
            &[
                "LW0138 variants `one` and `two` have the same suffix \"\" | two | set `suffix` of one of them, or leave it out: it is \"-NAME\" then",
            ],
        ),
        (
            "two = {",
            "two = { suffix = \"/x\",",
            &[
                "LW0136 '/' cannot stand in a tag | \"/x\" | tags have letters, digits, `_`, `.` and `-`",
            ],
        ),
        (
            "{ A = \"{PI_VERSION}\" }",
            "{ A = \"{PI_VERSIN}\" }",
            &[
                "LW0140 there is no version `PI_VERSIN` | {PI_VERSIN} | did you mean `{PI_VERSION}`?",
            ],
        ),
        (
            "{ A = \"{PI_VERSION}\" }",
            "{ A = \"{json: 1}\" }",
            &[
                "LW0130 `{json: 1}` cannot be the name of a version | {json: 1} | write `{{` or `}}` for a brace that is meant literally",
            ],
        ),
        (
            "{ A = \"{PI_VERSION}\" }",
            "{ A = \"a}\" }",
            &[
                "LW0130 `}` closes nothing | } | write `{{` or `}}` for a brace that is meant literally",
            ],
        ),
        ("{ A = \"{PI_VERSION}\" }", "{ A = \"{{literal}}\" }", &[]),
        (
            "stdout = \"{PI_VERSION}\"",
            "stdout = \"v{OTHER}\"",
            &[
                "LW0140 there is no version `OTHER` | {OTHER} | add it to [versions], or write `{{` and `}}` if the braces are meant literally",
            ],
        ),
    ]);
}

/// Whatever is cut out of a file: no panic, a family only without errors, and spans inside the
/// text that can be shown.
#[test]
fn mutilated_files_are_survived() {
    let whole = include_str!("data/every-key.toml");
    let survive = |text: &str| {
        let (parsed, sources) = read(text);
        let sound = !parsed.diagnostics.iter().any(|problem| problem.is_error());
        assert_eq!(parsed.family.is_some(), sound, "{text}");
        render_all(&parsed.diagnostics, &sources, Colour::Never);
        for problem in &parsed.diagnostics {
            for label in &problem.labels {
                assert!(
                    text.get(label.span.range()).is_some(),
                    "{problem:?}\n{text}"
                );
            }
        }
    };
    let lines: Vec<&str> = whole.lines().collect();
    for left_out in 0..lines.len() {
        let mut rest = lines.clone();
        rest.remove(left_out);
        survive(&rest.join("\n"));
    }
    for at in (0..whole.len()).step_by(7) {
        survive(&whole[..at]);
        for put_in in ["\"", "{", "ä"] {
            survive(&format!("{}{put_in}{}", &whole[..at], &whole[at..]));
        }
    }
}
