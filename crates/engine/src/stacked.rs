//! The root file system of a step or a run, stacked in the way this machine allows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use launchway_oci::{Stack, WorkingLayer};
use launchway_sandbox::{MOST_LAYERS, RunSpec, Stacking};

use crate::native::NativeEngine;
use crate::{EngineError, Event};

/// How layers are stacked, and what the user has to be told about it and about the machine.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) stacking: Stacking,
    /// Taken out when they are told.
    notices: Mutex<Vec<String>>,
    /// That there are too many layers was told.
    many_told: AtomicBool,
}

impl Way {
    pub(crate) fn new(stacking: Stacking, notices: Vec<String>) -> Self {
        Self {
            stacking,
            notices: Mutex::new(notices),
            many_told: AtomicBool::new(false),
        }
    }

    /// Tells each notice once, however many builds there are.
    pub(crate) fn tell(&self, events: &(dyn Fn(Event) + Sync)) {
        let notices =
            std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner));
        for notice in notices {
            events(Event::Warning(notice));
        }
    }
}

/// Directories for one run. Dropping it removes what was changed.
pub(crate) struct Stacked {
    pub(crate) working: Option<WorkingLayer>,
    lower: Vec<PathBuf>,
    stacking: Stacking,
}

impl Stacked {
    /// The description of a run over it.
    pub(crate) fn spec(&self, argv: Vec<std::ffi::OsString>) -> RunSpec {
        RunSpec {
            stacking: self.stacking.clone(),
            upper: self.working.as_ref().map(|layer| layer.upper().to_owned()),
            work: self.working.as_ref().map(|layer| layer.work().to_owned()),
            ..RunSpec::new(self.lower.clone(), argv)
        }
    }
}

impl NativeEngine {
    /// For a step, whose changes become a layer.
    pub(crate) fn stack_to_change(
        &self,
        below: &Stack,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Stacked, EngineError> {
        let stacking = self.way_for(below, events);
        let (working, lower) = match stacking {
            Stacking::Overlay => (self.store.new_layer_on(below)?, self.lower(below)?),
            Stacking::Fuse { .. } => (
                self.store.new_layer_on(below)?.for_fuse(),
                self.lower(below)?,
            ),
            Stacking::Copy => (self.store.new_layer_with_all_of(below)?, Vec::new()),
        };
        Ok(Stacked {
            working: Some(working),
            lower,
            stacking,
        })
    }

    /// For a run whose changes are thrown away.
    pub(crate) fn stack_to_look_at(&self, below: &Stack) -> Result<Stacked, EngineError> {
        match self.way_for(below, &|_| {}) {
            Stacking::Overlay => Ok(Stacked {
                working: None,
                lower: self.lower(below)?,
                stacking: Stacking::Overlay,
            }),
            Stacking::Fuse { .. } | Stacking::Copy => self.stack_to_change(below, &|_| {}),
        }
    }

    fn way_for(&self, below: &Stack, events: &(dyn Fn(Event) + Sync)) -> Stacking {
        let layers = below.lower_dirs().len();
        if self.way.stacking != Stacking::Overlay || layers <= MOST_LAYERS {
            return self.way.stacking.clone();
        }
        if !self.way.many_told.swap(true, Ordering::Relaxed) {
            events(Event::Warning(format!(
                "{layers} layers are more than overlayfs stacks ({MOST_LAYERS}): from here on each step works in a copy of the \
                 whole file system, which is slow; join RUN steps, or start from an image with fewer layers"
            )));
        }
        Stacking::Copy
    }

    /// The directories of layers that a part of can be mounted, the topmost first; `None` where the kernel does not stack
    /// them.
    pub(crate) fn mountable(&self, stack: &Stack) -> Result<Option<Vec<PathBuf>>, EngineError> {
        let can = self.way.stacking == Stacking::Overlay && stack.lower_dirs().len() <= MOST_LAYERS;
        can.then(|| self.lower(stack)).transpose()
    }

    /// The directories to stack, the topmost first. There has to be one.
    fn lower(&self, stack: &Stack) -> Result<Vec<PathBuf>, EngineError> {
        stack.unpack()?;
        let mut lower = stack.lower_dirs();
        if lower.is_empty() {
            let empty = self.state.join("empty");
            std::fs::create_dir_all(&empty)
                .map_err(EngineError::io("create an empty directory"))?;
            lower.push(empty);
        }
        Ok(lower)
    }
}
