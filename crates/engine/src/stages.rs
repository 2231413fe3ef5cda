//! The stages of one build, built side by side: each waits for those it takes from, and for no other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use launchway_dockerfile::{
    Instruction, InstructionKind, ResolvedStage, StageBase, StageGraph, sources,
};

use crate::scope::Scope;
use crate::{EngineError, Image};

/// What a stage came to.
pub(crate) struct StageResult {
    pub(crate) image: Image,
    pub(crate) scope: Scope,
}

/// The stages that are done, for those that wait for them.
#[derive(Default)]
pub(crate) struct Stages {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    done: HashMap<usize, Arc<StageResult>>,
    /// The error that ended the build. What fails after it fails because of it.
    failed: Option<EngineError>,
    over: bool,
}

impl Stages {
    /// Waits for a stage. A build that failed elsewhere, or was cancelled, is told as cancelled.
    pub(crate) fn wait(&self, index: usize) -> Result<Arc<StageResult>, EngineError> {
        let mut state = self.state();
        loop {
            if let Some(result) = state.done.get(&index) {
                return Ok(Arc::clone(result));
            }
            if state.over {
                return Err(EngineError::Cancelled);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says how a stage ended. Returns true for the failure that ends the build.
    pub(crate) fn end(&self, index: usize, result: Result<StageResult, EngineError>) -> bool {
        let mut state = self.state();
        let first = match result {
            Ok(result) => {
                state.done.insert(index, Arc::new(result));
                false
            }
            Err(error) => {
                let first = !state.over;
                // The build may have been cancelled for an error that is told a moment later.
                let told = matches!(&state.failed, Some(told) if !is_cancelled(told));
                if !told {
                    state.failed = Some(error);
                }
                state.over = true;
                first
            }
        };
        self.changed.notify_all();
        first
    }

    /// The result of the target, or why there is none.
    pub(crate) fn finish(self, target: usize) -> Result<Arc<StageResult>, EngineError> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed {
            return Err(error);
        }
        let result = state.done.get(&target).map(Arc::clone);
        Ok(result.expect("every stage ended, and none failed"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the others told when a stage's thread panics, which they would wait for without end.
pub(crate) struct EndOnPanic<'a>(pub(crate) &'a Stages);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().over = true;
            self.0.changed.notify_all();
        }
    }
}

fn is_cancelled(error: &EngineError) -> bool {
    matches!(error, EngineError::Cancelled)
}

/// The stages whose layers become layers of the result.
pub(crate) fn exported_stages(graph: &StageGraph) -> BTreeSet<usize> {
    let mut exported = BTreeSet::new();
    let mut next = graph.stages.last();
    while let Some(stage) = next {
        exported.insert(stage.index);
        next = match &stage.base {
            StageBase::Stage(index) => graph.stages.iter().find(|other| other.index == *index),
            StageBase::Scratch | StageBase::Named(_) | StageBase::External(_) => None,
        };
    }
    exported
}

/// The stages that an instruction takes files from.
pub(crate) fn sources_of(instruction: &Instruction, stage: &ResolvedStage) -> BTreeSet<usize> {
    let bases = sources(instruction).filter_map(|(name, _)| stage.from_sources.get(&**name));
    bases
        .filter_map(|base| match base {
            StageBase::Stage(index) => Some(*index),
            StageBase::Scratch | StageBase::Named(_) | StageBase::External(_) => None,
        })
        .collect()
}

/// What an instruction takes files from and the stage was resolved without.
pub(crate) fn unknown_source<'i>(
    instruction: &'i Instruction,
    stage: &ResolvedStage,
) -> Option<&'i str> {
    sources(instruction)
        .map(|(name, _)| &**name)
        .find(|name| !stage.from_sources.contains_key(*name))
        .map(String::as_str)
}

/// The last instruction of a stage that makes a layer, unless another stage of the build may look at its files.
pub(crate) fn unseen_layer(
    stages: &[ResolvedStage],
    stage: usize,
    instructions: &[&Instruction],
) -> Option<usize> {
    if stages.iter().any(|other| uses(other, stage)) {
        return None;
    }
    instructions
        .iter()
        .rposition(|instruction| makes_layer(instruction))
}

/// Whether a stage begins with another one or takes files from it.
fn uses(stage: &ResolvedStage, other: usize) -> bool {
    let mut all = stage.from_sources.values().chain([&stage.base]);
    all.any(|base| *base == StageBase::Stage(other))
}

/// Whether a step of its own comes of an instruction.
fn makes_layer(instruction: &Instruction) -> bool {
    matches!(
        instruction.kind,
        InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_)
    )
}

#[cfg(test)]
mod tests {
    use launchway_model::Platform;

    use super::*;

    fn result() -> StageResult {
        let platform: Platform = "linux/amd64".parse().unwrap();
        StageResult {
            image: Image::empty(&platform),
            scope: Scope::default(),
        }
    }

    #[test]
    fn a_stage_that_waits_gets_the_one_it_waits_for() {
        let stages = Stages::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stages.wait(0).is_ok());
            stages.end(1, Ok(result()));
            stages.end(0, Ok(result()));
            assert!(waiting.join().unwrap());
        });
        assert!(stages.finish(1).is_ok());
    }

    #[test]
    fn a_failure_ends_all_waiting_and_is_what_is_told() {
        for errors in [
            [EngineError::Cancelled, failure("real")],
            [failure("real"), EngineError::Cancelled],
            [failure("real"), failure("later")],
        ] {
            let stages = Stages::default();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| stages.wait(7));
                let [first, second] = errors;
                assert!(stages.end(0, Err(first)));
                assert!(!stages.end(1, Err(second)));
                assert!(matches!(
                    waiting.join().unwrap(),
                    Err(EngineError::Cancelled)
                ));
            });
            let told = stages.finish(2).err().unwrap();
            assert!(told.to_string().contains("real"), "{told}");
        }
    }

    #[test]
    fn a_panic_ends_all_waiting() {
        let stages = Stages::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stages.wait(7));
            let panicking = scope.spawn(|| {
                let _end = EndOnPanic(&stages);
                panic!("on purpose");
            });
            assert!(panicking.join().is_err());
            assert!(waiting.join().unwrap().is_err());
        });
    }

    fn failure(why: &str) -> EngineError {
        EngineError::Io {
            act: why.to_owned(),
            source: std::io::ErrorKind::Other.into(),
        }
    }
}
