//! Building a stage graph, stage by stage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use launchway_context::Context;
use launchway_diagnostics::Span;
use launchway_dockerfile::{
    Dockerfile, Instruction, InstructionKind, ResolvedStage, RunNetwork, StageBase, StageGraph,
};
use launchway_git::Repositories;
use launchway_model::{ContentHasher, ExtraHost, Platform, StepLimits};
use launchway_oci::{Compression, Files, Layer, Stack, Store, spec};
use launchway_sandbox::{Sandbox, Stacking};
use launchway_ssh::Agents;

use crate::cache::{Known, StepCache, step_key};
use crate::collect::{know_files, save_known_files};
use crate::configure::{SetHere, configure, env_pairs, set_env};
use crate::created::fill_in;
use crate::image::KnownImages;
use crate::named::{NamedSource, NamedSources, unavailable};
use crate::run::check_networks;
use crate::scope::{PROXY_ARGS, Scope};
use crate::stacked::Way;
use crate::stages::{
    EndOnPanic, StageResult, Stages, exported_stages, sources_of, unknown_source, unseen_layer,
};
use crate::triggers::{parse_trigger, unknown_trigger};
use crate::web::Downloads;
use crate::{Cancellation, EngineError, Event, HostCa, Image, Images, Step, Web};

/// The search path of an image that sets none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of a stage's stack, of which only what is used takes memory: trees are walked by going down, and paths
/// have room for two thousand directories in each other.
const STACK: usize = 16 << 20;

/// Secrets by their id.
pub type Secrets = BTreeMap<String, Vec<u8>>;

/// The embedded builder over one store.
#[derive(Clone)]
pub struct NativeEngine {
    pub(crate) store: Store,
    pub(crate) sandbox: Sandbox,
    /// Step cache and cache mounts live here.
    pub(crate) state: PathBuf,
    pub(crate) way: Arc<Way>,
    pub(crate) repositories: Repositories,
}

/// One build of one target for one platform.
pub struct BuildRequest<'a> {
    pub file: &'a Dockerfile,
    pub graph: &'a StageGraph,
    pub context: &'a Context,
    pub build_args: &'a BTreeMap<String, String>,
    /// What names in FROM and `--from` stand for.
    pub named: &'a dyn NamedSources,
    pub images: &'a dyn Images,
    pub web: &'a dyn Web,
    pub secrets: &'a Secrets,
    /// Agents of ssh by their ids.
    pub agents: &'a Agents,
    pub options: &'a BuildOptions,
}

/// How to build, apart from what.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    pub host_ca: Option<HostCa>,
    /// Seconds since 1970: file times later than this become this (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
    /// Whether the epoch was asked for. Then steps are taken from the cache only when they were made
    /// with the same one; an epoch that follows the commit would empty the cache with every commit.
    pub epoch_is_asked: bool,
    /// The creation time that the image states, RFC 3339.
    pub created: Option<String>,
    /// That time is only when this build began. Then steps from the cache state when they were made, and the
    /// image is as old as its last step.
    pub created_by_steps: bool,
    pub no_cache: bool,
    /// The same for these stages alone, by name or number.
    pub no_cache_stages: BTreeSet<String>,
    /// ADD takes URLs without a checksum: what they give may differ from one build to the next.
    pub unpinned_urls: bool,
    /// What `RUN --network=default` means.
    pub network: launchway_sandbox::Network,
    /// `RUN --network=host` is allowed. A Dockerfile cannot give itself what its user closed.
    pub host_network: bool,
    /// How long one RUN step may take.
    pub timeout: Option<Duration>,
    /// What else one RUN step may use.
    pub limits: StepLimits,
    /// More hosts that RUN steps know by name.
    pub extra_hosts: Vec<ExtraHost>,
    /// RUN steps gain no rights by setuid programs; `sudo` does not work then.
    pub no_new_privileges: bool,
    /// Layers of the target are compressed as they are made.
    pub compress: Option<Compression>,
    pub labels: BTreeMap<String, String>,
}

