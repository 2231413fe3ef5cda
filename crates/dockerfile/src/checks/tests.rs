use launchway_diagnostics::SourceMap;

use super::*;
use crate::parse;

/// What the checks find in a file: the rule, and the words it points at.
fn found(text: &str) -> Vec<(&'static str, String)> {
    found_with(text, &BTreeMap::new(), &IgnoreRules::default())
}

fn found_with(
    text: &str,
    images: &BTreeMap<(StageBase, Platform), BaseImage>,
    ignore: &IgnoreRules,
) -> Vec<(&'static str, String)> {
    let mut sources = SourceMap::new();
    let file = parse(sources.add("Dockerfile", text), text);
    let file = file
        .dockerfile
        .unwrap_or_else(|| panic!("{:?}", file.diagnostics));
    let platform = Platform::new("linux", "amd64", None).unwrap();
    let (args, names) = (BTreeMap::new(), BTreeSet::new());
    let inputs = CheckInputs {
        build: BuildInputs {
            target: None,
            build_args: &args,
            platform: &platform,
            build_platform: &platform,
            named_contexts: &names,
        },
        settings: &CheckSettings::of(&file),
        stages: &(0..file.stages.len()).collect(),
        all_stages: false,
        args_are_known: true,
        ignore: Some(ignore),
        images,
    };
    let findings = check(&file, &inputs);
    let told = |finding: &Finding| (finding.rule.name(), text[finding.place.range()].to_owned());
    findings.iter().map(told).collect()
}

fn check_all(cases: &[(&str, &[(&str, &str)])]) {
    for (text, want) in cases {
        let want: Vec<(&str, String)> = want
            .iter()
            .map(|(rule, at)| (*rule, (*at).to_owned()))
            .collect();
        assert_eq!(found(text), want, "{text}");
    }
}

#[test]
fn how_it_is_written() {
    check_all(&[
        ("FROM scratch AS Foo", &[("StageNameCasing", "Foo")]),
        ("FROM scratch as foo", &[("FromAsCasing", "as")]),
        ("from scratch AS foo\nuser x", &[("FromAsCasing", "AS")]),
        (
            "From scratch as foo\nUSER x",
            &[("ConsistentInstructionCasing", "From")],
        ),
        (
            "FROM scratch\nuser x\nUSER y",
            &[("ConsistentInstructionCasing", "user")],
        ),
        (
            "from scratch\nuser x\nUSER y",
            &[("ConsistentInstructionCasing", "USER")],
        ),
        // Capitals win when it is open.
        (
            "from scratch\nUSER x",
            &[("ConsistentInstructionCasing", "from")],
        ),
        (
            "FROM scratch\nRUN a \\\n\n b",
            &[("NoEmptyContinuation", "")],
        ),
        (
            "FROM scratch AS a\nFROM scratch AS a",
            &[("DuplicateStageName", "a")],
        ),
        (
            "FROM scratch AS context",
            &[("ReservedStageName", "context")],
        ),
        (
            "FROM scratch\nMAINTAINER x",
            &[("MaintainerDeprecated", "MAINTAINER")],
        ),
    ]);
}

#[test]
fn descriptions_are_asked_for_only() {
    let text = "#\n# nonsense\nARG a=b\n# x a stage\nFROM scratch AS x\n# nope\nFROM scratch AS y";
    assert_eq!(found(text), []);
    assert_eq!(
        found(&format!("# check=experimental=all\n{text}")),
        [
            ("InvalidDefinitionDescription", "ARG".to_owned()),
            ("InvalidDefinitionDescription", "FROM".to_owned()),
        ]
    );
}

#[test]
fn from_lines() {
    check_all(&[
        (
            "FROM debian:$V",
            &[
                ("UndefinedArgInFrom", "debian:$V"),
                ("InvalidDefaultArgInFrom", "debian:$V"),
            ],
        ),
        (
            "ARG V\nFROM debian:$V",
            &[("InvalidDefaultArgInFrom", "debian:$V")],
        ),
        ("ARG V=12\nFROM debian:$V", &[]),
        (
            "FROM --platform=$TARGETPLATFORM scratch",
            &[("RedundantTargetPlatform", "$TARGETPLATFORM")],
        ),
        ("FROM --platform=$BUILDPLATFORM scratch", &[]),
        (
            "FROM --platform=linux/arm64 scratch AS a",
            &[("FromPlatformFlagConstDisallowed", "linux/arm64")],
        ),
        ("FROM --platform=linux/arm64 scratch AS for-arm64", &[]),
    ]);
}

