//! Files of the web, for an engine that runs on a blocking thread.

use std::error::Error;
use std::fs::File;

use launchway_engine::{Fetched, Validators, Web};
use launchway_observe::{WebAnswer, WebValidators};
use tokio::runtime::Handle;

pub(crate) struct WebFiles {
    web: launchway_observe::Web,
    runtime: Handle,
}

impl WebFiles {
    /// To be made inside a tokio runtime, and used outside of its async threads.
    pub(crate) fn new() -> Self {
        Self {
            web: launchway_observe::Web::default(),
            runtime: Handle::current(),
        }
    }
}

impl Web for WebFiles {
    fn fetch(
        &self,
        url: &str,
        known: &Validators,
        to: &mut File,
    ) -> Result<Fetched, Box<dyn Error + Send + Sync>> {
        let known = WebValidators {
            etag: known.etag.clone(),
            last_modified: known.last_modified.clone(),
        };
        match self.runtime.block_on(self.web.get(url, &known, to))? {
            WebAnswer::Unchanged => Ok(Fetched::Unchanged),
            WebAnswer::New {
                validators,
                modified,
            } => Ok(Fetched::New {
                validators: Validators {
                    etag: validators.etag,
                    last_modified: validators.last_modified,
                },
                modified,
            }),
        }
    }
}
