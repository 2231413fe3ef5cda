//! What can go wrong with a context. Paths inside a tree are shown relative to its root.

use std::io;
use std::path::PathBuf;

use launchway_dockerfile::PatternError;

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("cannot open the build context {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no {pattern:?}{}", suggestion(closest.as_deref()))]
    Missing {
        /// The source as it was written.
        pattern: String,
        /// A path that it was perhaps meant to name.
        closest: Option<String>,
    },
    #[error("{pattern:?} is left out of the build context by its ignore rules")]
    Excluded { pattern: String },
    #[error("the symlink {} leaves the context: it points to {}", path.display(), target.display())]
    LinkLeaves { path: PathBuf, target: PathBuf },
    #[error("the symlink {} points to {}, which does not exist", path.display(), target.display())]
    LinkDangles { path: PathBuf, target: PathBuf },
    #[error("the symlink {} leads in a circle", path.display())]
    LinkLoop { path: PathBuf },
    #[error("cannot use the wildcard pattern {pattern:?}")]
    Pattern {
        pattern: String,
        #[source]
        source: PatternError,
    },
    /// Docker refuses to build with such a line.
    #[error("line {line} of {} is no pattern: {text:?}", path.display())]
    IgnoreLine {
        path: PathBuf,
        line: usize,
        text: String,
    },
    #[error("{} changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("{} is neither a file nor a directory", path.display())]
    NotAFile { path: PathBuf },
    #[error("stopped")]
    Stopped,
}

fn suggestion(closest: Option<&str>) -> String {
    closest.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

impl ContextError {
    /// A closure for `map_err`: reading `path` failed.
    pub(crate) fn reading(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}
