//! Writing the results of a build to where `--output` says. A file appears when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use launchway_engine::Cancellation;
use launchway_model::Reference;
use launchway_oci::{
    ArchiveImage, ExportedFiles, Stale, Store, StoreError, write_archive, write_files_to_folder,
    write_files_to_tar, write_layout,
};
use launchway_release::single::{PackedImage, SingleImage};

use super::Result;
use super::output::{Output, Sink, Target};
use crate::failure::Failure;
use crate::toolbox;

/// What is looked at before anything is built, so that nobody waits for a build that cannot be
/// written.
pub(super) fn check(outputs: &[Output], json: bool, may_delete: bool) -> Result {
    let to_stdout = outputs
        .iter()
        .filter(|output| output.to.is_stdout())
        .count();
    if to_stdout > 1 {
        return Err(Failure::usage(
            "several outputs go to stdout",
            "give all but one of them a file: dest=FILE",
        ));
    }
    if to_stdout == 1 {
        if json {
            return Err(Failure::usage(
                "an output and the events of --format json both go to stdout",
                "write the output to a file: dest=FILE",
            ));
        }
        if io::stdout().is_terminal() {
            return Err(Failure::usage(
                "an archive is not written to a terminal",
                "name a file with dest=FILE, or pipe stdout into another program",
            ));
        }
    }
    for output in outputs {
        match &output.to {
            Target::Tar {
                to: Sink::File(path),
                ..
            }
            | Target::Archive {
                to: Sink::File(path),
                ..
            } => check_file(path)?,
            Target::Local { folder, stale, .. } => {
                check_folder(folder)?;
                if *stale == Stale::Remove && !may_delete && !is_below_here(folder) {
                    return Err(Failure::usage(
                        format!(
                            "mode=delete would remove what else is in {}, which is not below the current \
                             directory",
                            folder.display()
                        ),
                        "say that it may with --allow=buildx.local.delete",
                    ));
                }
            }
            Target::Layout { folder, .. } => check_folder(folder)?,
            Target::Tar { .. }
            | Target::Archive { .. }
            | Target::Image { .. }
            | Target::CacheOnly => {}
        }
    }
    Ok(())
}

/// Whether a folder, which need not be there yet, is in the current directory, and not that itself.
fn is_below_here(folder: &Path) -> bool {
    let (Ok(here), Ok(folder)) = (std::env::current_dir(), std::path::absolute(folder)) else {
        return false;
    };
    let Ok(here) = here.canonicalize() else {
        return false;
    };
    let mut inside = false;
    for above in folder.ancestors() {
        if let Ok(found) = above.canonicalize() {
            return found.starts_with(&here) && (found != here || inside);
        }
        match above.components().next_back() {
            Some(Component::Normal(_)) => inside = true,
            _ => return false,
        }
    }
    false
}

fn check_folder(folder: &Path) -> Result {
    if folder.exists() && !folder.is_dir() {
        return Err(Failure::usage(
            format!("{} is no folder", folder.display()),
            "name a folder, or an output that is one file: type=tar,dest=FILE",
        ));
    }
    Ok(())
}

pub(super) fn check_file(path: &Path) -> Result {
    if path.is_dir() {
        return Err(Failure::usage(
            format!("{} is a folder", path.display()),
            "name a file, or an output that is a folder: type=local,dest=DIR",
        ));
    }
    let folder = parent(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Failure::usage(
        format!(
            "{} cannot be written: there is no folder {}",
            path.display(),
            folder.display()
        ),
        "make the folder first",
    ))
}

/// The file that is replaced when a result is written to a path, which need not be there yet: a link
/// stays what it is, and what it leads to is written. None for what can only be written to: pipes,
/// devices, and what a process has open, such as /dev/stdout, whatever that is.
pub(super) fn replaceable(path: &Path) -> Option<PathBuf> {
    const MOST: usize = 40;
    let mut real = path.to_owned();
    for _ in 0..MOST {
        if real.starts_with("/proc") || real.starts_with("/dev/fd") {
            return None;
        }
        let Ok(target) = fs::read_link(&real) else {
            break;
        };
        real = parent(&real).join(target);
    }
    match fs::metadata(&real) {
        Ok(found) if !found.is_file() => None,
        _ => Some(real),
    }
}

/// Writes a file, whole or not at all where that can be done.
pub(super) fn write_file<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let Some(real) = replaceable(path) else {
        return write(&mut File::options().write(true).open(path)?);
    };
    // Removed unless it is given its name.
    let mut partial = tempfile::Builder::new()
        .prefix(PARTIAL)
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(parent(&real))?;
    write(partial.as_file_mut())?;
    partial.persist(&real).map_err(|error| error.error)?;
    Ok(())
}

