//! Codes of problems in Dockerfiles. What each means and what to do stands in `docs/errors.md`.

use launchway_diagnostics::Code;

/// The word is no instruction. Correct its spelling.
pub const UNKNOWN_INSTRUCTION: Code = Code("LW0201");
