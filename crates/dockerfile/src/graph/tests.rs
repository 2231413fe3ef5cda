use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::SourceMap;

use super::*;
use crate::parse;

/// A Dockerfile and the settings it is resolved with.
struct Case<'a> {
    text: &'a str,
    target: Option<&'a str>,
    build_args: BTreeMap<String, String>,
    platform: Platform,
    named_contexts: BTreeSet<String>,
}

impl<'a> Case<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            target: None,
            build_args: BTreeMap::new(),
            platform: platform("linux/amd64"),
            named_contexts: BTreeSet::new(),
        }
    }

    fn target(mut self, target: &'a str) -> Self {
        self.target = Some(target);
        self
    }

    fn arg(mut self, name: &str, value: &str) -> Self {
        self.build_args.insert(name.to_owned(), value.to_owned());
        self
    }

    fn platform(mut self, text: &str) -> Self {
        self.platform = platform(text);
        self
    }

    fn context(mut self, name: &str) -> Self {
        self.named_contexts.insert(name.to_owned());
        self
    }

    fn file(&self) -> Dockerfile {
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", self.text);
        let parsed = parse(id, self.text);
        parsed
            .dockerfile
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
    }

    fn resolve(&self) -> Result<StageGraph, Vec<Diagnostic>> {
        let inputs = BuildInputs {
            target: self.target,
            build_args: &self.build_args,
            platform: &self.platform,
            build_platform: &platform("linux/amd64"),
            named_contexts: &self.named_contexts,
        };
        resolve(&self.file(), &inputs)
    }

    fn graph(&self) -> StageGraph {
        self.resolve()
            .unwrap_or_else(|problems| panic!("{}: {problems:?}", self.text))
    }

    fn indexes(&self) -> Vec<usize> {
        self.graph()
            .stages
            .iter()
            .map(|stage| stage.index)
            .collect()
    }

    fn declared(&self) -> Vec<String> {
        self.graph().declared_args.into_iter().collect()
    }

    fn patterns(&self) -> Vec<Option<String>> {
        self.graph()
            .context_sources
            .into_iter()
            .map(|source| source.pattern)
            .collect()
    }

    fn external(&self) -> Vec<String> {
        let images = self.graph().external.into_iter();
        images
            .map(|image| format!("{} {}", image.reference, image.platform))
            .collect()
    }

    /// Codes and the texts they point at.
    fn problems(&self) -> Vec<(&'static str, &'a str)> {
        let problems = self.resolve().expect_err(self.text);
        let told =
            |problem: &Diagnostic| (problem.code.0, &self.text[problem.labels[0].span.range()]);
        problems.iter().map(told).collect()
    }
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn some(patterns: &[&str]) -> Vec<Option<String>> {
    patterns
        .iter()
        .map(|&pattern| Some(pattern.to_owned()))
        .collect()
}

const FAMILY: &str = "\
ARG BASE=debian
FROM $BASE AS base
ARG BASE_ARG
FROM base AS one
ARG ONE_VERSION
RUN one
FROM base AS two
ARG TWO_VERSION
RUN --mount=from=tools,target=/t two
FROM busybox AS tools
FROM scratch AS all
COPY --from=one /a /
COPY --from=2 /b /
";

#[test]
fn only_what_the_target_needs() {
    let moved = FAMILY.replace("FROM busybox AS tools\n", "");
    let moved = moved.replace(
        "ARG BASE=debian\n",
        "ARG BASE=debian\nFROM busybox AS tools\n",
    );
    for (target, indexes, declared) in [
        ("one", vec![1, 2], vec!["BASE", "BASE_ARG", "ONE_VERSION"]),
        (
            "TWO",
            vec![0, 1, 3],
            vec!["BASE", "BASE_ARG", "TWO_VERSION"],
        ),
        ("tools", vec![0], vec![]),
        ("1", vec![1], vec!["BASE", "BASE_ARG"]),
    ] {
        let case = Case::new(&moved).target(target);
        assert_eq!(case.indexes(), indexes, "{target}");
        assert_eq!(case.declared(), declared, "{target}");
    }
    let all = moved.replace("--from=2", "--from=two");
    assert_eq!(Case::new(&all).indexes(), [0, 1, 2, 3, 4]);
    assert_eq!(
        Case::new(&all).external(),
        ["busybox linux/amd64", "debian linux/amd64"]
    );
    // In the order first written, `two` mounts a stage that comes later.
    assert_eq!(Case::new(FAMILY).problems(), [("LW0220", "tools")]);
    assert_eq!(
        Case::new(FAMILY).target("oen").problems(),
        [("LW0219", "FROM scratch AS all")]
    );
}

