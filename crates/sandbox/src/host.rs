//! What this machine lets the sandbox do, for people to read.

use std::path::Path;

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Short and stable, such as `overlayfs`.
    pub name: &'static str,
    pub state: FindingState,
    /// What was found, in a sentence.
    pub detail: String,
    /// What to do about it, when something can be done.
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingState {
    Ok,
    /// Something does not work, builds in general do.
    Limited,
    /// The native engine cannot work here.
    Broken,
}

/// Looks at everything the sandbox needs. `store` is the directory (or where it will be) layers are kept in.
#[must_use]
pub fn host_findings(store: &Path) -> Vec<Finding> {
    let _ = store;
    Vec::new()
}
