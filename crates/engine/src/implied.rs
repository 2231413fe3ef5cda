//! Directories that an archive has something in and no entry for.

use std::path::Path;

use launchway_oci::{Tree, TreeEntry, resolve};

use crate::copy::{CopyOptions, LayerBuilder, Result, failed};

impl LayerBuilder {
    /// Fills such a directory. One that is there keeps its owner, mode and attributes; where a link is,
    /// what it leads to is filled, as when Docker unpacks `bin/tool` over a `/bin` that is a link to
    /// `/usr/bin`.
    pub(crate) fn copy_implied(
        &mut self,
        tree: &dyn Tree,
        source: &Path,
        relative: &Path,
        target: &Path,
        entry: &TreeEntry,
        options: &CopyOptions,
    ) -> Result<()> {
        let target = resolve(&self.view, target, true).map_err(failed("resolve", target))?;
        let is_new = self.entry(&target)?.is_none();
        let owner = (entry.uid, entry.gid);
        self.mkdir_all(&target, Some(owner), entry.mode)?;
        self.copy_children(tree, source, relative, &target, options)?;
        if is_new {
            self.finish(tree, source, &target, entry, owner, options)?;
        }
        Ok(())
    }
}
