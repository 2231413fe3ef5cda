use std::time::Duration;

use launchway_diagnostics::{Code, Colour, Diagnostic, SourceMap, render_all};

use super::*;
use crate::{CommandLine, CopySource, Healthcheck, Run, RunInvocation, RunNetwork};

fn parse_text(text: &str) -> (SourceMap, Parsed) {
    let mut sources = SourceMap::new();
    let id = sources.add("Dockerfile", text);
    let parsed = parse(id, text);
    (sources, parsed)
}

fn good(text: &str) -> Dockerfile {
    let (sources, parsed) = parse_text(text);
    let problems = render_all(&parsed.diagnostics, &sources, Colour::Never);
    parsed.dockerfile.unwrap_or_else(|| panic!("{problems}"))
}

/// The instructions of a stage that a text goes into.
fn instructions(text: &str) -> Vec<InstructionKind> {
    let mut file = good(&format!("FROM scratch\n{text}"));
    let stage = file.stages.remove(0);
    stage
        .instructions
        .into_iter()
        .map(|instruction| instruction.kind)
        .collect()
}

fn only(text: &str) -> InstructionKind {
    let mut all = instructions(text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn run(text: &str) -> Run {
    match only(text) {
        InstructionKind::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

/// The code of every problem and the text its first label points at.
fn problems(text: &str) -> Vec<(&'static str, String)> {
    let (_, parsed) = parse_text(text);
    let told = |problem: &Diagnostic| {
        let span = problem.labels[0].span;
        (problem.code.0, text[span.range()].to_owned())
    };
    parsed.diagnostics.iter().map(told).collect()
}

fn check_problems(cases: &[(&str, &[(Code, &str)])]) {
    for (text, want) in cases {
        let want: Vec<(&str, String)> = want
            .iter()
            .map(|(code, at)| (code.0, (*at).to_owned()))
            .collect();
        assert_eq!(problems(text), want, "{text}");
    }
}

#[test]
fn stages_and_global_arguments() {
    let file = good(
        "# syntax=docker/dockerfile:1.7\n# escape=`\n# check=skip=all\nARG V=1 W\n\
         FROM --platform=$BUILDPLATFORM a:$V as Build\nRUN x\nFROM build\n",
    );
    assert_eq!(file.directives.escape, '`');
    assert_eq!(
        file.directives.syntax.unwrap().value,
        "docker/dockerfile:1.7"
    );
    assert_eq!(file.directives.check.unwrap().value, "skip=all");
    let names: Vec<_> = file.global_args[0]
        .definitions
        .iter()
        .map(|arg| &*arg.name.value)
        .collect();
    assert_eq!(names, ["V", "W"]);
    let first = &file.stages[0];
    assert_eq!(first.name.as_ref().unwrap().value, "build");
    assert_eq!(first.from.value, "a:$V");
    assert_eq!(first.platform.as_ref().unwrap().value, "$BUILDPLATFORM");
    assert_eq!(first.instructions.len(), 1);
    assert_eq!(
        (file.stages[1].index, &*file.stages[1].from.value),
        (1, "build")
    );
}

#[test]
fn continuations_and_comments() {
    for (text, want) in [
        ("RUN a \\\n  b", "RUN a   b"),
        ("RUN a \\\n# comment\n  # another \\\n  b", "RUN a   b"),
        ("run a\\  \nb", "run ab"),
        ("RUN a \\\r\n b\r\n", "RUN a  b"),
        ("RUN a \\\\\n", "RUN a \\\\"),
        ("  RUN a\\", "RUN a"),
        ("RUN a # no comment", "RUN a # no comment"),
    ] {
        let file = good(&format!("FROM scratch\n{text}"));
        let instruction = &file.stages[0].instructions[0];
        assert_eq!(instruction.text, want, "{text:?}");
    }
    let spanned = "FROM scratch\nRUN a \\\n # c\n  b\nUSER x";
    let file = good(spanned);
    let span = file.stages[0].instructions[0].span;
    assert_eq!(&spanned[span.range()], "RUN a \\\n # c\n  b");
}

#[test]
fn directives_stand_at_the_top_only() {
    let late = good("# hello\n# escape=`\nFROM scratch\n");
    assert_eq!(late.directives.escape, '\\');
    let after_blank = good("\n# escape=`\nFROM scratch\n");
    assert_eq!(after_blank.directives.escape, '\\');
    let bom = good("\u{feff}#Escape = `\nFROM scratch\n");
    assert_eq!(bom.directives.escape, '`');
    check_problems(&[
        ("# escape=x\nFROM scratch\n", &[(codes::BAD_DIRECTIVE, "x")]),
        (
            "# escape=`\n# escape=`\nFROM scratch\n",
            &[(codes::BAD_DIRECTIVE, "`")],
        ),
        (
            "# syntax=tonistiigi/x:1\nFROM scratch",
            &[(codes::NOT_SUPPORTED, "tonistiigi/x:1")],
        ),
        (
            "# syntax=docker.io/docker/dockerfile:1@sha256:ab\nFROM scratch",
            &[],
        ),
        (
            "# syntax=mirror.example/docker/dockerfile:1-labs\nFROM scratch",
            &[],
        ),
        (
            "# syntax=dockerfile\nFROM scratch",
            &[(codes::NOT_SUPPORTED, "dockerfile")],
        ),
        (
            "#!/bin/x\n# syntax=a/b\nFROM scratch",
            &[(codes::NOT_SUPPORTED, "a/b")],
        ),
        // `escape` counts only where nothing stands above it.
        ("#!/bin/x\n# escape=x\nFROM scratch", &[]),
        (
            "// syntax=a/b\nFROM scratch",
            &[
                (codes::UNKNOWN_INSTRUCTION, "//"),
                (codes::NOT_SUPPORTED, "a/b"),
            ],
        ),
        (
            "{\"syntax\": \"a/b\"}",
            &[
                (codes::UNKNOWN_INSTRUCTION, "{\"syntax\":"),
                (codes::NOT_SUPPORTED, "{\"syntax\": \"a/b\"}"),
                (codes::NO_STAGE, "{\"syntax\": \"a/b\"}"),
            ],
        ),
        (
            "# check=skipp=all\nFROM scratch",
            &[(codes::BAD_DIRECTIVE, "skipp=all")],
        ),
        (
            "# check=skip=UndefinedVars\nFROM scratch",
            &[(codes::UNKNOWN_CHECK, "skip=UndefinedVars")],
        ),
        ("FROM scratch\n\\\n", &[(codes::UNKNOWN_INSTRUCTION, "\\")]),
    ]);
}

#[test]
fn lines_end_some_day() {
    let line = |length: usize| format!("FROM scratch\nLABEL a={}\n", "x".repeat(length - 8));
    assert_eq!(problems(&line(65_535)), []);
    assert_eq!(problems(&line(65_536)), [("LW0227", String::new())]);
}

#[test]
fn command_forms() {
    let exec =
        |words: &[&str]| CommandLine::Exec(words.iter().map(|&word| word.to_owned()).collect());
    let shell = |text: &str| CommandLine::Shell(text.to_owned());
    for (text, want) in [
        ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("CMD []", exec(&[])),
        ("CMD [ -f x ]", shell("[ -f x ]")),
        ("CMD ['a', 'b']", shell("['a', 'b']")),
        ("CMD [\"a\", \"b\"", shell("[\"a\", \"b\"")),
        ("CMD [\"a\"] b", shell("[\"a\"] b")),
        ("CMD a   b", shell("a   b")),
        ("CMD", shell("")),
    ] {
        assert_eq!(only(text), InstructionKind::Cmd(want), "{text}");
    }
    check_problems(&[
        ("FROM a\nCMD ['a']", &[(codes::LOOKS_LIKE_JSON, "['a']")]),
        ("FROM a\nCMD [\"a\", 1]", &[(codes::BAD_JSON, "[\"a\", 1]")]),
        ("FROM a\nSHELL /bin/sh", &[(codes::BAD_JSON, "/bin/sh")]),
        ("FROM a\nSHELL []", &[(codes::BAD_ARGUMENTS, "[]")]),
        ("FROM a\nRUN []", &[(codes::BAD_ARGUMENTS, "[]")]),
    ]);
}

#[test]
fn names_and_values() {
    let pairs = |kind| match kind {
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => pairs
            .into_iter()
            .map(|(name, value)| (name.value, value.value))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    for (text, want) in [
        (
            "ENV a=1 b=\"x y\" c=x\\ y",
            &[("a", "1"), ("b", "\"x y\""), ("c", "x\\ y")][..],
        ),
        ("ENV a b  c=d", &[("a", "b  c=d")]),
        ("ENV a=", &[("a", "")]),
        (
            "LABEL a.b='c d' e=\"f\\\"g\"",
            &[("a.b", "'c d'"), ("e", "\"f\\\"g\"")],
        ),
    ] {
        let want: Vec<_> = want
            .iter()
            .map(|&(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        assert_eq!(pairs(only(text)), want, "{text}");
    }
    check_problems(&[
        ("FROM a\nENV PATH", &[(codes::BAD_ARGUMENTS, "PATH")]),
        (
            "FROM a\nENV a=1 b =c",
            &[(codes::BAD_ARGUMENTS, "b"), (codes::BAD_ARGUMENTS, "=c")],
        ),
        ("FROM a\nLABEL", &[(codes::BAD_ARGUMENTS, "LABEL")]),
        ("FROM a\nARG =1", &[(codes::BAD_ARGUMENTS, "=1")]),
    ]);
    let InstructionKind::Arg(definitions) = only("ARG a b=1 c=\"x y\"") else {
        panic!();
    };
    let defaults = definitions
        .into_iter()
        .map(|arg| arg.default.map(|text| text.value));
    let want = [None, Some("1".to_owned()), Some("\"x y\"".to_owned())];
    assert_eq!(defaults.collect::<Vec<_>>(), want);
}

#[test]
fn heredocs_of_run() {
    let shell = |text: &str| RunInvocation::Shell(text.to_owned());
    for (text, want) in [
        ("RUN <<EOF\na $x\n\tb\nEOF\n", shell("a $x\n\tb\n")),
        ("RUN <<-EOF\n\ta\n\t\tb\n\tEOF\n", shell("a\nb\n")),
        ("RUN <<'E F'\na\nE F\n", shell("a\n")),
        ("RUN cat <<EOF >f\na\nEOF\n", shell("cat <<EOF >f\na\nEOF")),
        (
            "RUN paste <<A 3<<B\n1\nA\n2\nB\n",
            shell("paste <<A 3<<B\n1\nA\n2\nB"),
        ),
        (
            "RUN <<X\n#!/usr/bin/env python3\nprint(1)\nX\n",
            RunInvocation::Script {
                name: "X".to_owned(),
                content: "#!/usr/bin/env python3\nprint(1)\n".to_owned(),
            },
        ),
        ("RUN cat <<<word", shell("cat <<<word")),
    ] {
        let file = good(&format!("FROM scratch\n{text}\nUSER x\n"));
        let instruction = &file.stages[0].instructions[0];
        let InstructionKind::Run(run) = &instruction.kind else {
            panic!();
        };
        assert_eq!(run.invocation(), want, "{text}");
        assert_eq!(file.stages[0].instructions.len(), 2, "{text}");
    }
    assert_eq!(
        good("FROM a\nRUN <<EOF\nx\nEOF\n").stages[0].instructions[0].text,
        "RUN <<EOF\nx\nEOF"
    );
    check_problems(&[
        (
            "FROM a\nRUN cat <<EOF\nx\n",
            &[(codes::BAD_HEREDOC, "<<EOF")],
        ),
        // Docker takes even this for a heredoc.
        (
            "FROM a\nRUN echo $((1 << 2))",
            &[(codes::BAD_HEREDOC, "<< 2))")],
        ),
        (
            "FROM a\nCOPY a <<EOF\nx\nEOF\n",
            &[(codes::BAD_HEREDOC, "<<EOF")],
        ),
        (
            "FROM a\nCOPY << EOF /x\nEOF\n",
            &[(codes::BAD_HEREDOC, "<<")],
        ),
    ]);
    let json = run("RUN [\"sh\", \"-c\", \"cat <<EOF\"]");
    assert!(json.heredocs.is_empty());
}

#[test]
fn heredocs_of_copy() {
    let InstructionKind::Copy(copy) =
        only("COPY --chmod=755 <<a.sh <<\"b\" plain /d/\n$x\na.sh\n$y\nb\n")
    else {
        panic!();
    };
    let [
        CopySource::Heredoc(a),
        CopySource::Heredoc(b),
        CopySource::Path(plain),
    ] = copy.sources.as_slice()
    else {
        panic!("{:?}", copy.sources);
    };
    assert_eq!(
        (a.name.as_str(), a.content.as_str(), a.expand),
        ("a.sh", "$x\n", true)
    );
    assert_eq!(
        (b.name.as_str(), b.content.as_str(), b.expand),
        ("b", "$y\n", false)
    );
    assert_eq!(plain.value, "plain");
}

#[test]
fn flags_of_copy_and_add() {
    let InstructionKind::Copy(copy) = only(
        "COPY --from=build --chown=1:$G --chmod=u+x --link --exclude=*.md --exclude=!a.md [\"a b\", \"/c\"]",
    ) else {
        panic!();
    };
    assert_eq!(copy.from.unwrap().value, "build");
    assert_eq!(copy.chown.unwrap().value, "1:$G");
    assert_eq!(copy.chmod.unwrap().value, "u+x");
    assert!(copy.link);
    assert_eq!(copy.exclude.len(), 2);
    assert_eq!(copy.destination.value, "/c");
    check_problems(&[
        (
            "FROM a\nCOPY --form=x a b",
            &[(codes::UNKNOWN_FLAG, "--form=x")],
        ),
        ("FROM a\nCOPY --from a b", &[(codes::BAD_FLAG, "--from")]),
        (
            "FROM a\nCOPY --link=x a b",
            &[(codes::BAD_FLAG, "--link=x")],
        ),
        (
            "FROM a\nCOPY --from=a --from=b a b",
            &[(codes::BAD_FLAG, "--from=b")],
        ),
        (
            "FROM a\nCOPY --from=$X a b",
            &[(codes::VARIABLE_IN_FROM, "$X")],
        ),
        ("FROM a\nCOPY --chmod=999 a b", &[(codes::BAD_FLAG, "999")]),
        ("FROM a\nCOPY --exclude=[ a b", &[(codes::BAD_PATTERN, "[")]),
        (
            "FROM a\nCOPY --parents=x a b",
            &[(codes::BAD_FLAG, "--parents=x")],
        ),
        ("FROM a\nCOPY a", &[(codes::BAD_ARGUMENTS, "a")]),
        (
            "FROM a\nCOPY https://x/y b",
            &[(codes::NOT_SUPPORTED, "https://x/y")],
        ),
        (
            "FROM a\nADD https://x/y.git?no=1 b",
            &[(codes::BAD_REPOSITORY, "https://x/y.git?no=1")],
        ),
        (
            "FROM a\nADD --checksum=sha256:0 https://x/y z b",
            &[(codes::BAD_FLAG, "sha256:0")],
        ),
        (
            "FROM a\nCOPY git@h.com:a/b.git b",
            &[(codes::NOT_SUPPORTED, "git@h.com:a/b.git")],
        ),
        (
            "FROM a\nADD --keep-git-dir=1 a b",
            &[(codes::BAD_FLAG, "--keep-git-dir=1")],
        ),
        (
            "FROM a\nADD --keep-git-dir git@h.com:a/b.git git://h/x#v1:d b",
            &[],
        ),
        ("FROM a\nADD a.tar.gz a@b.c /b/", &[]),
    ]);
}

#[test]
fn flags_of_run() {
    let flags = run("RUN --network=none --security=sandbox --mount=target=/x true");
    assert_eq!(flags.network, RunNetwork::None);
    assert_eq!(flags.mounts.len(), 1);
    check_problems(&[
        ("FROM a\nRUN --network=x y", &[(codes::BAD_FLAG, "x")]),
        ("FROM a\nRUN --network= y", &[(codes::BAD_FLAG, "")]),
        (
            "FROM a\nRUN --security=insecure y",
            &[(codes::NOT_SUPPORTED, "insecure")],
        ),
        (
            "FROM a\nRUN --device=gpu y",
            &[(codes::NOT_SUPPORTED, "--device=gpu")],
        ),
    ]);
}

#[test]
fn healthchecks() {
    let InstructionKind::Healthcheck(Healthcheck::Command(check)) = only(
        "HEALTHCHECK --interval=1m30s --timeout=0s --start-interval=500ms --retries=3 \\\n CMD curl -f x",
    ) else {
        panic!();
    };
    assert_eq!(check.command, CommandLine::Shell("curl -f x".to_owned()));
    assert_eq!(check.interval, Some(Duration::from_secs(90)));
    assert_eq!(check.timeout, None);
    assert_eq!(check.start_interval, Some(Duration::from_millis(500)));
    assert_eq!(check.retries, Some(3));
    assert_eq!(
        only("healthcheck none"),
        InstructionKind::Healthcheck(Healthcheck::None)
    );
    check_problems(&[
        (
            "FROM a\nHEALTHCHECK",
            &[(codes::BAD_ARGUMENTS, "HEALTHCHECK")],
        ),
        ("FROM a\nHEALTHCHECK CMD", &[(codes::BAD_ARGUMENTS, "CMD")]),
        (
            "FROM a\nHEALTHCHECK NONE x",
            &[(codes::BAD_ARGUMENTS, "NONE x")],
        ),
        (
            "FROM a\nHEALTHCHECK --interval=5 CMD x",
            &[(codes::BAD_FLAG, "5")],
        ),
        (
            "FROM a\nHEALTHCHECK --interval=5ns CMD x",
            &[(codes::BAD_FLAG, "5ns")],
        ),
        (
            "FROM a\nHEALTHCHECK --retries=-1 CMD x",
            &[(codes::BAD_FLAG, "-1")],
        ),
    ]);
}

#[test]
fn the_rest() {
    let one = |kind| match kind {
        InstructionKind::User(word)
        | InstructionKind::Workdir(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::Maintainer(word) => word.value,
        other => panic!("{other:?}"),
    };
    for (text, want) in [
        ("USER  a:b ", "a:b"),
        ("WORKDIR /a b", "/a b"),
        ("STOPSIGNAL SIGRTMIN+3", "SIGRTMIN+3"),
        ("STOPSIGNAL 9", "9"),
        ("MAINTAINER A B <a@b>", "A B <a@b>"),
    ] {
        assert_eq!(one(only(text)), want);
    }
    check_problems(&[
        (
            "FROM a\nSTOPSIGNAL SIGTREM",
            &[(codes::BAD_SIGNAL, "SIGTREM")],
        ),
        ("FROM a\nSTOPSIGNAL $S", &[]),
        ("FROM a\nEXPOSE 80 x 1-2/udp $P", &[(codes::BAD_PORT, "x")]),
        ("FROM a\nEXPOSE", &[(codes::BAD_ARGUMENTS, "EXPOSE")]),
        ("FROM a\nVOLUME [\"\"]", &[(codes::BAD_ARGUMENTS, "[\"\"]")]),
        ("FROM a\nUSER --x y", &[(codes::UNKNOWN_FLAG, "--x")]),
    ]);
}

#[test]
fn triggers() {
    let InstructionKind::Onbuild(onbuild) = only("ONBUILD COPY <<X /d\na\nX\n") else {
        panic!();
    };
    assert_eq!(onbuild.text, "COPY <<X /d\na\nX");
    let mut sources = SourceMap::new();
    let id = sources.add("trigger", onbuild.text.as_str());
    let again = parse_onbuild(id, &onbuild.text).unwrap();
    assert_eq!(again.text, onbuild.text);
    assert!(matches!(again.kind, InstructionKind::Copy(_)));
    for (text, code) in [
        ("FROM a", codes::BAD_ONBUILD),
        ("ONBUILD RUN x", codes::BAD_ONBUILD),
        ("RUN a\nRUN b", codes::BAD_ONBUILD),
        ("", codes::BAD_ONBUILD),
        ("RNU a", codes::UNKNOWN_INSTRUCTION),
    ] {
        assert_eq!(parse_onbuild(id, text).unwrap_err().code, code, "{text}");
    }
    check_problems(&[
        ("FROM a\nONBUILD", &[(codes::BAD_ARGUMENTS, "ONBUILD")]),
        (
            "FROM a\nONBUILD ONBUILD RUN a",
            &[(codes::BAD_ONBUILD, "ONBUILD")],
        ),
        ("FROM a\nONBUILD from a", &[(codes::BAD_ONBUILD, "from")]),
        (
            "FROM a\nONBUILD RNU a",
            &[(codes::UNKNOWN_INSTRUCTION, "RNU")],
        ),
    ]);
}

#[test]
fn files_as_a_whole() {
    check_problems(&[
        ("", &[(codes::NO_STAGE, "")]),
        ("# nothing\n", &[(codes::NO_STAGE, "")]),
        ("RUN a\nRUN b\n", &[(codes::NO_STAGE, "RUN a")]),
        ("ARG a\nRUN b\nFROM a\n", &[(codes::BEFORE_FROM, "RUN")]),
        ("FROM\nRUN a", &[(codes::BAD_ARGUMENTS, "FROM")]),
        ("FROM a b\n", &[(codes::BAD_ARGUMENTS, "a b")]),
        ("FROM a AS 1x\n", &[(codes::BAD_STAGE_NAME, "1x")]),
    ]);
    assert_eq!(instruction_names().len(), 18);
}

#[test]
fn every_problem_is_told_with_a_remedy() {
    let text =
        "FORM a\nFROM a\nCPOY x y\nRUN --mount=type=cache,traget=/x \\\n  make\nEXPOSE http\n";
    let (sources, parsed) = parse_text(text);
    assert!(parsed.dockerfile.is_none());
    let told = render_all(&parsed.diagnostics, &sources, Colour::Never);
    for part in [
        "Dockerfile:1:1",
        "did you mean `FROM`?",
        "Dockerfile:3:1",
        "did you mean `COPY`?",
        "Dockerfile:4:24",
        "did you mean `target`?",
        "Dockerfile:6:8",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_parsed(text: String) {
        let _ = parse_text(&text);
    }

    #[test]
    fn anything_like_a_dockerfile_can_be_parsed(
        lines in proptest::collection::vec(
            "(FROM|RUN|COPY|ADD|ENV|ARG|LABEL|ONBUILD|HEALTHCHECK|EXPOSE|CMD|SHELL|#)? ?[-a-z0-9=$<>{}:,/\\\\\"'` \\[\\]ç\u{85}]{0,24}",
            0..8,
        ),
    ) {
        let (sources, parsed) = parse_text(&lines.join("\n"));
        // Every span lies in the text, between characters.
        let _ = render_all(&parsed.diagnostics, &sources, Colour::Never);
        for problem in &parsed.diagnostics {
            for label in &problem.labels {
                assert!(lines.join("\n").get(label.span.range()).is_some());
            }
        }
    }
}