#[test]
fn bases_and_sources() {
    let text = "FROM a AS x\nFROM x AS y\nFROM y\nCOPY --from=X a /\nCOPY --from=1 b /\n\
                COPY --from=img:1 c /\nRUN --mount=type=cache,from=ctx,target=/c d\n";
    let case = Case::new(text).context("ctx");
    let graph = case.graph();
    let last = &graph.stages[2];
    assert_eq!(last.base, StageBase::Stage(1));
    let sources: Vec<_> = last
        .from_sources
        .iter()
        .map(|(name, base)| (name.as_str(), base))
        .collect();
    assert_eq!(
        sources,
        [
            ("1", &StageBase::Stage(1)),
            ("X", &StageBase::Stage(0)),
            ("ctx", &StageBase::Named("ctx".to_owned())),
            ("img:1", &StageBase::External("img:1".to_owned())),
        ]
    );
}

#[test]
fn named_contexts_win() {
    let base = |case: Case<'_>| case.graph().stages.last().unwrap().base.clone();
    let named = |name: &str| StageBase::Named(name.to_owned());
    assert_eq!(
        base(Case::new("FROM base AS f").context("base")),
        named("base")
    );
    assert_eq!(
        base(Case::new("FROM docker.io/library/debian:latest").context("debian")),
        named("debian")
    );
    assert_eq!(
        base(Case::new("FROM debian:12").context("debian")),
        StageBase::External("debian:12".to_owned())
    );
    let replaced = Case::new("FROM a AS base\nRUN x\nFROM base").context("base");
    assert_eq!(replaced.indexes(), [1]);
    assert!(replaced.external().is_empty());
    assert_eq!(
        base(Case::new("FROM scratch").context("scratch")),
        StageBase::Scratch
    );
    // The target itself: the context is the result.
    let gone = Case::new("FROM a AS base\nCOPY x /").context("base");
    let graph = gone.graph();
    assert!(graph.stages[0].replaced);
    assert_eq!(graph.stages[0].base, named("base"));
    assert!(graph.external.is_empty() && graph.context_sources.is_empty());
    // One for a platform wins on that platform, and is none elsewhere.
    let only = |platform: &str| {
        let name = format!("img::{platform}");
        base(Case::new("FROM img").context(&name))
    };
    assert_eq!(only("linux/x86_64"), named("img::linux/x86_64"));
    assert_eq!(only("linux/arm64"), StageBase::External("img".to_owned()));
    assert_eq!(
        base(
            Case::new("FROM img")
                .context("img")
                .context("img::linux/amd64")
        ),
        named("img::linux/amd64")
    );
    assert_eq!(
        base(Case::new("FROM --platform=linux/arm64 img").context("img::linux/amd64")),
        StageBase::External("img".to_owned())
    );
}

#[test]
fn global_arguments() {
    let text =
        "ARG A=1\nARG B=x-$A\nARG C\nFROM img:${B}${C:+-$C} AS s\nARG B\nARG D=$B\nCOPY $B $C $D /";
    let case = Case::new(text);
    assert_eq!(case.external(), ["img:x-1 linux/amd64"]);
    assert_eq!(case.declared(), ["A", "B", "C", "D"]);
    // C is not declared in the stage, but the image may set it.
    let known = some(&["x-1"]);
    assert_eq!(case.patterns(), [known[0].clone(), None, known[0].clone()]);
    let given = Case::new(text).arg("B", "b").arg("C", "c").arg("D", "d");
    assert_eq!(given.external(), ["img:b-c linux/amd64"]);
    // A given value is made from nothing else.
    assert_eq!(given.declared(), ["B", "C", "D"]);
    assert_eq!(given.patterns()[2], Some("d".to_owned()));
    assert_eq!(Case::new("FROM img:$X").problems(), [("LW0221", "img:$X")]);
    assert_eq!(Case::new("FROM $X").problems(), [("LW0221", "$X")]);
    assert_eq!(
        Case::new("FROM ${X:?gone}").problems(),
        [("LW0218", "${X:?gone}")]
    );
    // An argument that only another stage uses is none of this one's.
    let other = "ARG A\nFROM img:$A AS a\nFROM b\nARG Z";
    assert_eq!(Case::new(other).declared(), ["Z"]);
}

