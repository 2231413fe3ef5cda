//! The codes of this crate's errors.

use launchway_diagnostics::Code;

use crate::ContextError;

/// A file or directory of a context cannot be read. Check that it exists and that you may read it.
pub const UNREADABLE: Code = Code("LW0320");
/// A source names nothing. Check its spelling and that it stands in the build context; a context
/// is the directory named by `context`, not the one the Dockerfile stands in.
pub const MISSING: Code = Code("LW0321");
/// A source exists, but `.dockerignore` or the junk rules leave it out. Take it in with a `!` line
/// in `.dockerignore`, or copy something else.
pub const EXCLUDED: Code = Code("LW0322");
/// A symlink leads out of the context, where a build cannot follow it. Copy the file into the
/// context, or let the link point to something inside it.
pub const LINK_LEAVES: Code = Code("LW0323");
/// A symlink leads to nothing, or in a circle. Correct or remove it.
pub const LINK_BROKEN: Code = Code("LW0324");
/// A wildcard pattern, or a line of an ignore file, is malformed. A `[` needs its `]`, and a backslash a character after it.
pub const BAD_PATTERN: Code = Code("LW0325");
/// A file changed while it was being read. Run again when nothing writes to the context.
pub const CHANGED: Code = Code("LW0326");
/// An input of a content hash is neither a file nor a directory. Name a file or a directory.
pub const NOT_A_FILE: Code = Code("LW0327");

impl ContextError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        match self {
            // That it was stopped is known to who stopped it.
            Self::Open { .. } | Self::Read { .. } | Self::Stopped => UNREADABLE,
            Self::Missing { .. } => MISSING,
            Self::Excluded { .. } => EXCLUDED,
            Self::LinkLeaves { .. } => LINK_LEAVES,
            Self::LinkDangles { .. } | Self::LinkLoop { .. } => LINK_BROKEN,
            Self::Pattern { .. } | Self::IgnoreLine { .. } => BAD_PATTERN,
            Self::Changed { .. } => CHANGED,
            Self::NotAFile { .. } => NOT_A_FILE,
        }
    }
}