#[test]
fn variables() {
    check_all(&[
        ("FROM scratch\nENV A=$B", &[("UndefinedVar", "$B")]),
        ("FROM scratch\nARG B\nENV A=$B$PATH", &[]),
        (
            "FROM scratch\nARG B=$C\nLABEL a=${B:-x} b=${D:-x}",
            &[("UndefinedVar", "$C"), ("UndefinedVar", "${D:-x}")],
        ),
        // What an unknown image sets is not known.
        ("FROM debian\nCOPY $X /", &[]),
        ("FROM scratch AS a\nARG B\nFROM a\nCOPY $B /", &[]),
        (
            "FROM scratch\nCOPY <<A /a\n$B\nA",
            &[("UndefinedVar", "<<A")],
        ),
        ("FROM scratch\nCOPY <<'A' /a\n$B\nA", &[]),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/c$B true",
            &[("UndefinedVar", "/c$B")],
        ),
        (
            "FROM scratch AS a\nONBUILD USER $B\nFROM a",
            &[("UndefinedVar", "a")],
        ),
        (
            "FROM scratch\nARG API_TOKEN\nENV db_password=x",
            &[
                ("SecretsUsedInArgOrEnv", "API_TOKEN"),
                ("SecretsUsedInArgOrEnv", "db_password"),
            ],
        ),
        ("FROM scratch\nARG TOKENS PUBLIC_KEY KEY_FILE", &[]),
    ]);
}

#[test]
fn what_is_known_of_images_counts() {
    let base = StageBase::External("debian".to_owned());
    let image = BaseImage {
        env: vec![("A".to_owned(), "b".to_owned())],
        has_shell: true,
        onbuild: vec!["USER $NONE".to_owned()],
        platform: Some(Platform::new("linux", "arm64", None).unwrap()),
    };
    let platform = Platform::new("linux", "amd64", None).unwrap();
    let images = BTreeMap::from([((base, platform), image)]);
    let text = "FROM debian\nUSER $A$B\nCMD x";
    assert_eq!(
        found_with(text, &images, &IgnoreRules::default()),
        [
            ("UndefinedVar", "debian".to_owned()),
            ("InvalidBaseImagePlatform", "debian".to_owned()),
            ("UndefinedVar", "$A$B".to_owned()),
        ]
    );
}

#[test]
fn single_instructions() {
    check_all(&[
        (
            "FROM scratch\nWORKDIR a\nWORKDIR b",
            &[("WorkdirRelativePath", "a")],
        ),
        ("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b", &[]),
        ("FROM scratch\nCMD a b", &[("JSONArgsRecommended", "CMD")]),
        ("FROM scratch\nSHELL [\"/bin/sh\"]\nCMD a b", &[]),
        (
            "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]",
            &[("MultipleInstructionsDisallowed", "CMD [\"a\"]")],
        ),
        ("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]", &[]),
        ("FROM scratch\nENV a b", &[("LegacyKeyValueFormat", "a b")]),
        (
            "FROM scratch\nLABEL a b=c d",
            &[("LegacyKeyValueFormat", "a b=c d")],
        ),
        ("FROM scratch\nENV a=b", &[]),
        (
            "FROM scratch\nEXPOSE 80/TCP 8080:80",
            &[
                ("ExposeProtoCasing", "80/TCP"),
                ("ExposeInvalidFormat", "8080:80"),
            ],
        ),
    ]);
}

#[test]
fn sources_that_are_left_out() {
    let check = |ignore: &str, copy: &str| {
        let text = format!("FROM scratch\n{copy} /x/");
        let found = found_with(&text, &BTreeMap::new(), &IgnoreRules::parse(ignore));
        found.iter().any(|(rule, _)| *rule == "CopyIgnoredFile")
    };
    for (ignore, copy, want) in [
        ("a", "COPY a", true),
        ("a", "COPY b a/c", true),
        ("a", "COPY /a", true),
        ("a", "ADD a", true),
        ("a", "ADD http://a/a", false),
        ("a\n!a/b", "COPY a", false),
        ("*", "COPY .", true),
        ("*.md", "COPY .", false),
        ("a", "COPY --from=x a", false),
    ] {
        assert_eq!(check(ignore, copy), want, "{ignore}: {copy}");
    }
}

#[test]
fn comments_and_the_directive_switch_off() {
    check_all(&[
        ("# check=skip=UndefinedVar\nFROM scratch\nUSER $A", &[]),
        ("# check=skip=all\nFROM scratch\nUSER $A\nMAINTAINER x", &[]),
        (
            "FROM scratch\n# check=skip=UndefinedVar\nUSER $A\nUSER $A",
            &[("UndefinedVar", "$A")],
        ),
        ("#\n# check=skip=StageNameCasing\nFROM scratch AS A", &[]),
    ]);
}