#[test]
fn platforms() {
    let text = "FROM --platform=$BUILDPLATFORM go AS build\nFROM build AS more\n\
                FROM --platform=linux/arm64/v8 scratch AS empty\nFROM img\n\
                COPY --from=more a /\nCOPY --from=empty a /\nCOPY --from=other a /";
    let case = Case::new(text).platform("linux/arm/v7");
    let platforms: Vec<String> = case
        .graph()
        .stages
        .iter()
        .map(|stage| stage.platform.to_string())
        .collect();
    assert_eq!(
        platforms,
        ["linux/amd64", "linux/amd64", "linux/arm/v7", "linux/arm/v7"]
    );
    assert_eq!(
        case.external(),
        ["go linux/amd64", "img linux/arm/v7", "other linux/arm/v7"]
    );
    let args = case.graph().stages[0].args.clone();
    for (name, want) in [
        ("TARGETPLATFORM", "linux/arm/v7"),
        ("TARGETOS", "linux"),
        ("TARGETARCH", "arm"),
        ("TARGETVARIANT", "v7"),
        ("BUILDPLATFORM", "linux/amd64"),
        ("BUILDARCH", "amd64"),
        ("BUILDVARIANT", ""),
        ("TARGETSTAGE", "default"),
    ] {
        assert_eq!(args[name], want, "{name}");
    }
    assert_eq!(
        Case::new("FROM --platform=arm64 a").external(),
        ["a linux/arm64"]
    );
    for wrong in ["FROM --platform=$X a", "FROM --platform=a/b/c/d a"] {
        assert_eq!(Case::new(wrong).problems()[0].0, "LW0222");
    }
}

#[test]
fn context_sources() {
    for (text, want) in [
        (
            "FROM scratch\nCOPY a b/* /\nADD c.tar /\n",
            some(&["a", "b/*", "c.tar"]),
        ),
        ("FROM scratch\nCOPY $X/a /\n", some(&["/a"])),
        ("FROM img\nCOPY $X/a /\n", vec![None]),
        ("FROM img\nARG X=y\nCOPY $X/a /\n", some(&["y/a"])),
        (
            "FROM img\nENV X=y\nENV X=z Y=$X\nCOPY $X $Y /\n",
            some(&["z", "y"]),
        ),
        ("FROM img\nENV X=$PATH\nCOPY $X /\n", vec![None]),
        (
            "FROM img\nARG X=$PATH\nCOPY ${X:-a} b /\n",
            vec![None, Some("b".to_owned())],
        ),
        ("FROM img\nARG X\nCOPY a$X /\n", vec![None]),
        (
            "FROM img\nENV $X=1\nARG Y=1\nCOPY $Y $Z /\n",
            some(&["1"]).into_iter().chain([None]).collect(),
        ),
        ("FROM img AS a\nENV X=y\nFROM a\nCOPY $X /\n", some(&["y"])),
        (
            "FROM scratch AS a\nENV X=e\nARG X=y\nFROM a\nCOPY $X /\n",
            some(&["e"]),
        ),
        ("FROM scratch\nENV X=e\nARG X=y\nCOPY $X /\n", some(&["y"])),
        (
            "FROM scratch AS a\nARG X=y\nFROM a\nCOPY $X /\n",
            some(&["y"]),
        ),
        // The image may set X, which the inherited argument would not hide.
        ("FROM img AS a\nARG X=y\nFROM a\nCOPY $X /\n", vec![None]),
        (
            "FROM scratch AS a\nRUN x\nFROM b\nCOPY --from=a c /\n",
            vec![],
        ),
        ("FROM b\nCOPY <<E /\nE\n", vec![]),
        ("FROM b\nRUN --mount=target=/s x\n", some(&["."])),
        (
            "FROM b\nRUN --mount=target=/s,source=a*b x\n",
            some(&["a\\*b"]),
        ),
        ("FROM b\nRUN --mount=target=/s,source=$X x\n", vec![None]),
        ("FROM b\nRUN --mount=target=/s,from=c x\n", vec![]),
        ("FROM b\nRUN --mount=type=cache,target=/s x\n", vec![]),
    ] {
        assert_eq!(Case::new(text).patterns(), want, "{text}");
    }
    let given = Case::new("FROM img\nARG X\nCOPY a$X /\n").arg("X", "1");
    assert_eq!(given.patterns(), some(&["a1"]));
    let excluding = Case::new("FROM b\nCOPY --exclude=*.md --exclude=x a /").graph();
    assert_eq!(excluding.context_sources[0].excludes, ["*.md", "x"]);
}

