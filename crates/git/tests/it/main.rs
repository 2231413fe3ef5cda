//! Real repositories by the machine's git.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
mod hostile;
mod repositories;
mod ssh;
