//! Pushes of manifests that wait for `index.json` to be written.
//!
//! Writing the index costs two flushes, whatever is in it. So whoever comes to write it writes for
//! all who wait, and they find that it is done: many pushes at once cost as much as a few.

use std::sync::{Arc, Mutex};

use super::repository::{PutManifest, PutManifestError};

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Vec<Waiting>>,
}

pub(super) struct Waiting {
    pub(super) put: PutManifest,
    outcome: Ticket,
}

/// Where the outcome of a push will be.
#[derive(Clone, Default)]
pub(super) struct Ticket(Arc<Mutex<Option<Result<(), PutManifestError>>>>);

impl Queue {
    pub(super) fn enter(&self, put: PutManifest) -> Ticket {
        let outcome = Ticket::default();
        let waiting = Waiting {
            put,
            outcome: outcome.clone(),
        };
        self.lock().push(waiting);
        outcome
    }

    /// All that wait, in the order they came. Whoever takes them settles them.
    pub(super) fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting
            .lock()
            .expect("nothing panics while it holds the queue")
    }
}

impl Waiting {
    pub(super) fn settle(self, outcome: Result<(), PutManifestError>) {
        *self.outcome.lock() = Some(outcome);
    }
}

impl Ticket {
    pub(super) fn take(&self) -> Option<Result<(), PutManifestError>> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Result<(), PutManifestError>>> {
        self.0
            .lock()
            .expect("nothing panics while it holds an outcome")
    }
}
