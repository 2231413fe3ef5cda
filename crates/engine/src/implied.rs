//! Directories that an archive has something in and no entry for.

use launchway_oci::{Tree, TreeEntry};

use crate::copy::{CopyOptions, LayerBuilder, Result, Way, failed};
use crate::upper::Put;

impl<'a> LayerBuilder<'a> {
    /// Fills such a directory. One that is there keeps its owner, mode and attributes; where a link is,
    /// what it leads to is filled, as when Docker unpacks `bin/tool` over a `/bin` that is a link to
    /// `/usr/bin`.
    pub(crate) fn copy_implied(
        &mut self,
        tree: &'a (dyn Tree + Sync),
        way: &Way<'_>,
        entry: &TreeEntry,
        options: &CopyOptions,
    ) -> Result<()> {
        let target = self.upper.resolve(way.target);
        let target = target.map_err(failed("resolve", way.target))?;
        let is_new = self.entry(&target)?.is_none();
        let owner = (entry.uid, entry.gid);
        self.mkdir_all(&target, Some(owner), entry.mode)?;
        let inner = Way {
            target: &target,
            ..*way
        };
        self.copy_children(tree, &inner, false, options)?;
        if is_new {
            let put = Put {
                owner,
                mode: options.mode_of(entry.mode, true),
                mtime: entry.mtime,
            };
            let xattrs = tree
                .xattrs(way.source)
                .map_err(failed("read attributes of", way.source))?;
            self.upper
                .finish_directory(&target, put, xattrs)
                .map_err(failed("set the attributes of", &target))?;
        }
        Ok(())
    }
}
