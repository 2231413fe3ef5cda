//! Checks of how the file is written: cases, names, comments. They look at all stages.

use std::collections::BTreeMap;

use launchway_diagnostics::Span;

use super::{At, Findings, Rule, Told};
use crate::{ArgDef, Dockerfile, InstructionKind, Stage, Written};

pub(super) fn check(file: &Dockerfile, findings: &mut Findings<'_>) {
    for arg in &file.global_args {
        empty_line(&arg.written, arg.span, findings);
        described_args(&arg.definitions, &arg.written, findings);
    }
    for stage in &file.stages {
        empty_line(&stage.written, stage.span, findings);
        alias(stage, findings);
        for instruction in &stage.instructions {
            let written = &instruction.written;
            empty_line(written, instruction.span, findings);
            match &instruction.kind {
                InstructionKind::Arg(definitions) => {
                    described_args(definitions, written, findings);
                }
                InstructionKind::Maintainer(_) => findings.add(
                    written.at(written.keyword.span),
                    Rule::MaintainerDeprecated,
                    Told::new(
                        "MAINTAINER is out of use",
                        "sets a field that few programs read",
                        "write `LABEL org.opencontainers.image.authors=\"…\"`",
                    ),
                ),
                _ => {}
            }
        }
    }
    stage_names(file, findings);
    keywords(file, findings);
}

impl Written {
    /// Here, under the comments of the statement.
    pub(super) fn at(&self, place: Span) -> At<'_> {
        At {
            comments: &self.comments,
            ..self.at_all(place)
        }
    }

    /// Here, where comments of the statement have no say.
    fn at_all(&self, place: Span) -> At<'_> {
        At {
            place,
            statement: self.whole,
            comments: &[],
        }
    }
}

fn empty_line(written: &Written, span: Span, findings: &mut Findings<'_>) {
    let Some(line) = written.empty_line else {
        return;
    };
    // As in BuildKit, it is a matter of the instruction's last line.
    let end = Span {
        start: span.end.saturating_sub(1).max(span.start),
        ..span
    };
    let at = At {
        place: line,
        statement: end,
        comments: &[],
    };
    findings.add(
        at,
        Rule::NoEmptyContinuation,
        Told::new(
            "an empty line inside an instruction",
            "this line is empty",
            "remove it, or make it a comment",
        ),
    );
}

/// The `AS name` of a stage.
fn alias(stage: &Stage, findings: &mut Findings<'_>) {
    let (Some((and, written)), Some(name)) = (&stage.alias, &stage.name) else {
        return;
    };
    if written.value != name.value {
        findings.add(
            stage.written.at(written.span),
            Rule::StageNameCasing,
            Told::new(
                format!("the stage `{}` has capitals in its name", written.value),
                "stages are known by their names in lower case",
                format!("write `{}`", name.value),
            ),
        );
    }
    let keyword = &stage.written.keyword;
    let wanted = match casing(keyword) {
        Casing::Lower => "as",
        Casing::Upper => "AS",
        // A matter of the keyword itself.
        Casing::Mixed => and.as_str(),
    };
    if and.value != wanted {
        findings.add(
            stage.written.at(and.span),
            Rule::FromAsCasing,
            Told::new(
                format!(
                    "`{}` and `{}` are in different cases",
                    keyword.value, and.value
                ),
                "not written like the word before the image",
                format!("write `{wanted}`"),
            ),
        );
    }
    described("FROM", &[name.as_str()], &stage.written, findings);
}

fn described_args(definitions: &[ArgDef], written: &Written, findings: &mut Findings<'_>) {
    let names: Vec<&str> = definitions
        .iter()
        .map(|definition| definition.name.as_str())
        .collect();
    described("ARG", &names, written, findings);
}

fn described(instruction: &str, names: &[&str], written: &Written, findings: &mut Findings<'_>) {
    let (Some(comment), Some(first)) = (written.comments.last(), names.first()) else {
        return;
    };
    let described = comment.split(' ').next().unwrap_or_default();
    if !names.contains(&described) {
        findings.add(
            written.at(written.keyword.span),
            Rule::InvalidDefinitionDescription,
            Told::new(
                format!("the comment above {instruction} does not describe it"),
                "a comment right above is taken for its description",
                format!("start the comment with `{first}`, or put an empty comment below it"),
            ),
        );
    }
}

fn stage_names(file: &Dockerfile, findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for stage in &file.stages {
        let Some(name) = &stage.name else {
            continue;
        };
        let at = stage.written.at_all(name.span);
        if matches!(name.as_str(), "scratch" | "context") {
            findings.add(
                at,
                Rule::ReservedStageName,
                Told::new(
                    format!("`{}` means something else already", name.value),
                    "not a good name for a stage",
                    "rename the stage",
                ),
            );
        }
        if let Some(first) = seen.insert(name, name.span) {
            findings.add(
                at,
                Rule::DuplicateStageName,
                Told::new(
                    format!("two stages are called `{}`", name.value),
                    "hides the earlier one from here on",
                    "rename one of them",
                )
                .also(first, "the earlier one"),
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
    Mixed,
}

fn casing(word: &str) -> Casing {
    if word == word.to_lowercase() {
        Casing::Lower
    } else if word == word.to_uppercase() {
        Casing::Upper
    } else {
        Casing::Mixed
    }
}

fn keywords(file: &Dockerfile, findings: &mut Findings<'_>) {
    let statements = file.stages.iter().flat_map(|stage| {
        let own = stage.instructions.iter();
        [&stage.written]
            .into_iter()
            .chain(own.map(|instruction| &instruction.written))
    });
    let count = |casing_: Casing| {
        statements
            .clone()
            .filter(|written| casing(&written.keyword) == casing_)
            .count()
    };
    let (wanted, others) = if count(Casing::Lower) > count(Casing::Upper) {
        (Casing::Lower, "lower case")
    } else {
        (Casing::Upper, "capitals")
    };
    for written in statements.filter(|written| casing(&written.keyword) != wanted) {
        let keyword = written.keyword.as_str();
        let better = if wanted == Casing::Lower {
            keyword.to_lowercase()
        } else {
            keyword.to_uppercase()
        };
        findings.add(
            written.at_all(written.keyword.span),
            Rule::ConsistentInstructionCasing,
            Told::new(
                format!("`{keyword}` is not written like the other instructions"),
                format!("most of them are in {others}"),
                format!("write `{better}`"),
            ),
        );
    }
}
