//! A step is done once, however many builds come to it at the same time.
//!
//! Who comes first has the step's turn and makes the layer; the others wait, and find it in the
//! cache. When the first one fails or dies, the next one goes on. The order in which a build takes
//! what others may wait for is always the same, so nobody waits in a circle: a step's turn, then its
//! cache mounts by their names, then a layer's turn, each of them given back before the next step.

use std::time::{Duration, Instant};

use launchway_model::InputHash;
use launchway_oci::{CommitOptions, Layer, PlannedLayer, Stack, StoreError, Turn, WorkingLayer};

use crate::cache::{Known, Made};
use crate::collect::step_name;
use crate::native::{Build, StageState, StepDone};
use crate::{Cancellation, EngineError, Event, Step};

/// How often a build looks whether what it waits for is free. Short beside any step.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// What came of claiming a step.
pub(crate) enum Claim {
    /// It is done; here is its layer.
    Found(Known),
    /// It is ours to do.
    Ours(Claimed),
}

/// A step that nobody else does as long as this lives.
pub(crate) struct Claimed {
    key: InputHash,
    text: String,
    started: Instant,
    /// Whether what is made is what the key says.
    is_sure: bool,
    _turn: Option<Turn>,
}

impl Build<'_> {
    /// Finds the step's result, or takes its turn. Waits while another build has it.
    pub(crate) fn claim(&self, key: InputHash, step: &Step) -> Result<Claim, EngineError> {
        let ours = |key, turn| {
            Claim::Ours(Claimed {
                key,
                text: step.text.clone(),
                started: Instant::now(),
                is_sure: true,
                _turn: turn,
            })
        };
        // Who wants no cache wants nobody else's result either.
        let options = &self.request.options;
        let unwanted = |name: &String| name.eq_ignore_ascii_case(&step.stage);
        if options.no_cache || options.no_cache_stages.iter().any(unwanted) {
            return Ok(ours(key, None));
        }
        let store = &self.engine.store;
        let find = |key: &InputHash| self.cache.get(key, store);
        if let Some(known) = find(&key) {
            return Ok(Claim::Found(known));
        }
        let turn = wait_for(
            self.cancellation,
            || store.try_turn(&format!("step-{key}")),
            || self.tell_waiting(step, "the same step is under way elsewhere"),
        )?;
        Ok(match find(&key) {
            Some(known) => Claim::Found(known),
            None => ours(key, Some(turn)),
        })
    }

    /// Files of this machine that changed after they were hashed are in the layer as they are now. It is used, but not
    /// found again by what they were.
    pub(crate) fn doubt(&self, claimed: &mut Claimed) {
        claimed.is_sure = false;
        (self.events)(Event::Warning(format!(
            "files changed while `{}` took them; its result is not kept for other builds",
            claimed.text
        )));
    }

    pub(crate) fn tell_waiting(&self, step: &Step, why: &str) {
        (self.events)(Event::Waiting(step.clone(), why.to_owned()));
    }

    /// Makes a layer of what the step did, and remembers it.
    pub(crate) fn commit(
        &self,
        working: WorkingLayer,
        below: &Stack,
        claimed: Claimed,
        state: &StageState<'_>,
        told: String,
    ) -> Result<StepDone, EngineError> {
        let options = self.commit_options(state);
        let store = &self.engine.store;
        store.hold(&step_name(&claimed.key.to_string()))?;
        let layer = store.commit_layer(working, below, &options);
        let layer = layer.map_err(|error| self.unless_stopped(error))?;
        self.remember(layer, &claimed, told)
    }

    /// As [`commit`](Self::commit), of what was put together in memory. Its files are read now, so it is asked afterwards whether
    /// they changed.
    pub(crate) fn commit_planned(
        &self,
        plan: PlannedLayer<'_>,
        below: &Stack,
        mut claimed: Claimed,
        state: &StageState<'_>,
        (told, is_changed): (String, &dyn Fn() -> bool),
    ) -> Result<StepDone, EngineError> {
        let options = self.commit_options(state);
        let store = &self.engine.store;
        store.hold(&step_name(&claimed.key.to_string()))?;
        let layer = store.commit_planned(plan, below, &options, state.files);
        let layer = layer.map_err(|error| self.unless_stopped(error))?;
        if is_changed() {
            self.doubt(&mut claimed);
        }
        self.remember(layer, &claimed, told)
    }

    fn commit_options(&self, state: &StageState<'_>) -> CommitOptions {
        CommitOptions {
            clamp_mtime: self.request.options.epoch,
            compress: state.compress,
            ignore: Vec::new(),
            stop: self.cancellation.stop(),
        }
    }

    /// What went wrong; when a build is stopped, that.
    pub(crate) fn unless_stopped(&self, error: StoreError) -> EngineError {
        self.cancellation.check().err().unwrap_or(error.into())
    }

    fn remember(
        &self,
        layer: Layer,
        claimed: &Claimed,
        told: String,
    ) -> Result<StepDone, EngineError> {
        let created = self.request.options.created.clone();
        if claimed.is_sure {
            let made = Made {
                text: claimed.text.clone(),
                took: claimed.started.elapsed(),
                created: created.clone(),
            };
            self.cache
                .put(&claimed.key, &layer, &made)
                .map_err(EngineError::io("write the step cache"))?;
        }
        Ok(StepDone {
            layer: Some(layer),
            told,
            cached: false,
            created,
        })
    }
}

/// Waits for something that others hold, until it is free or the build is cancelled. `waiting` is
/// called once, when there is something to wait for.
pub(crate) fn wait_for<T, E>(
    cancellation: &Cancellation,
    mut take: impl FnMut() -> Result<Option<T>, E>,
    waiting: impl FnOnce(),
) -> Result<T, EngineError>
where
    EngineError: From<E>,
{
    if let Some(taken) = take()? {
        return Ok(taken);
    }
    waiting();
    loop {
        cancellation.check()?;
        std::thread::sleep(LOOK_EVERY);
        if let Some(taken) = take()? {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_once_and_ends_with_the_build() {
        let cancellation = Cancellation::default();
        let told = std::cell::Cell::new(0);
        let mut left = 3;
        let got = wait_for(
            &cancellation,
            || {
                left -= 1;
                Ok::<_, StoreError>((left == 0).then_some("it"))
            },
            || told.set(told.get() + 1),
        );
        assert_eq!((got.unwrap(), told.get()), ("it", 1));
        let got = wait_for(
            &cancellation,
            || Ok::<_, StoreError>(Some(())),
            || told.set(9),
        );
        assert!(got.is_ok());
        assert_eq!(told.get(), 1, "what is free is not waited for");
        let got = wait_for(
            &cancellation,
            || {
                cancellation.cancel();
                Ok::<_, StoreError>(None::<()>)
            },
            || {},
        );
        assert!(matches!(got, Err(EngineError::Cancelled)));
    }
}
