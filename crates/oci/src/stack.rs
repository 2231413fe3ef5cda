//! Layers on top of each other, seen as one tree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Layer, Tree, TreeEntry};

/// Layers, the bottom one first.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    pub layers: Vec<Layer>,
}

impl Tree for Stack {
    fn entry(&self, _path: &Path) -> io::Result<Option<TreeEntry>> {
        unimplemented!()
    }
    fn children(&self, _path: &Path) -> io::Result<Vec<OsString>> {
        unimplemented!()
    }
    fn open(&self, _path: &Path) -> io::Result<File> {
        unimplemented!()
    }
    fn read_link(&self, _path: &Path) -> io::Result<PathBuf> {
        unimplemented!()
    }
    fn xattrs(&self, _path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        unimplemented!()
    }
}
