//! What the engine tells while it works.

use std::time::Duration;

/// A step of a build: `[opencode 2/5] RUN npm install …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the stage, or its number.
    pub stage: String,
    /// Counted from one.
    pub number: usize,
    pub of: usize,
    /// The instruction as written, on one line.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    StepStarted(Step),
    /// What a running step writes, as it comes; not cut into lines.
    Output(Step, Vec<u8>),
    /// The step cannot go on yet: what it waits for. Told once.
    Waiting(Step, String),
    /// The step's result was in the cache.
    StepCached(Step),
    StepDone(Step, Duration),
    StepFailed(Step, Duration),
    /// Something the user should know that does not stop the build.
    Warning(String),
}