impl NativeEngine {
    /// An engine whose cache lives below `state`. git finds programs and the network by `environment`.
    pub fn open(
        store: Store,
        sandbox: Sandbox,
        state: &Path,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, EngineError> {
        let repositories = Repositories::open(&state.join("repositories"), environment)
            .map_err(EngineError::io(format!("create {}", state.display())))?;
        Ok(Self {
            store,
            sandbox,
            state: state.to_owned(),
            way: Arc::default(),
            repositories,
        })
    }

    /// How layers are stacked here, and what is to be told with the first build.
    #[must_use]
    pub fn stacking(mut self, stacking: Stacking, notices: Vec<String>) -> Self {
        self.way = Arc::new(Way::new(stacking, notices));
        self
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Builds the target of the graph. Blocks until done, failed or cancelled.
    pub fn build(
        &self,
        request: &BuildRequest<'_>,
        cancellation: &Cancellation,
        events: &(dyn Fn(Event) + Sync),
    ) -> Result<Image, EngineError> {
        self.way.tell(events);
        for stage in request.graph.stages.iter().filter(|stage| !stage.replaced) {
            let own = &request.file.stages[stage.index].instructions;
            check_networks(stage.triggers.iter().chain(own), request.options)?;
        }
        let cache = StepCache::open(&self.state).map_err(EngineError::io("open the step cache"))?;
        let downloads = Downloads::open(&self.state, self.store.clone())
            .map_err(EngineError::io("open the downloads"))?;
        know_files(request.context, &self.state);
        // A stage that fails stops the others, not whoever may stop this build and others.
        let stop = cancellation.child();
        let build = Build {
            engine: self,
            downloads,
            request,
            cancellation: &stop,
            events,
            cache,
            images: KnownImages::new(request.images),
            stages: Stages::default(),
            exported: exported_stages(request.graph),
        };
        std::thread::scope(|scope| {
            for resolved in &request.graph.stages {
                let build = &build;
                let work = move || {
                    let _end = EndOnPanic(&build.stages);
                    if build.stages.end(resolved.index, build.stage(resolved)) {
                        build.cancellation.cancel();
                    }
                };
                let thread = std::thread::Builder::new().stack_size(STACK);
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    let error = EngineError::io("start a thread for a stage")(error);
                    build.stages.end(resolved.index, Err(error));
                    build.cancellation.cancel();
                }
            }
        });
        save_known_files(request.context, &self.store);
        let target = request.graph.stages.last().map(|stage| stage.index);
        let result = build
            .stages
            .finish(target.expect("a graph holds its target"))?;
        let mut image = result.image.clone();
        if !request.options.labels.is_empty() {
            image
                .config
                .config
                .labels
                .get_or_insert_default()
                .extend(request.options.labels.clone());
        }
        if request.options.created_by_steps {
            fill_in(&mut image.config);
        } else {
            image.config.created.clone_from(&request.options.created);
        }
        Ok(image)
    }
}

/// A build under way.
pub(crate) struct Build<'a> {
    pub(crate) engine: &'a NativeEngine,
    pub(crate) request: &'a BuildRequest<'a>,
    pub(crate) cancellation: &'a Cancellation,
    pub(crate) events: &'a (dyn Fn(Event) + Sync),
    pub(crate) cache: StepCache,
    pub(crate) downloads: Downloads,
    images: KnownImages<'a>,
    stages: Stages,
    exported: BTreeSet<usize>,
}

/// A stage under way.
pub(crate) struct StageState<'a> {
    pub(crate) resolved: &'a ResolvedStage,
    pub(crate) image: Image,
    pub(crate) scope: Scope,
    pub(crate) compress: Option<Compression>,
    /// When the files of the layer at hand are made.
    pub(crate) files: Files,
    here: SetHere,
}

impl StageState<'_> {
    pub(crate) fn stack(&self) -> Stack {
        self.image.stack()
    }

    pub(crate) fn platform(&self) -> &Platform {
        &self.resolved.platform
    }

    /// Takes a finished step in. Its layer counts also when it changed nothing, as in BuildKit: then
    /// how many layers an image has follows from its Dockerfile, whatever the steps found to do.
    fn add(&mut self, done: StepDone, created: Option<String>) {
        let empty = done.layer.is_none();
        if let Some(layer) = done.layer {
            let diff_id = layer.diff_id.to_string();
            self.image.config.rootfs.diff_ids.push(diff_id);
            self.image.layers.push(layer);
        }
        self.remember(done.told, empty, created);
    }

    fn remember(&mut self, told: String, empty: bool, created: Option<String>) {
        self.image.config.history.push(spec::History {
            created,
            created_by: Some(told),
            author: None,
            comment: Some("launchway".to_owned()),
            empty_layer: empty.then_some(true),
        });
    }
}