#[test]
fn triggers_of_a_stage_run_in_the_next() {
    let text = "FROM img AS a\nONBUILD ARG V\nONBUILD COPY --from=tool x /\nONBUILD COPY src /\n\
                FROM tools AS tool\nFROM a AS b\nFROM b\n";
    // `a` itself has no trigger to run, `b` has three, and the last stage none.
    let wrong = Case::new(text);
    let graph = wrong.graph();
    let counts: Vec<_> = graph
        .stages
        .iter()
        .map(|stage| (stage.index, stage.triggers.len()))
        .collect();
    assert_eq!(counts, [(0, 0), (1, 0), (2, 3), (3, 0)]);
    assert_eq!(wrong.declared(), ["V"]);
    assert_eq!(wrong.patterns(), some(&["src"]));
    assert_eq!(Case::new(text).target("a").indexes(), [0]);
}

#[test]
fn every_problem_of_what_is_needed() {
    let text = "FROM a AS unused\nCOPY --from=later ${ /\nFROM ok\nCOPY --from=7 a /\n\
                COPY --from=1 b /\nRUN --mount=from=0,target=/x y\nCOPY '${X /\nCOPY --from=b:: a /\n\
                WORKDIR ${W:?}\nENV U=https://x/y.git?no=1\nADD $U /\n";
    let case = Case::new(text);
    let want = [
        ("LW0220", "7"),
        ("LW0220", "1"),
        ("LW0220", "0"),
        ("LW0218", "'${X"),
        ("LW0221", "b::"),
        ("LW0228", "$U"),
    ];
    // W may come from the image, so nothing is said of it.
    assert_eq!(case.problems(), want);
    let scratch = Case::new("FROM scratch\nWORKDIR ${W:?}\nEXPOSE $P\nUSER \"x\n");
    assert_eq!(
        scratch.problems(),
        [("LW0218", "${W:?}"), ("LW0218", "\"x")]
    );
}

#[test]
fn an_image_with_the_name_of_a_later_stage() {
    let graph = Case::new("FROM tool\nFROM x AS tool\n").target("0").graph();
    assert_eq!(graph.warnings.len(), 1);
    assert_eq!(graph.external[0].reference, "tool");
}

#[test]
fn the_canonical_text() {
    let canonical_of = |case: &Case<'_>| canonical(&case.file(), &case.graph());
    let text = "# syntax=docker/dockerfile:1\nARG V=1\nARG W=2\nFROM a:$W AS other\nRUN x\n\
                FROM b:$V AS base\n# comment\nRUN one \\\n  # more\n  two\nFROM base AS t\nCOPY --from=base a /\n";
    let same = "ARG W=3\nARG V=1\nFROM new AS more\nFROM b:$V AS base\nRUN one \\\n  two\n\n\n\
                FROM a:$W AS other\nRUN y\nFROM base AS t\n#x\nCOPY --from=base a /\nFROM t\nRUN later\n";
    let first = Case::new(text);
    assert_eq!(
        canonical_of(&first),
        [
            "escape \\",
            "ARG V=1",
            "FROM b:$V AS base",
            "FROM is image b:1",
            "RUN one   two",
            "FROM base AS t",
            "FROM is stage 0",
            "base is stage 0",
            "COPY --from=base a /",
        ]
    );
    assert_eq!(
        canonical_of(&first),
        canonical_of(&Case::new(same).target("t"))
    );
    let other = text.replace("two", "three");
    assert_ne!(canonical_of(&first), canonical_of(&Case::new(&other)));
}

