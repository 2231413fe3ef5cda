//! Attempts to get out of a build. Each one would work if a guard were missing, and each is really made.
//!
//! An attempt says `ESCAPED` when it has reached what it must not reach; what it could have changed on the host is looked
//! at afterwards as well.

mod archives;
mod cancelling;
mod copying;
mod inside;
mod kinship;
#[path = "../build/lab.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod lab;
mod leaks;
mod mounts;
mod outside;
