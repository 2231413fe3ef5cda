//! Text to tree, with every problem found.

use launchway_diagnostics::{Diagnostic, SourceId};

use crate::{Dockerfile, Instruction};

/// What came out of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Present when no diagnostic is an error.
    pub dockerfile: Option<Dockerfile>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a Dockerfile and reports all its problems.
pub fn parse(source: SourceId, text: &str) -> Parsed {
    let _ = (source, text);
    Parsed {
        dockerfile: None,
        diagnostics: Vec::new(),
    }
}

/// Parses one instruction out of an image configuration's list of triggers.
pub fn parse_onbuild(source: SourceId, text: &str) -> Result<Instruction, Diagnostic> {
    let _ = (source, text);
    Err(Diagnostic::error(
        crate::codes::UNKNOWN_INSTRUCTION,
        "unknown instruction",
    ))
}

/// The instructions that exist, in capitals.
pub fn instruction_names() -> &'static [&'static str] {
    &[]
}

pub(crate) fn is_heredoc_word(word: &str) -> bool {
    let _ = word;
    false
}