/// How everything is called that is not whole yet.
const PARTIAL: &str = ".launchway-";

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What the outputs are written from.
pub(super) struct Built<'a> {
    pub(super) image: &'a SingleImage,
    /// There when an output needs it.
    pub(super) packed: Option<&'a PackedImage>,
    /// Those of --tag.
    pub(super) names: &'a [Reference],
    pub(super) store: &'a Store,
    /// All file times of `tar` and `local`.
    pub(super) epoch: Option<i64>,
    pub(super) cancellation: &'a Cancellation,
}

impl Built<'_> {
    pub(super) fn write(&self, output: &Output) -> Result {
        match &output.to {
            Target::Tar { to, split } => {
                let files = self.files(*split);
                self.to_sink(to, &mut |out| write_files_to_tar(&files, self.epoch, out))
            }
            Target::Local {
                folder,
                split,
                stale,
            } => self.to_folder(folder, *split, *stale),
            Target::Archive { to, names } => {
                let images = self.archive_images(names);
                self.to_sink(to, &mut |out| write_archive(self.store, &images, out))
            }
            Target::Layout { folder, names } => {
                write_layout(self.store, &self.archive_images(names), folder)
                    .map_err(|error| self.failed(&folder.display(), &error))
            }
            Target::Image { .. } | Target::CacheOnly => Ok(()),
        }
    }

    fn failed(&self, what: &dyn std::fmt::Display, error: &dyn std::error::Error) -> Failure {
        if self.cancellation.is_cancelled() {
            return Failure::interrupted();
        }
        Failure::caused(format!("cannot write {what}"), error)
    }

    /// The image under the names that its output gives it, or else under those of --tag; in full, or `docker load` would
    /// give it a name that nothing finds.
    fn archive_images(&self, own: &[Reference]) -> Vec<ArchiveImage> {
        let descriptor = self.packed.map(|packed| packed.descriptor.clone());
        let names = if own.is_empty() { self.names } else { own };
        let names = names.iter().map(toolbox::image_name).collect();
        descriptor
            .map(|descriptor| ArchiveImage { descriptor, names })
            .into_iter()
            .collect()
    }

    /// The files of every platform: those of an index have a folder each, others lie at the top.
    fn files(&self, split: bool) -> Vec<ExportedFiles> {
        let images = self.image.images();
        let split = split && self.image.is_index();
        images
            .iter()
            .map(|(platform, image)| ExportedFiles {
                folder: split.then(|| platform.to_string().replace('/', "_").into()),
                files: image.stack(),
            })
            .collect()
    }

    fn to_sink(
        &self,
        sink: &Sink,
        write: &mut dyn FnMut(&mut dyn Write) -> std::result::Result<(), StoreError>,
    ) -> Result {
        let mut through = |inner: &mut dyn Write| {
            let watched = Watched {
                inner,
                cancellation: self.cancellation,
            };
            let mut out = BufWriter::with_capacity(1 << 20, watched);
            write(&mut out)
        };
        match sink {
            Sink::Stdout => {
                through(&mut io::stdout().lock()).map_err(|error| self.failed(&"to stdout", &error))
            }
            Sink::File(path) => write_file(path, |file| through(file).map_err(Unwritten::Store))
                .map_err(|error| match error {
                    Unwritten::Store(error) => self.failed(&path.display(), &error),
                    Unwritten::File(error) => self.failed(&path.display(), &error),
                }),
        }
    }

    fn to_folder(&self, folder: &Path, split: bool, stale: Stale) -> Result {
        let files = self.files(split);
        let stop = || self.cancellation.is_cancelled();
        let fill = |target: &Path| write_files_to_folder(&files, self.epoch, target, stale, &stop);
        let failed = |error: &dyn std::error::Error| self.failed(&folder.display(), error);
        if folder.is_dir() {
            return fill(folder).map_err(|error| failed(&error));
        }
        // A folder that is not there appears when all is in it.
        let above = parent(folder);
        let mut make = fs::DirBuilder::new();
        make.recursive(true).mode(0o700);
        make.create(above).map_err(|error| failed(&error))?;
        let partial = tempfile::Builder::new()
            .prefix(PARTIAL)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(above)
            .map_err(|error| failed(&error))?;
        fill(partial.path()).map_err(|error| failed(&error))?;
        fs::rename(partial.path(), folder).map_err(|error| failed(&error))?;
        // Under its new name nobody removes it.
        let _ = partial.keep();
        Ok(())
    }
}

/// Why there is no file.
enum Unwritten {
    File(io::Error),
    Store(StoreError),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Stops writing when somebody cancels.
struct Watched<'a> {
    inner: &'a mut dyn Write,
    cancellation: &'a Cancellation,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancellation.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
