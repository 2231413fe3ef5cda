//! From what went wrong to a message and an exit code. This is the only place that knows both.

use std::process::ExitCode;

use launchway_diagnostics::{Code, Colour, Diagnostic, SourceMap, render_all};
use launchway_release::ReleaseError;

/// Why a command did not succeed.
pub(crate) enum Failure {
    /// Problems that are shown with their place.
    Diagnosed {
        diagnostics: Vec<Diagnostic>,
        sources: SourceMap,
        exit: Exit,
    },
    /// One message, what it came from, and what to do.
    Message {
        message: String,
        causes: Vec<String>,
        help: Option<String>,
        exit: Exit,
    },
    /// Everything is said already.
    Silent(Exit),
}

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed,
    Usage,
    Differs,
    Unknown,
    Interrupted,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Differs => 3,
            Self::Unknown => 4,
            Self::Interrupted => 130,
        }
    }
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Message {
            message: message.into(),
            causes: Vec::new(),
            help: Some(help.into()),
            exit: Exit::Usage,
        }
    }

    pub(crate) fn interrupted() -> Self {
        Self::Message {
            message: "interrupted".to_owned(),
            causes: Vec::new(),
            help: Some("run the same command again: what is done stays done".to_owned()),
            exit: Exit::Interrupted,
        }
    }

    /// An error with its chain of causes.
    pub(crate) fn caused(act: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self::Message {
            message: act.into(),
            causes,
            help: None,
            exit: Exit::Failed,
        }
    }

    pub(crate) fn diagnosed(diagnostics: Vec<Diagnostic>, sources: SourceMap) -> Self {
        let exit = exit_of(&diagnostics);
        Self::Diagnosed {
            diagnostics,
            sources,
            exit,
        }
    }

    /// A failure of preparing or running a release; `sources` are the texts its spans point into.
    pub(crate) fn release(error: &ReleaseError, sources: &SourceMap) -> Self {
        match error {
            ReleaseError::Diagnosed(diagnostics) => {
                Self::diagnosed(diagnostics.to_vec(), sources.clone())
            }
            ReleaseError::Unknown(diagnostics) => Self::Diagnosed {
                diagnostics: diagnostics.to_vec(),
                sources: sources.clone(),
                exit: Exit::Unknown,
            },
            ReleaseError::Cancelled => Self::interrupted(),
            ReleaseError::Registry(error) => {
                let diagnostic = Diagnostic::error(error.code(), error.to_string());
                Self::diagnosed(vec![diagnostic], sources.clone())
            }
            other => {
                let mut causes = Vec::new();
                let mut next = std::error::Error::source(other);
                while let Some(cause) = next {
                    causes.push(cause.to_string());
                    next = cause.source();
                }
                Self::Message {
                    message: other.to_string(),
                    causes,
                    help: None,
                    exit: Exit::Failed,
                }
            }
        }
    }

    /// Writes the failure to stderr and gives the exit code.
    pub(crate) fn report(self, colour: bool) -> ExitCode {
        let exit = match self {
            Self::Diagnosed {
                diagnostics,
                sources,
                exit,
            } => {
                let colour = if colour {
                    Colour::Always
                } else {
                    Colour::Never
                };
                eprintln!("{}", render_all(&diagnostics, &sources, colour));
                let errors = diagnostics
                    .iter()
                    .filter(|diagnostic| diagnostic.is_error())
                    .count();
                if errors > 1 {
                    eprintln!("\n{errors} errors");
                }
                exit
            }
            Self::Message {
                message,
                causes,
                help,
                exit,
            } => {
                let word = if colour {
                    "\u{1b}[1;31merror\u{1b}[0m"
                } else {
                    "error"
                };
                eprintln!("{word}: {message}");
                for cause in causes {
                    eprintln!("  because: {cause}");
                }
                if let Some(help) = help {
                    eprintln!("  help: {help}");
                }
                exit
            }
            Self::Silent(exit) => exit,
        };
        ExitCode::from(exit.code())
    }
}

/// The exit code of problems with a place: wrong files are wrong usage, what a registry or a step
/// says is a failure.
fn exit_of(diagnostics: &[Diagnostic]) -> Exit {
    let wrong_file = |code: Code| {
        let number = &code.0[2..];
        number.starts_with("01")
            || number.starts_with("02")
            || matches!(number, "0304" | "0305" | "0306" | "0307" | "0308" | "0309")
            || number == "0420"
            || matches!(number, "0601" | "0602" | "0603" | "0604" | "0608")
    };
    let errors: Vec<&Diagnostic> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .collect();
    if !errors.is_empty() && errors.iter().all(|diagnostic| wrong_file(diagnostic.code)) {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_are_wrong_usage() {
        let of = |code: &'static str| exit_of(&[Diagnostic::error(Code(code), "x")]);
        assert_eq!(of("LW0101"), Exit::Usage);
        assert_eq!(of("LW0204"), Exit::Usage);
        assert_eq!(of("LW0302"), Exit::Failed);
        assert_eq!(of("LW0501"), Exit::Failed);
        assert_eq!(of("LW0606"), Exit::Failed);
    }
}
