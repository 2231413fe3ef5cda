//! ONBUILD triggers of base images, which nobody saw before the image was there.

use launchway_diagnostics::{Diagnostic, SourceMap, Span};
use launchway_dockerfile::{Instruction, parse_onbuild};

use crate::{EngineError, codes};

/// Reads a trigger of a base image; problems are shown at the FROM line that brought it.
pub(crate) fn parse_trigger(text: &str, from: Span) -> Result<Instruction, EngineError> {
    let mut sources = SourceMap::new();
    let source = sources.add("ONBUILD", text);
    let mut instruction = parse_onbuild(source, text).map_err(|problem| {
        Diagnostic::error(
            codes::BAD_TRIGGER,
            format!("the base image's ONBUILD trigger `{text}` cannot be used"),
        )
        .at(from, "the base image named here has the trigger")
        .note(problem.message)
    })?;
    instruction.span = from;
    Ok(instruction)
}

/// That a trigger takes from what the graph does not know. Who builds can resolve again, with what is
/// known of the image by now.
pub(crate) fn unknown_trigger(text: &str, source: &str, from: Span) -> EngineError {
    EngineError::Trigger(Box::new(
        Diagnostic::error(
            codes::BAD_TRIGGER,
            format!("the base image's ONBUILD trigger `{text}` cannot be used"),
        )
        .at(from, "the base image named here has the trigger")
        .note(format!(
            "it takes files of `{source}`, which this build does not know"
        )),
    ))
}

#[cfg(test)]
mod tests {
    use launchway_dockerfile::InstructionKind;

    use super::*;

    #[test]
    fn triggers_are_read_and_refused_at_the_from_line() {
        let mut sources = SourceMap::new();
        let source = sources.add("Dockerfile", "FROM x");
        let from = Span::new(source, 0..6);
        let read = parse_trigger("RUN make", from).unwrap();
        assert_eq!(read.span, from);
        assert!(matches!(read.kind, InstructionKind::Run(_)));
        for text in ["NONSENSE x", "", "COPY"] {
            let error = parse_trigger(text, from).unwrap_err();
            let EngineError::Diagnosed(diagnostic) = error else {
                panic!("{error:?}");
            };
            assert_eq!(diagnostic.code, codes::BAD_TRIGGER, "{text}");
        }
    }
}
