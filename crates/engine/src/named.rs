//! What named contexts stand for, and the trees that `--from` and `from=` read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use launchway_context::{
    Context, ContextError, Selected, digest_until, select, select_with_parents,
};
use launchway_diagnostics::{Diagnostic, Span};
use launchway_dockerfile::StageBase;
use launchway_model::Platform;
use launchway_oci::{CommitOptions, Stack, Tree, spec};

use crate::cache::{Known, Made};
use crate::copy::{CopyOptions, LayerBuilder};
use crate::native::Build;
use crate::problems::{cannot_place, unreadable};
use crate::{EngineError, Image, codes};

/// What a name in FROM, `--from` or `from=` stands for.
#[derive(Clone, Debug)]
pub enum NamedSource {
    Image(Box<Image>),
    /// Files of this machine. FROM makes an image of them that has no configuration of its own.
    Folder(Arc<Context>),
}

/// Where what names stand for comes from. Asked only for names that the build uses.
pub trait NamedSources: Sync {
    /// What a named context is for one platform, ready in the engine's store.
    fn source(&self, name: &str, platform: &Platform) -> Result<NamedSource, EngineError>;
}

/// Images of one platform.
impl NamedSources for BTreeMap<String, Image> {
    fn source(&self, name: &str, _platform: &Platform) -> Result<NamedSource, EngineError> {
        match self.get(name) {
            Some(image) => Ok(NamedSource::Image(Box::new(image.clone()))),
            None => Err(EngineError::Image {
                reference: name.to_owned(),
                source: "no such named context".into(),
            }),
        }
    }
}

/// A tree that files are taken from by `--from` or `from=`.
pub(crate) enum SourceTree {
    Layers(Stack),
    Folder(Arc<Context>),
}

impl SourceTree {
    pub(crate) fn tree(&self) -> &(dyn Tree + Sync) {
        match self {
            Self::Layers(stack) => stack,
            Self::Folder(context) => &**context,
        }
    }

    /// As [`Context::changes`]. Layers never change.
    pub(crate) fn changes(&self) -> u64 {
        match self {
            Self::Layers(_) => 0,
            Self::Folder(context) => context.changes(),
        }
    }

    pub(crate) fn select(
        &self,
        pattern: &str,
        excludes: &[String],
    ) -> Result<Vec<Selected>, ContextError> {
        match self {
            Self::Layers(stack) => select(stack, pattern, excludes),
            Self::Folder(context) => context.select(pattern, excludes),
        }
    }

    pub(crate) fn select_with_parents(
        &self,
        source: &str,
        excludes: &[String],
    ) -> Result<Vec<Selected>, ContextError> {
        match self {
            Self::Layers(stack) => select_with_parents(stack, source, excludes),
            Self::Folder(context) => context.select_with_parents(source, excludes),
        }
    }
}

impl Build<'_> {
    /// The tree that a `--from` or `from=` names.
    pub(crate) fn source_tree(
        &self,
        base: &StageBase,
        platform: &Platform,
        span: Span,
    ) -> Result<SourceTree, EngineError> {
        if let StageBase::Named(name) = base
            && let NamedSource::Folder(context) = self.named_source(name, platform, span)?
        {
            return Ok(SourceTree::Folder(context));
        }
        let image = self.source_image(base, platform, span)?;
        Ok(SourceTree::Layers(image.stack()))
    }

    pub(crate) fn named_source(
        &self,
        name: &str,
        platform: &Platform,
        span: Span,
    ) -> Result<NamedSource, EngineError> {
        self.request
            .named
            .source(name, platform)
            .map_err(|error| unavailable(error, "named context", platform, span))
    }

    /// The image that FROM makes of a folder: one layer with its files, and nothing else said.
    pub(crate) fn image_of_folder(
        &self,
        name: &str,
        context: &Context,
        platform: &Platform,
        span: Span,
    ) -> Result<Image, EngineError> {
        let mut image = Image::empty(platform);
        image.config.config.working_dir = Some("/".to_owned());
        let all = context
            .select("/", &[])
            .map_err(|error| unreadable(&error))?;
        let content = digest_until(context, &all, &|| self.cancellation.is_cancelled())
            .map_err(|error| unreadable(&error))?;
        let mut key = self.key("folder", &[]);
        key.field("content", content.hash.as_bytes());
        if context.keeps_owners() {
            crate::files::hash_owners(&mut key, context, &all)?;
        }
        let key = key.finish();
        let hashed = context.changes();
        let known = (!self.request.options.no_cache)
            .then(|| self.cache.get(&key, &self.engine.store))
            .flatten();
        let created = self.request.options.created.clone();
        let Known { layer, created } = if let Some(known) = known {
            known
        } else {
            let started = Instant::now();
            let working = self.engine.store.new_layer()?;
            let mut builder = LayerBuilder::new(working.upper(), &Stack::default());
            builder.cancellation = self.cancellation.clone();
            builder
                .copy(
                    context,
                    Path::new(""),
                    Path::new(""),
                    "/",
                    &CopyOptions::keep_all(),
                )
                .map_err(|error| cannot_place(error, span))?;
            let options = CommitOptions {
                clamp_mtime: self.request.options.epoch,
                compress: self.request.options.compress,
                ignore: Vec::new(),
                stop: self.cancellation.stop(),
            };
            let store = &self.engine.store;
            let layer = store.commit_layer(working, &Stack::default(), &options);
            let layer = layer.map_err(|error| self.unless_stopped(error))?;
            let made = Made {
                text: format!("FROM {name}"),
                took: started.elapsed(),
                created: created.clone(),
            };
            // What changed since it was hashed is not found again by what it was.
            if context.changes() == hashed {
                self.cache
                    .put(&key, &layer, &made)
                    .map_err(EngineError::io("write the step cache"))?;
            }
            Known { layer, created }
        };
        if layer.entries > 0 {
            let diff_id = layer.diff_id.to_string();
            image.config.rootfs.diff_ids.push(diff_id);
            image.config.history.push(spec::History {
                created: self.time_of_step(created),
                created_by: Some(format!("FROM {name}")),
                author: None,
                comment: Some("launchway".to_owned()),
                empty_layer: None,
            });
            image.layers.push(layer);
        }
        Ok(image)
    }
}

/// What could not be had, with its place.
pub(crate) fn unavailable(
    error: EngineError,
    what: &str,
    platform: &Platform,
    span: Span,
) -> EngineError {
    let EngineError::Image { reference, source } = error else {
        return error;
    };
    let mut diagnostic = Diagnostic::error(
        codes::IMAGE_UNAVAILABLE,
        format!("cannot get the {what} {reference} for {platform}"),
    )
    .at(span, "named here");
    let mut cause: Option<&dyn std::error::Error> = Some(source.as_ref());
    while let Some(error) = cause {
        diagnostic = diagnostic.note(error.to_string());
        cause = error.source();
    }
    diagnostic.into()
}
