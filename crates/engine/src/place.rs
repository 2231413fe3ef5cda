//! Putting what COPY and ADD take where it goes.

use std::path::Path;

use launchway_context::{Filter, Selected};
use launchway_diagnostics::Span;
use launchway_oci::{Stack, Tree};

use crate::archive;
use crate::copy::{CopyOptions, LayerBuilder, Ownership};
use crate::files::{CopyStep, Taken};
use crate::native::Build;
use crate::over::Over;
use crate::problems::{bad_archive, cannot_place};
use crate::{Cancellation, EngineError, web};

/// A directory that becomes the layer, and how it is filled.
pub(crate) struct Place<'p> {
    pub(crate) upper: &'p Path,
    /// The layers that are seen below.
    pub(crate) seen: &'p Stack,
    pub(crate) destination: &'p str,
    pub(crate) options: &'p CopyOptions,
    pub(crate) step: &'p CopyStep<'p>,
    pub(crate) cancellation: &'p Cancellation,
}

impl Place<'_> {
    /// Goes on with what earlier ones have left.
    fn builder<'t>(&self) -> LayerBuilder<'t> {
        let mut builder = LayerBuilder::new(self.upper, self.seen);
        builder.cancellation = self.cancellation.clone();
        builder
    }

    fn unpacks(&self) -> bool {
        unpacks(self.step)
    }
}

/// Whether local archives are unpacked.
fn unpacks(step: &CopyStep<'_>) -> bool {
    step.unpack.unwrap_or(true)
}

/// Whether everything that is taken stays where it is until the layer is packed: no archive, and nothing of the web.
pub(crate) fn can_be_planned(
    tree: &dyn Tree,
    taken: &[Taken],
    step: &CopyStep<'_>,
) -> Result<bool, EngineError> {
    for one in taken {
        match one {
            Taken::Text { .. } => {}
            Taken::Web { .. } | Taken::Repository(_) => return Ok(false),
            Taken::Files { selected, .. } => {
                for one in selected {
                    if unpacks(step)
                        && archive::is_archive(tree, &one.path)
                            .map_err(EngineError::io("read a source of ADD"))?
                    {
                        return Ok(false);
                    }
                }
            }
        }
    }
    Ok(true)
}

/// Places what stays as it is: text, and files that are no archives to unpack.
pub(crate) fn place_plain<'t>(
    builder: &mut LayerBuilder<'t>,
    tree: &'t (dyn Tree + Sync),
    taken: &Taken,
    destination: &str,
    options: &CopyOptions,
    span: Span,
) -> Result<(), EngineError> {
    match taken {
        Taken::Text { name, content } => builder
            .write_file(name, content.as_bytes(), destination, options)
            .map_err(|error| cannot_place(error, span)),
        Taken::Files {
            selected, span: at, ..
        } => {
            for one in selected {
                place_one(builder, tree, one, destination, options, *at)?;
            }
            Ok(())
        }
        Taken::Web { .. } | Taken::Repository(_) => unreachable!("these are fetched first"),
    }
}

fn place_one<'t>(
    builder: &mut LayerBuilder<'t>,
    tree: &'t (dyn Tree + Sync),
    one: &Selected,
    destination: &str,
    options: &CopyOptions,
    at: Span,
) -> Result<(), EngineError> {
    let options = CopyOptions {
        filter: one.filter.clone(),
        ..options.clone()
    };
    builder
        .copy(tree, &one.path, &one.matched, destination, &options)
        .map_err(|error| cannot_place(error, at))
}

impl Build<'_> {
    pub(crate) fn place(
        &self,
        place: &Place<'_>,
        tree: &(dyn Tree + Sync),
        taken: &Taken,
        span: Span,
    ) -> Result<(), EngineError> {
        let (destination, options) = (place.destination, place.options);
        match taken {
            Taken::Text { .. } => place_plain(
                &mut place.builder(),
                tree,
                taken,
                destination,
                options,
                span,
            ),
            Taken::Files {
                selected, span: at, ..
            } => {
                for one in selected {
                    if !(place.unpacks() && self.unpack(place, tree, &one.path, *at)?) {
                        place_one(&mut place.builder(), tree, one, destination, options, *at)?;
                    }
                }
                Ok(())
            }
            Taken::Repository(repository) => {
                let (folder, path) = self.check_out(repository)?;
                // From above, so that the folder itself is seen with its time.
                let above = path.parent().unwrap_or(&path);
                let name = path.strip_prefix(above).unwrap_or(Path::new(""));
                let tree = Over::new(above, Stack::default());
                place
                    .builder()
                    .copy_folder(&tree, name, destination, options)
                    .map_err(|error| cannot_place(error, span))?;
                drop(folder);
                Ok(())
            }
            Taken::Web {
                word,
                download,
                span: at,
            } => {
                let tree = Over::new(self.downloads.folder(), Stack::default());
                // Other than local ones, archives of the web stay as they are unless asked for.
                if place.step.unpack == Some(true)
                    && self.unpack(place, &tree, &download.file, *at)?
                {
                    return Ok(());
                }
                let name = web::file_name(word);
                place
                    .builder()
                    .copy(
                        &tree,
                        &download.file,
                        Path::new(&name),
                        destination,
                        options,
                    )
                    .map_err(|error| cannot_place(error, *at))
            }
        }
    }

    /// Unpacks a source that is an archive; tells whether it is one.
    fn unpack(
        &self,
        place: &Place<'_>,
        tree: &dyn Tree,
        path: &Path,
        at: Span,
    ) -> Result<bool, EngineError> {
        if !archive::is_archive(tree, path).map_err(EngineError::io("read a source of ADD"))? {
            return Ok(false);
        }
        let unpacked = self.engine.store.new_layer()?;
        let owner = match place.options.owner {
            Ownership::Set(uid, gid) if place.step.chown.is_some() => Some((uid, gid)),
            Ownership::Set(..) | Ownership::Keep => None,
        };
        let implied = archive::unpack(tree, path, unpacked.upper(), owner)
            .map_err(|error| bad_archive(&error, at))?;
        let content = Over::new(unpacked.upper(), Stack::default());
        // As in BuildKit, --chmod and --exclude mean nothing to what an archive holds.
        let keep = CopyOptions {
            owner: Ownership::Keep,
            mode: None,
            filter: Filter::default().into(),
            replaces: true,
            implied,
        };
        let directory = format!("{}/", place.destination.trim_end_matches('/'));
        let mut builder = place.builder();
        builder
            .make_directories(&directory, owner.unwrap_or((0, 0)), 0o755)
            .map_err(|error| cannot_place(error, at))?;
        builder
            .copy(&content, Path::new(""), Path::new(""), &directory, &keep)
            .map_err(|error| cannot_place(error, at))?;
        Ok(true)
    }
}