#[test]
fn what_triggers_of_an_image_take_from_is_known_with_the_image() {
    let text = "FROM scratch AS files\nFROM busybox AS other\nFROM base\n";
    let case = Case::new(text);
    let inputs = BuildInputs {
        target: None,
        build_args: &case.build_args,
        platform: &case.platform,
        build_platform: &case.platform,
        named_contexts: &case.named_contexts,
    };
    let know = |triggers: &[&str]| {
        let image = BaseImage {
            onbuild: triggers.iter().map(ToString::to_string).collect(),
            ..BaseImage::default()
        };
        let key = (
            StageBase::External("base".to_owned()),
            case.platform.clone(),
        );
        resolve_knowing(&case.file(), &inputs, &BTreeMap::from([(key, image)]))
    };
    let graph = know(&[
        "COPY --from=files /a /",
        "RUN --mount=from=alpine,target=/x true",
    ]);
    let graph = graph.unwrap();
    let stages: Vec<usize> = graph.stages.iter().map(|stage| stage.index).collect();
    assert_eq!(stages, [0, 2]);
    let images: Vec<&str> = graph
        .external
        .iter()
        .map(|image| image.reference.as_str())
        .collect();
    assert_eq!(images, ["base", "alpine"]);
    let wrong = know(&["COPY --from=7 /a /"]).unwrap_err();
    let place = wrong[0].labels[0].span;
    assert_eq!(&text[place.range()], "base");
}

#[test]
fn a_platform_of_a_misspelt_variable_is_told() {
    let text =
        "ARG MY_ARCH=arm64\nFROM --platform=linux/$MYARCH a\nFROM --platform=$TARGETPLATFROM b";
    for (target, meant) in [("0", "`$MY_ARCH`"), ("1", "`$TARGETPLATFORM`")] {
        let problems = Case::new(text).target(target).resolve().unwrap_err();
        let help = problems[0].help.join(" ");
        assert!(help.contains(meant), "{help}");
    }
}

#[test]
fn a_target_that_is_not_there_is_told_with_those_that_are() {
    let text = "FROM scratch AS base\nFROM base\nFROM base AS final\n";
    for (target, meant) in [("nothing", None), ("finale", Some("did you mean `final`?"))] {
        let problems = Case::new(text).target(target).resolve().unwrap_err();
        assert_eq!(problems[0].help.first().map(String::as_str), meant);
        assert_eq!(problems[0].notes, ["its stages are base, 1, final"]);
    }
    let many = Case::new(&"FROM scratch\n".repeat(40))
        .target("x")
        .resolve();
    let told = &many.unwrap_err()[0].notes[0];
    assert!(told.ends_with(" 28, 29, … and 10 more"), "{told}");
}

#[test]
fn proxies_need_no_declaration() {
    assert!(is_proxy_arg("HTTP_PROXY") && is_proxy_arg("no_proxy"));
    assert!(!is_proxy_arg("PROXY"));
}

#[test]
fn words_that_are_nothing_once_they_are_known() {
    for (text, code) in [
        ("FROM scratch\nVOLUME $x", codes::BAD_ARGUMENTS),
        ("FROM scratch\nSTOPSIGNAL $x", codes::BAD_SIGNAL),
        ("FROM scratch\nSTOPSIGNAL ' 9'", codes::BAD_SIGNAL),
        ("FROM scratch\nADD --checksum=sha256:0 a /", codes::BAD_FLAG),
        ("FROM --platform=nothing a", codes::BAD_PLATFORM),
        (
            "FROM scratch\nRUN --mount=type=$x,target=/x y",
            codes::BAD_MOUNT,
        ),
    ] {
        let problems = Case::new(text).resolve().unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(found, [code], "{text}");
    }
    let system = Case::new("FROM --platform=linux a").resolve().unwrap();
    assert_eq!(system.external[0].platform, platform("linux/amd64"));
}
