//! Problems in a user's files: where, what, why, and what to do about it.
//!
//! Values and plain text only; colour is the caller's choice and no terminal is known here.

mod controls;
mod diagnostic;
mod render;
mod source;
mod suggest;

pub use controls::without_controls;
pub use diagnostic::{Code, Diagnostic, Label, Severity};
pub use render::{Colour, render, render_all};
pub use source::{Position, SourceId, SourceMap, Span, Spanned};
pub use suggest::closest;