impl<'a> Build<'a> {
    fn stage(&self, resolved: &'a ResolvedStage) -> Result<StageResult, EngineError> {
        let stage = &self.request.file.stages[resolved.index];
        let name = stage
            .name
            .as_ref()
            .map_or_else(|| resolved.index.to_string(), |name| name.value.clone());
        let (mut image, mut scope) = self.base(resolved, stage.from.span)?;
        scope.escape = self.request.file.directives.escape;
        if image.config.os != "windows"
            && !env_pairs(&image.config.config).any(|(name, _)| name == "PATH")
        {
            set_env(&mut image.config.config, "PATH", DEFAULT_PATH);
        }
        for (name, value) in env_pairs(&image.config.config) {
            scope.variables.insert(name, value);
        }
        let from_parent = matches!(resolved.base, StageBase::Stage(_));
        let mut triggers: Vec<Instruction> = resolved.triggers.clone();
        let inherited = image.config.config.on_build.take().unwrap_or_default();
        if !from_parent {
            for text in &inherited {
                let trigger = parse_trigger(text, stage.from.span)?;
                if let Some(source) = unknown_source(&trigger, resolved) {
                    return Err(unknown_trigger(text, source, stage.from.span));
                }
                triggers.push(trigger);
            }
            check_networks(&triggers, self.request.options)?;
        }
        let mut state = StageState {
            resolved,
            image,
            scope,
            compress: self
                .request
                .options
                .compress
                .filter(|_| self.exported.contains(&resolved.index)),
            files: Files::Now,
            here: SetHere::default(),
        };
        let instructions: Vec<&Instruction> = if resolved.replaced {
            Vec::new()
        } else {
            triggers.iter().chain(&stage.instructions).collect()
        };
        let of = instructions.len() + 1;
        let last = unseen_layer(&self.request.graph.stages, resolved.index, &instructions);
        for (at, instruction) in instructions.into_iter().enumerate() {
            self.cancellation.check()?;
            let step = Step {
                stage: name.clone(),
                number: at + 2,
                of,
                text: one_line(&instruction.text),
            };
            if last == Some(at) {
                state.files = Files::WhenNeeded;
            }
            self.step(&mut state, instruction, step)?;
        }
        Ok(StageResult {
            image: state.image,
            scope: state.scope,
        })
    }

    fn base(&self, resolved: &ResolvedStage, span: Span) -> Result<(Image, Scope), EngineError> {
        match &resolved.base {
            StageBase::Stage(index) => {
                let parent = self.stages.wait(*index)?;
                Ok((parent.image.clone(), parent.scope.clone()))
            }
            other => {
                let image = self.source_image(other, &resolved.platform, span)?;
                let mut image = image;
                image.config.created = None;
                image.inherited = image.layers.len();
                if matches!(other, StageBase::Scratch) {
                    let root = if image.config.os == "windows" {
                        "\\"
                    } else {
                        "/"
                    };
                    image.config.config.working_dir = Some(root.to_owned());
                }
                Ok((image, Scope::default()))
            }
        }
    }

    /// The image that a FROM or `--from` names.
    pub(crate) fn source_image(
        &self,
        base: &StageBase,
        platform: &Platform,
        span: Span,
    ) -> Result<Image, EngineError> {
        match base {
            StageBase::Scratch => Ok(Image::empty(platform)),
            StageBase::Stage(index) => Ok(self.stages.wait(*index)?.image.clone()),
            StageBase::Named(name) => match self.named_source(name, platform, span)? {
                NamedSource::Image(image) => Ok(*image),
                NamedSource::Folder(context) => {
                    self.image_of_folder(name, &context, platform, span)
                }
            },
            StageBase::External(reference) => self
                .images
                .get(reference, platform)
                .map_err(|error| unavailable(error, "image", platform, span)),
        }
    }

