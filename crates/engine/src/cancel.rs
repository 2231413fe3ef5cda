//! Stopping a build from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use launchway_oci::Stop;
use launchway_sandbox::Killer;

use crate::EngineError;

/// Shared by everyone who may stop a build and everyone who works on it.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whose cancellation counts here, too.
    parent: Option<Cancellation>,
    cancelled: AtomicBool,
    next: AtomicU64,
    running: Mutex<Vec<(u64, Killer)>>,
}

impl Cancellation {
    /// Stops: kills what runs now, and lets nothing new start.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        for (_, handle) in self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            handle.kill();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
            || self.0.parent.as_ref().is_some_and(Self::is_cancelled)
    }

    /// A part that can be stopped alone, and is stopped with the whole.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Inner {
            parent: Some(self.clone()),
            ..Inner::default()
        }))
    }

    /// For the store, which knows nothing of builds.
    pub(crate) fn stop(&self) -> Stop {
        let cancellation = self.clone();
        Stop::when(move || cancellation.is_cancelled())
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.is_cancelled() {
            Err(EngineError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Has a process killed on cancellation for as long as the guard lives.
    pub(crate) fn guard(&self, handle: Killer) -> Guard {
        let above = self.0.parent.as_ref();
        let above = above.map(|parent| Box::new(parent.guard(handle.clone())));
        let id = self.0.next.fetch_add(1, Ordering::SeqCst);
        let killer = handle.clone();
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((id, handle));
        // Looked at last, so that no cancellation falls between.
        if self.is_cancelled() {
            killer.kill();
        }
        Guard {
            of: self.clone(),
            id,
            _above: above,
        }
    }
}

pub(crate) struct Guard {
    of: Cancellation,
    id: u64,
    _above: Option<Box<Guard>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut running = self
            .of
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.retain(|(id, _)| *id != self.id);
    }
}
