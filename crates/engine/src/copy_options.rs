//! How sources of COPY and ADD are copied.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use launchway_context::Filter;

use crate::copy::Ownership;
use crate::permissions::Permissions;

/// How files are copied.
#[derive(Clone, Debug)]
pub(crate) struct CopyOptions {
    pub(crate) owner: Ownership,
    /// For everything copied, directories included.
    pub(crate) mode: Option<Permissions>,
    /// What of a copied directory is taken.
    pub(crate) filter: Arc<Filter>,
    /// What is there gives way to something of another kind, as for the members of an archive.
    pub(crate) replaces: bool,
    /// Directories of the source that say nothing of what they are: one that is there stays as it is.
    pub(crate) implied: BTreeSet<PathBuf>,
}

impl CopyOptions {
    /// Everything as it is.
    pub(crate) fn keep_all() -> Self {
        Self {
            owner: Ownership::Keep,
            mode: None,
            filter: Filter::default().into(),
            replaces: false,
            implied: BTreeSet::new(),
        }
    }

    /// The mode of directories that are made on the way to the destination.
    pub(crate) fn parent_mode(&self) -> u32 {
        self.mode.as_ref().map_or(0o755, Permissions::of_parents)
    }

    pub(crate) fn mode_of(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.mode {
            Some(permissions) => permissions.apply(mode, is_directory),
            None => mode,
        }
    }
}
