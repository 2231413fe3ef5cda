//! Text to tree, with every problem found.
//!
//! `lines` joins continuations and takes out comments and heredocs, `words` cuts a line into an
//! instruction, flags and words, `instruction` and its helpers give them meaning, and this file
//! sorts instructions into stages.

mod files;
mod flags;
mod health;
mod heredoc;
mod instruction;
mod line;
mod lines;
mod run;
mod signal;
mod words;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use launchway_diagnostics::{Diagnostic, SourceId, Span};

pub(crate) use files::{check_from, remote_source};
pub use files::{is_http_source, is_remote_source};
use instruction::{Item, NAMES, Reader};
pub use lines::is_stock_syntax;
pub(crate) use signal::is_signal;

use crate::{
    ArgInstruction, Directives, Dockerfile, Instruction, InstructionKind, Stage, Written, codes,
};

/// What came out of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Present when no diagnostic is an error.
    pub dockerfile: Option<Dockerfile>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a Dockerfile and reports all its problems.
pub fn parse(source: SourceId, text: &str) -> Parsed {
    let read = lines::read(source, text);
    let mut reader = Reader {
        escape: read.directives.escape,
        problems: read.problems,
    };
    let mut stages = Stages::default();
    for line in &read.lines {
        let whole = line.whole();
        let split = words::split(whole, reader.escape);
        let starts_stage = split.name.text().eq_ignore_ascii_case("from");
        let item = reader.item(&split, whole);
        if starts_stage {
            let from = match item {
                Some(Item::From(from)) => Some(from),
                _ => None,
            };
            stages.start(from, whole, whole.written(split.name));
        } else if let Some(problem) = stages.add(item, split.name.span(), split.name.text()) {
            reader.problems.push(problem);
        }
    }
    if !stages.any_from {
        // Instructions without a stage follow from this one problem.
        reader
            .problems
            .retain(|problem| problem.code != codes::BEFORE_FROM);
        let place = read
            .lines
            .first()
            .map_or(Span::new(source, 0..0), |line| line.whole().span());
        reader.problems.push(
            Diagnostic::error(codes::NO_STAGE, "no FROM, so there is nothing to build")
                .at(place, "a stage must start before this")
                .help("start with `FROM image` or `FROM scratch`"),
        );
    }
    finish(read.directives, stages, reader.problems)
}

/// Parses one instruction out of an image configuration's list of triggers.
pub fn parse_onbuild(source: SourceId, text: &str) -> Result<Instruction, Diagnostic> {
    let read = lines::read(source, text);
    let place = Span::new(source, 0..text.len());
    let refuse = |message: &str| {
        Diagnostic::error(codes::BAD_ONBUILD, message).at(place, "stored in the base image")
    };
    let [line] = read.lines.as_slice() else {
        return Err(refuse("an ONBUILD trigger is not one instruction"));
    };
    let mut reader = Reader {
        escape: read.directives.escape,
        problems: read.problems,
    };
    let split = words::split(line.whole(), reader.escape);
    let item = reader.item(&split, line.whole());
    let mut errors = reader.problems.into_iter().filter(Diagnostic::is_error);
    match (errors.next(), item) {
        (Some(error), _) => Err(error),
        (None, Some(Item::Instruction(instruction)))
            if !matches!(
                instruction.kind,
                InstructionKind::Onbuild(_) | InstructionKind::Maintainer(_)
            ) =>
        {
            Ok(instruction)
        }
        (None, _) => Err(refuse("an ONBUILD trigger of a kind that cannot be one")),
    }
}

/// The instructions that exist, in capitals.
pub fn instruction_names() -> &'static [&'static str] {
    &NAMES
}

/// Whether a whole command is nothing but one heredoc.
pub(crate) fn is_heredoc_word(word: &str) -> bool {
    heredoc::delimiter(word).is_some()
}

#[derive(Default)]
struct Stages {
    global_args: Vec<ArgInstruction>,
    stages: Vec<Stage>,
    any_from: bool,
    /// False after a `FROM` that could not be read: what follows belongs to nothing.
    current: bool,
}

impl Stages {
    fn start(
        &mut self,
        from: Option<instruction::FromLine>,
        line: line::Piece<'_>,
        written: Written,
    ) {
        self.any_from = true;
        self.current = from.is_some();
        if let Some(from) = from {
            self.stages.push(Stage {
                index: self.stages.len(),
                name: from.name,
                alias: from.alias,
                from: from.image,
                platform: from.platform,
                instructions: Vec::new(),
                span: line.span(),
                written,
                text: line.text().to_owned(),
            });
        }
    }

    fn add(&mut self, item: Option<Item>, place: Span, name: &str) -> Option<Diagnostic> {
        let Some(Item::Instruction(instruction)) = item else {
            return None;
        };
        if self.any_from {
            if self.current
                && let Some(stage) = self.stages.last_mut()
            {
                stage.instructions.push(instruction);
            }
            return None;
        }
        let Instruction {
            span,
            written,
            kind,
            text,
        } = instruction;
        match kind {
            InstructionKind::Arg(definitions) => {
                self.global_args.push(ArgInstruction {
                    span,
                    written,
                    text,
                    definitions,
                });
                None
            }
            _ => {
                let name = name.to_ascii_uppercase();
                Some(
                    Diagnostic::error(
                        codes::BEFORE_FROM,
                        format!("{name} stands before the first FROM"),
                    )
                    .at(place, "belongs to no stage")
                    .help("only ARG may stand before FROM"),
                )
            }
        }
    }
}

fn finish(directives: Directives, stages: Stages, mut diagnostics: Vec<Diagnostic>) -> Parsed {
    diagnostics.sort_by_key(|problem| problem.labels.first().map(|label| label.span));
    let good = !diagnostics.iter().any(Diagnostic::is_error);
    let dockerfile = good.then_some(Dockerfile {
        directives,
        global_args: stages.global_args,
        stages: stages.stages,
    });
    Parsed {
        dockerfile,
        diagnostics,
    }
}
