//! An OCI image layout in a directory, read and written in place.
//!
//! Blobs appear under their names when they are whole. `index.json` is replaced at once, under a
//! lock, so several programs of this kind may write to one layout.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use launchway_model::Digest;
use launchway_oci::spec::Descriptor;
use launchway_registry::{BlobBody, PushOutcome};
use rustix::fs::{FlockOperation, flock};

use crate::blob::{blocking, pour, write_checked};
use crate::error::At as _;
use crate::files::{Files, blob_name};
use crate::index_file::{EntryName, IndexFile};
use crate::local::{Local, joined};
use crate::place::{Answer, Blob, Place, Role};
use crate::{Document, Name, TransferError};

const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

type Subjects = Arc<BTreeMap<Digest, Vec<Descriptor>>>;

/// A layout directory; it need not exist before something is put into it.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    shown: String,
    /// What refers to what, once it was looked up.
    subjects: Arc<Mutex<Option<Subjects>>>,
}

impl Layout {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            shown: format!("oci:{}", folder.display()),
            folder,
            subjects: Arc::default(),
        }
    }

    fn files(&self) -> Files {
        Files::Directory(self.folder.clone())
    }

    fn open(&self) -> Result<Local, TransferError> {
        Local::open(self.shown.clone(), self.files())
    }

    /// Makes the layout where there is none.
    fn make(&self) -> Result<(), TransferError> {
        let marker = self.folder.join("oci-layout");
        if marker.is_file() {
            return Ok(());
        }
        // Others may be making the same layout now.
        let is_other = |name: &str| {
            !name.starts_with('.') && !matches!(name, "oci-layout" | "index.json" | "blobs")
        };
        let holds_other = fs::read_dir(&self.folder).is_ok_and(|all| {
            all.flatten()
                .any(|entry| is_other(&entry.file_name().to_string_lossy()))
        });
        if holds_other {
            return Err(TransferError::Local {
                path: self.folder.clone(),
                reason: "it is a folder with other things in it, and no OCI image layout"
                    .to_owned(),
                help: "name an empty folder, or one that does not exist".to_owned(),
            });
        }
        fs::create_dir_all(&self.folder).at("make", &self.folder)?;
        self.replace("oci-layout", MARKER)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), TransferError> {
        let (part, mut file) = Temporary::within(&self.folder)?;
        file.write_all(bytes).at("write", &part.0)?;
        part.become_file(&self.folder.join(name))
    }

    fn put_document(&self, document: &Document, role: Named) -> Result<(), TransferError> {
        self.make()?;
        let target = self.folder.join(blob_name(document.digest()));
        if !self
            .files()
            .has(document.digest(), document.raw.bytes.len() as u64)
        {
            let (part, mut file) = Temporary::within(&self.folder)?;
            file.write_all(&document.raw.bytes).at("write", &part.0)?;
            part.become_file(&target)?;
        }
        let is_listed = role.listed || document.subject().is_some();
        if !is_listed {
            return Ok(());
        }
        let door = File::open(&self.folder).at("open", &self.folder)?;
        flock(&door, FlockOperation::LockExclusive).at("lock", &self.folder)?;
        let path = self.folder.join("index.json");
        let mut index = match self.files().small("index.json")? {
            None => IndexFile::empty(),
            Some(bytes) => IndexFile::read(&bytes).map_err(|reason| TransferError::Local {
                path: path.clone(),
                reason,
                help: String::new(),
            })?,
        };
        index.put(&document.descriptor(), role.name.as_ref());
        self.replace("index.json", &index.bytes())?;
        *self.subjects.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

/// What a document is entered into the index as.
struct Named {
    listed: bool,
    name: Option<EntryName>,
}

impl Place for Layout {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn probe<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<Digest>> {
        let (layout, name) = (self.clone(), name.clone());
        blocking(&self.folder, move || {
            if !layout.folder.join("index.json").is_file() {
                return Ok(None);
            }
            layout.open()?.probe(&name)
        })
        .boxed()
    }

    fn manifest<'a>(&'a self, name: &'a Name) -> Answer<'a, launchway_registry::RawManifest> {
        let (layout, name) = (self.clone(), name.clone());
        blocking(&self.folder, move || layout.open()?.manifest(&name)).boxed()
    }

    fn blob(&self, digest: &Digest, _: u64) -> Result<BlobBody, TransferError> {
        self.files()
            .body(digest)
            .ok_or_else(|| TransferError::Absent {
                place: self.shown.clone(),
                what: format!("blob {digest}"),
                there: Vec::new(),
            })
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest, size: u64) -> Answer<'a, bool> {
        async move { Ok(self.files().has(digest, size)) }.boxed()
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<Descriptor>> {
        let (layout, subject) = (self.clone(), subject.clone());
        blocking(&self.folder, move || {
            let local = layout.open()?;
            let known = layout
                .subjects
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let subjects = match known {
                Some(subjects) => subjects,
                None => {
                    let found = Arc::new(local.subjects()?);
                    let mut slot = layout
                        .subjects
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *slot = Some(Arc::clone(&found));
                    found
                }
            };
            let listed = subjects.get(&subject).cloned().unwrap_or_default();
            Ok(joined(listed, local.stand_in(&subject)))
        })
        .boxed()
    }

    fn put_blob<'a>(&'a self, blob: &'a Blob) -> Answer<'a, PushOutcome> {
        async move {
            if self.files().has(&blob.digest, blob.size) {
                return Ok(PushOutcome::AlreadyThere);
            }
            let (layout, digest) = (self.clone(), blob.digest.clone());
            pour(blob, move |incoming| {
                layout.make()?;
                let (part, file) = Temporary::within(&layout.folder)?;
                write_checked(incoming, file, &part.0, &digest)?;
                part.become_file(&layout.folder.join(blob_name(&digest)))
            })
            .await??;
            Ok(PushOutcome::Uploaded)
        }
        .boxed()
    }

    fn put_manifest<'a>(&'a self, document: &'a Document, role: Role<'a>) -> Answer<'a, ()> {
        let named = Named {
            listed: role != Role::Part,
            name: match role {
                Role::Tagged(tag) => Some(EntryName {
                    tag: tag.to_owned(),
                    full: None,
                }),
                Role::Part | Role::Root => None,
            },
        };
        let (layout, document) = (self.clone(), document.clone());
        blocking(&self.folder, move || layout.put_document(&document, named)).boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        async { Ok(()) }.boxed()
    }
}

/// A file that is removed unless it gets its final name.
#[derive(Debug)]
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    /// A new file in a folder, under a name that nobody else takes. The number of a process would
    /// not do: containers that share a folder each count their processes from 1.
    pub(crate) fn within(folder: &Path) -> Result<(Self, File), TransferError> {
        // The standard library seeds its hash maps at random.
        let random = RandomState::new().hash_one(0_u8);
        let path = folder.join(format!(".launchway-{random:016x}.part"));
        let file = File::create_new(&path).at("make", &path)?;
        Ok((Self(path), file))
    }

    /// Gives the file its final name. The folder is made when it is missing.
    pub(crate) fn become_file(self, target: &Path) -> Result<(), TransferError> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).at("make", folder)?;
        }
        fs::rename(&self.0, target).at("move a file to", target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Mostly it was renamed and is gone.
        let _ = fs::remove_file(&self.0);
    }
}