    fn step(
        &self,
        state: &mut StageState<'_>,
        instruction: &Instruction,
        step: Step,
    ) -> Result<(), EngineError> {
        if let InstructionKind::Arg(definitions) = &instruction.kind {
            let mut told = "ARG".to_owned();
            for definition in definitions {
                let (given, global) = (self.request.build_args, &state.resolved.args);
                told.push(' ');
                told.push_str(&state.scope.declare(definition, given, global)?);
            }
            state.remember(told, true, self.time_of_setting());
            return Ok(());
        }
        let configured = configure(
            &instruction.kind,
            &mut state.image.config,
            &mut state.scope,
            &mut state.here,
        )?;
        if let Some(told) = configured {
            // What is left to children is no step of this image; BuildKit does not tell it either.
            if !matches!(instruction.kind, InstructionKind::Onbuild(_)) {
                state.remember(told, true, self.time_of_setting());
            }
            return Ok(());
        }
        // A step that waits for another stage has not begun.
        for index in sources_of(instruction, state.resolved) {
            self.stages.wait(index)?;
        }
        (self.events)(Event::StepStarted(step.clone()));
        let started = Instant::now();
        let result = match &instruction.kind {
            InstructionKind::Run(run) => self.run_step(state, run, instruction.span, &step),
            InstructionKind::Copy(copy) => self.copy_step(
                state,
                &crate::files::CopyStep::of_copy(copy),
                instruction.span,
                &step,
            ),
            InstructionKind::Add(add) => self.copy_step(
                state,
                &crate::files::CopyStep::of_add(add),
                instruction.span,
                &step,
            ),
            InstructionKind::Workdir(path) => self.workdir_step(state, path, &step),
            _ => unreachable!("every other instruction was configured above"),
        };
        match result {
            Ok(done) => {
                (self.events)(if done.cached {
                    Event::StepCached(step)
                } else {
                    Event::StepDone(step, started.elapsed())
                });
                // What makes no layer has no time of its own.
                let created = match done.layer {
                    Some(_) => self.time_of_step(done.created.clone()),
                    None => self.time_of_setting(),
                };
                state.add(done, created);
                Ok(())
            }
            Err(error) => {
                (self.events)(Event::StepFailed(step, started.elapsed()));
                Err(error)
            }
        }
    }

    /// The time that history states of a step that was made at some time.
    pub(crate) fn time_of_step(&self, made: Option<String>) -> Option<String> {
        let options = &self.request.options;
        made.filter(|_| options.created_by_steps)
            .or_else(|| options.created.clone())
    }

    /// The same of what makes no layer; without one, it is filled in at the end.
    fn time_of_setting(&self) -> Option<String> {
        let options = &self.request.options;
        options
            .created
            .clone()
            .filter(|_| !options.created_by_steps)
    }

    pub(crate) fn network(&self, asked: RunNetwork) -> launchway_sandbox::Network {
        match asked {
            RunNetwork::Default => self.request.options.network,
            RunNetwork::None => launchway_sandbox::Network::None,
            RunNetwork::Host => launchway_sandbox::Network::Host,
        }
    }

    /// Starts the hash of a step of this build.
    pub(crate) fn key(&self, kind: &str, below: &[Layer]) -> ContentHasher {
        let mut key = step_key(kind, below);
        if let Some(epoch) = self
            .request
            .options
            .epoch
            .filter(|_| self.request.options.epoch_is_asked)
        {
            key.field("epoch", &epoch.to_le_bytes());
        }
        key
    }

    /// Proxy settings reach every RUN in both cases without being declared, and leave no trace.
    pub(crate) fn proxy_variables(&self) -> impl Iterator<Item = (String, String)> + '_ {
        PROXY_ARGS.iter().filter_map(|name| {
            let given = |name: &str| self.request.build_args.get(name);
            let value = given(name)
                .or_else(|| given(&name.to_ascii_uppercase()))
                .or_else(|| given(&name.to_ascii_lowercase()))?;
            Some(((*name).to_owned(), value.clone()))
        })
    }
}

/// What a step gave.
pub(crate) struct StepDone {
    /// None of a step that is no layer, only a line of history.
    pub(crate) layer: Option<Layer>,
    /// What history says of it.
    pub(crate) told: String,
    pub(crate) cached: bool,
    /// When it was made, where that is known.
    pub(crate) created: Option<String>,
}

impl StepDone {
    pub(crate) fn cached(known: Known, told: String) -> Self {
        Self {
            layer: Some(known.layer),
            told,
            cached: true,
            created: known.created,
        }
    }

    /// For a step that puts nothing into the image, whatever is below.
    pub(crate) fn without_layer(told: String) -> Self {
        Self {
            layer: None,
            told,
            cached: false,
            created: None,
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_on_one_line() {
        assert_eq!(one_line("RUN <<EOF\n  a\n\nb\nEOF"), "RUN <<EOF a b EOF");
    }
}
