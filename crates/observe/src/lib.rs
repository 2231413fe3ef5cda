//! Looking at the world before anything is decided: floating versions, the digests behind base
//! images, what the registries hold, single files of the web, and the state of the git checkout.
//!
//! Everything here asks and reports; nothing chooses, writes or builds. The environment comes in
//! as a value, see [`NpmInputs`] and [`git_facts`].

mod bases;
pub mod codes;
mod git;
mod inventory;
mod npm;
mod outward;
mod versions;
mod web;

pub use bases::{PinError, pin_bases};
pub use git::{GitError, GitFacts, git_facts};
pub use inventory::inventory;
pub use npm::{Npm, NpmConfig, NpmConfigError, NpmInputs, NpmRetry, Range, RangeError};
pub use versions::{ResolvedVersion, VersionError, resolve_versions};
pub use web::{Web, WebAnswer, WebError, WebValidators};

/// How many questions are asked of registries at the same time.
const AT_ONCE: usize = 16;
