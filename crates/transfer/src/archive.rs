//! Archives as sources: an OCI layout in a tar, and what `docker save` writes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use launchway_model::Digest;
use launchway_oci::spec::Descriptor;
use launchway_registry::{BlobBody, PushOutcome, RawManifest};

use crate::blob::blocking;
use crate::docker;
use crate::files::{Files, Tar};
use crate::local::{Local, joined};
use crate::place::{Answer, Blob, Place, Role};
use crate::{Document, Name, TransferError};

/// Which archive it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Oci,
    Docker,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Oci => "oci-archive",
            Self::Docker => "docker-archive",
        }
    }
}

/// An archive that is read. Its headers are read once, when something is first asked.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    kind: Kind,
    shown: String,
    local: Arc<Mutex<Option<Arc<Local>>>>,
}

impl Archive {
    pub(crate) fn new(path: PathBuf, kind: Kind) -> Self {
        Self {
            shown: format!("{}:{}", kind.word(), path.display()),
            path,
            kind,
            local: Arc::default(),
        }
    }

    /// Waits for the disk the first time.
    fn open(&self) -> Result<Arc<Local>, TransferError> {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = &*local {
            return Ok(Arc::clone(local));
        }
        let tar = Tar::open(&self.path)?;
        // Newer dockers write a layout and their old form into one archive; the layout has the
        // digests that registries know.
        let is_layout = tar.entries.contains_key("oci-layout");
        let opened = if self.kind == Kind::Docker && !is_layout {
            docker::open(tar, self.shown.clone())?
        } else {
            Local::open(self.shown.clone(), Files::Tar(Arc::new(tar)))?
        };
        let opened = Arc::new(opened);
        *local = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn is_written_elsewhere<T>(&self) -> Result<T, TransferError> {
        Err(TransferError::Local {
            path: self.path.clone(),
            reason: "it was opened for reading".to_owned(),
            help: String::new(),
        })
    }
}

impl Place for Archive {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn probe<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<Digest>> {
        let (archive, name) = (self.clone(), name.clone());
        blocking(&self.path, move || archive.open()?.probe(&name)).boxed()
    }

    fn manifest<'a>(&'a self, name: &'a Name) -> Answer<'a, RawManifest> {
        let (archive, name) = (self.clone(), name.clone());
        blocking(&self.path, move || archive.open()?.manifest(&name)).boxed()
    }

    fn blob(&self, digest: &Digest, _: u64) -> Result<BlobBody, TransferError> {
        let body = self.open()?.files.body(digest);
        body.ok_or_else(|| TransferError::Absent {
            place: self.shown.clone(),
            what: format!("blob {digest}"),
            there: Vec::new(),
        })
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest, size: u64) -> Answer<'a, bool> {
        let (archive, digest) = (self.clone(), digest.clone());
        blocking(&self.path, move || {
            Ok(archive.open()?.files.has(&digest, size))
        })
        .boxed()
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<Descriptor>> {
        let (archive, subject) = (self.clone(), subject.clone());
        blocking(&self.path, move || {
            let local = archive.open()?;
            let listed = local.subjects()?.remove(&subject).unwrap_or_default();
            Ok(joined(listed, local.stand_in(&subject)))
        })
        .boxed()
    }

    fn put_blob<'a>(&'a self, _: &'a Blob) -> Answer<'a, PushOutcome> {
        async { self.is_written_elsewhere() }.boxed()
    }

    fn put_manifest<'a>(&'a self, _: &'a Document, _: Role<'a>) -> Answer<'a, ()> {
        async { self.is_written_elsewhere() }.boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        async { Ok(()) }.boxed()
    }
}
