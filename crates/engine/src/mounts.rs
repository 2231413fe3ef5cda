//! The mounts of a RUN step: caches, binds, secrets, agents, temporary file systems.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use launchway_context::digest_until;
use launchway_diagnostics::{Diagnostic, Span};
use launchway_dockerfile::{CacheSharing, Run, RunMount, StageBase, expand};
use launchway_model::{ContentHasher, InputHash};
use launchway_oci::{EntryKind, Stack, Tree, TreeEntry, WorkingLayer};
use launchway_sandbox::{Content, LayersMount, MountSpec};
use launchway_ssh::Forwarded;

use crate::cache_mount::{cache_root, make_once, take_free, try_first, use_cache};
use crate::claim::wait_for;
use crate::copy::{CopyOptions, LayerBuilder};
use crate::files::{absolute, below_root};
use crate::named::SourceTree;
use crate::native::{Build, StageState};
use crate::problems::{cannot_place, unreadable};
use crate::{EngineError, Step, codes};

/// The mounts of one step; dropping it lets locks go and removes what was made for the step.
pub(crate) struct PreparedMounts {
    mounts: Vec<(RunMount, Span)>,
    workdir: String,
    /// What identifies the content of each bind and cache source, for the cache key.
    contents: Vec<Option<launchway_model::InputHash>>,
    pub(crate) specs: Vec<MountSpec>,
    pub(crate) variables: BTreeMap<String, String>,
    /// Sockets that lead to agents, for the time of the step.
    pub(crate) agents: Vec<Forwarded>,
    /// How many agents were asked for, given or not.
    pub(crate) agents_asked: usize,
    _copies: Vec<WorkingLayer>,
    _locks: Vec<File>,
}

/// What a mount of a secret or of an agent asks for.
pub(crate) struct Asked<'m> {
    pub(crate) id: &'m str,
    pub(crate) target: Option<&'m str>,
    pub(crate) required: bool,
    pub(crate) mode: Option<u32>,
    pub(crate) owner: (u32, u32),
    pub(crate) span: Span,
}

/// BuildKit's argument that tells the cache mounts of one build from those of others.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

impl PreparedMounts {
    /// Fills in variables, and looks at the files that binds bring in.
    pub(crate) fn resolve(
        build: &Build<'_>,
        state: &StageState<'_>,
        run: &Run,
    ) -> Result<Self, EngineError> {
        let scope = &state.scope;
        let mut mounts = Vec::new();
        let mut contents = Vec::new();
        for flag in &run.mounts {
            let mut mount = flag.resolve(&|word| expand(word, scope.escape, &scope.lookup()))?;
            if let (RunMount::Cache { id, .. }, Some(namespace)) =
                (&mut mount, build.said(CACHE_NAMESPACE))
            {
                *id = format!("{namespace}/{id}");
            }
            if let RunMount::Bind { target, .. }
            | RunMount::Cache { target, .. }
            | RunMount::Tmpfs { target, .. } = &mount
            {
                let workdir = state.image.config.config.working_dir.as_deref();
                if absolute(workdir.unwrap_or_default(), target) == "/" {
                    let problem = Diagnostic::error(codes::BAD_MOUNT, "a mount without a place")
                        .at(flag.span, "nothing can be mounted over the root")
                        .help("give it a `target`");
                    return Err(problem.into());
                }
            }
            contents.push(match &mount {
                RunMount::Bind { source, from, .. } => Some(source_digest(
                    build,
                    state,
                    from.as_deref(),
                    source.as_deref(),
                    flag.span,
                )?),
                RunMount::Cache {
                    from: Some(from),
                    source,
                    ..
                } => Some(source_digest(
                    build,
                    state,
                    Some(from),
                    source.as_deref(),
                    flag.span,
                )?),
                RunMount::Cache { .. }
                | RunMount::Secret { .. }
                | RunMount::Ssh { .. }
                | RunMount::Tmpfs { .. } => None,
            });
            mounts.push((mount, flag.span));
        }
        Ok(Self {
            mounts,
            workdir: state
                .image
                .config
                .config
                .working_dir
                .clone()
                .unwrap_or_default(),
            contents,
            specs: Vec::new(),
            variables: BTreeMap::new(),
            agents: Vec::new(),
            agents_asked: 0,
            _copies: Vec::new(),
            _locks: Vec::new(),
        })
    }

    /// What of the mounts decides the step's result. Of a secret that is its id, never its value.
    pub(crate) fn hash(&self, key: &mut ContentHasher) {
        for ((mount, _), content) in self.mounts.iter().zip(&self.contents) {
            key.text("mount", &format!("{mount:?}"));
            if let Some(content) = content {
                key.field("content", content.as_bytes());
            }
        }
    }

    /// Makes everything ready. Waits for a cache that another step holds and does not share.
    pub(crate) fn open(
        &mut self,
        build: &Build<'_>,
        state: &StageState<'_>,
        step: &Step,
    ) -> Result<(), EngineError> {
        self.lock_caches(build, step)?;
        for (at, (mount, span)) in std::mem::take(&mut self.mounts).into_iter().enumerate() {
            match &mount {
                RunMount::Tmpfs { target, size } => self.specs.push(MountSpec::Tmpfs {
                    target: self.target(target),
                    size: *size,
                    mode: 0o1777,
                }),
                RunMount::Cache { .. } => {
                    let content = self.contents[at];
                    self.open_cache(build, state, (&mount, content.as_ref()), span)?;
                }
                RunMount::Bind {
                    target,
                    source,
                    from,
                    readwrite,
                } => {
                    let source = MountSource {
                        from: from.as_deref(),
                        path: source.as_deref(),
                        span,
                    };
                    self.open_bind(build, state, &source, target, *readwrite)?;
                }
                RunMount::Secret {
                    id,
                    target,
                    required,
                    mode,
                    uid,
                    gid,
                    ..
                }
                | RunMount::Ssh {
                    id,
                    target,
                    required,
                    mode,
                    uid,
                    gid,
                } => {
                    let asked = Asked {
                        id,
                        target: target.as_deref(),
                        required: *required,
                        mode: *mode,
                        owner: (uid.unwrap_or(0), gid.unwrap_or(0)),
                        span,
                    };
                    match &mount {
                        RunMount::Secret { env, .. } => {
                            self.open_secret(build, &asked, env.as_deref())?;
                        }
                        _ => self.open_agent(build, state, &asked)?,
                    }
                }
            }
            self.mounts.push((mount, span));
        }
        Ok(())
    }

    /// What a stage or an image holds is mounted as it lies in its layers, and costs nothing however much it is. Files
    /// of a context are copied, since the ignore rules leave some out and they may change meanwhile.
    fn open_bind(
        &mut self,
        build: &Build<'_>,
        state: &StageState<'_>,
        source: &MountSource<'_>,
        target: &str,
        writable: bool,
    ) -> Result<(), EngineError> {
        let target = self.target(target);
        let named = source_tree_of(build, state, source.from, source.span)?;
        if let Some(SourceTree::Layers(stack)) = &named
            && let Some(lower) = build.engine.mountable(stack)?
        {
            let (path, found) = source.find(stack)?;
            let changes = if writable {
                Some(build.engine.store.new_layer_on(stack)?)
            } else {
                None
            };
            self.specs.push(MountSpec::Layers(LayersMount {
                lower,
                changes: changes
                    .as_ref()
                    .map(|layer| (layer.upper().to_owned(), layer.work().to_owned())),
                path,
                directory: found.kind == EntryKind::Dir,
                target,
            }));
            self._copies.extend(changes);
            return Ok(());
        }
        let (copy, path) = materialise(build, named.as_ref(), source)?;
        self.specs.push(MountSpec::Bind {
            source: path,
            target,
            read_only: !writable,
        });
        self._copies.push(copy);
        Ok(())
    }

    /// Takes the locks of all shared and locked caches, in one order for all builds, so that no two of
    /// them wait for each other; a cache that is mounted twice is locked once, the strict way.
    fn lock_caches(&mut self, build: &Build<'_>, step: &Step) -> Result<(), EngineError> {
        let mut wanted: BTreeMap<PathBuf, (String, bool)> = BTreeMap::new();
        for ((mount, _), content) in self.mounts.iter().zip(&self.contents) {
            let RunMount::Cache { id, sharing, .. } = mount else {
                continue;
            };
            let alone = match sharing {
                CacheSharing::Locked => true,
                CacheSharing::Shared => false,
                // It takes a directory that is free.
                CacheSharing::Private => continue,
            };
            let root = cache_root(&build.engine.state, mount, content.as_ref());
            wanted.entry(root).or_insert((id.clone(), false)).1 |= alone;
        }
        for (root, (id, alone)) in wanted {
            use_cache(build, &root, &id)?;
            let lock = wait_for(
                build.cancellation,
                || {
                    try_first(&root, alone)
                        .map_err(EngineError::io(format!("lock the cache mount `{id}`")))
                },
                || {
                    let why = format!("another step uses the cache mount `{id}`");
                    build.tell_waiting(step, &why);
                },
            )?;
            self._locks.push(lock);
        }
        Ok(())
    }

    /// How often something that is mounted was found to be another than when it was looked at before, as
    /// [`Context::changes`](launchway_context::Context::changes).
    pub(crate) fn changes(
        &self,
        build: &Build<'_>,
        state: &StageState<'_>,
    ) -> Result<u64, EngineError> {
        let mut changes = 0;
        for (mount, span) in &self.mounts {
            let from = match mount {
                RunMount::Bind { from, .. } => from.as_deref(),
                RunMount::Cache {
                    from: Some(from), ..
                } => Some(from.as_str()),
                _ => continue,
            };
            changes += match source_tree_of(build, state, from, *span)? {
                Some(named) => named.changes(),
                None => build.request.context.changes(),
            };
        }
        Ok(changes)
    }

    pub(crate) fn specs(&self) -> Vec<MountSpec> {
        self.specs.clone()
    }

    /// The values of the secrets that the step is given.
    pub(crate) fn secrets<'s>(&'s self, build: &'s Build<'_>) -> impl Iterator<Item = &'s [u8]> {
        self.mounts.iter().filter_map(|(mount, _)| match mount {
            RunMount::Secret { id, .. } => build.request.secrets.get(id).map(Vec::as_slice),
            _ => None,
        })
    }

    /// Secrets that were asked for as variables, and where the socket of an agent is.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        self.variables.clone()
    }

    pub(crate) fn target(&self, target: &str) -> PathBuf {
        absolute(&self.workdir, target).into()
    }

    fn open_secret(
        &mut self,
        build: &Build<'_>,
        asked: &Asked<'_>,
        env: Option<&str>,
    ) -> Result<(), EngineError> {
        let id = asked.id;
        let Some(value) = build.request.secrets.get(id) else {
            if asked.required {
                return Err(Diagnostic::error(codes::SECRET_MISSING, format!("the secret `{id}` was not given"))
                    .at(asked.span, "required here")
                    .help(format!("give it with --secret id={id},src=FILE or under [[build.secrets]] in launchway.toml"))
                    .into());
            }
            return Ok(());
        };
        if let Some(name) = env {
            let text = String::from_utf8_lossy(value).into_owned();
            self.variables.insert(name.to_owned(), text);
        }
        if let Some(target) = asked.target {
            let target = self.target(target);
            self.specs.push(MountSpec::File {
                content: Content(value.clone()),
                target,
                mode: asked.mode.unwrap_or(0o400),
                uid: asked.owner.0,
                gid: asked.owner.1,
            });
        }
        Ok(())
    }

    fn open_cache(
        &mut self,
        build: &Build<'_>,
        state: &StageState<'_>,
        (mount, content): (&RunMount, Option<&InputHash>),
        span: Span,
    ) -> Result<(), EngineError> {
        let RunMount::Cache {
            id,
            target,
            sharing,
            from,
            source,
            mode,
            uid,
            gid,
            readonly,
        } = mount
        else {
            return Ok(());
        };
        let root = cache_root(&build.engine.state, mount, content);
        use_cache(build, &root, id)?;
        let slot = match sharing {
            // Its lock was taken before, see `lock_caches`.
            CacheSharing::Shared | CacheSharing::Locked => 0,
            CacheSharing::Private => {
                let (slot, lock) = take_free(&root)
                    .map_err(EngineError::io(format!("lock the cache mount `{id}`")))?;
                self._locks.push(lock);
                slot
            }
        };
        let directory = root.join(slot.to_string());
        // As with BuildKit: a folder that is named keeps its owner and mode, whatever is asked for, and what is asked
        // for instead of one is an empty directory.
        let is_asked = mode.is_some() || uid.is_some() || gid.is_some();
        let is_whole = absolute("/", source.as_deref().unwrap_or("/")) == "/";
        let named = match from {
            Some(_) if !(is_asked && is_whole) => {
                source_tree_of(build, state, from.as_deref(), span)?
            }
            _ => None,
        };
        make_once(&directory, build.cancellation, |fresh| {
            let mut attributes = (mode.unwrap_or(0o755), uid.unwrap_or(0), gid.unwrap_or(0));
            if let Some(named) = &named {
                let source = MountSource {
                    from: from.as_deref(),
                    path: source.as_deref(),
                    span,
                };
                let (path, found) = source.find(named.tree())?;
                let mut builder = LayerBuilder::new(fresh, &Stack::default());
                builder.cancellation = build.cancellation.clone();
                builder
                    .copy(named.tree(), &path, &path, "/", &CopyOptions::keep_all())
                    .map_err(|error| cannot_place(error, span))?;
                if found.kind == EntryKind::Dir && !is_whole_context(Some(named), &path) {
                    attributes = (found.mode, found.uid, found.gid);
                }
            }
            let (mode, uid, gid) = attributes;
            chown(fresh, Some(uid), Some(gid))
                .and_then(|()| fs::set_permissions(fresh, Permissions::from_mode(mode)))
                .map_err(EngineError::io("set up a cache mount"))
        })?;
        self.specs.push(MountSpec::Bind {
            source: directory,
            target: self.target(target),
            read_only: *readonly,
        });
        Ok(())
    }
}

/// What a `from` names; nothing for the build context.
fn source_tree_of(
    build: &Build<'_>,
    state: &StageState<'_>,
    from: Option<&str>,
    span: Span,
) -> Result<Option<SourceTree>, EngineError> {
    let Some(from) = from else {
        return Ok(None);
    };
    let base: &StageBase = state.resolved.from_sources.get(from).ok_or_else(|| {
        let message = format!("`{from}` is no stage, context or image");
        EngineError::from(EngineError::at(
            codes::BAD_MOUNT,
            span,
            message,
            "named here",
        ))
    })?;
    build.source_tree(base, state.platform(), span).map(Some)
}

fn source_digest(
    build: &Build<'_>,
    state: &StageState<'_>,
    from: Option<&str>,
    source: Option<&str>,
    span: Span,
) -> Result<launchway_model::InputHash, EngineError> {
    let context = match source_tree_of(build, state, from, span)? {
        // A whole stage is known by its layers; reading all of its files again would be waste.
        Some(SourceTree::Layers(stack)) => {
            let mut hasher = crate::cache::step_key("mount source", &stack.layers);
            hasher.text("path", source.unwrap_or("/"));
            return Ok(hasher.finish());
        }
        Some(SourceTree::Folder(context)) => Some(context),
        None => None,
    };
    let context = context.as_deref().unwrap_or(build.request.context);
    let selected = context
        .select(source.unwrap_or("/"), &[])
        .map_err(|error| bad_source(&error.to_string(), span))?;
    let is_stopped = || build.cancellation.is_cancelled();
    Ok(digest_until(context, &selected, &is_stopped)
        .map_err(|error| unreadable(&error))?
        .hash)
}

/// Where a mount takes its files from.
struct MountSource<'a> {
    from: Option<&'a str>,
    path: Option<&'a str>,
    span: Span,
}

impl MountSource<'_> {
    /// The path in a tree, links followed, and what is there.
    fn find(&self, tree: &dyn Tree) -> Result<(PathBuf, TreeEntry), EngineError> {
        let path = below_root(&absolute("/", self.path.unwrap_or("/")));
        let path = launchway_oci::resolve(tree, &path, true)
            .map_err(|error| bad_source(&error.to_string(), self.span))?;
        let found = tree
            .entry(&path)
            .map_err(EngineError::io("look up the source of a mount"))?;
        let found = found.ok_or_else(|| bad_source("no such file or directory", self.span))?;
        Ok((path, found))
    }
}

/// Whether a mount brings in all of a context. Then it is a directory like others, as with BuildKit: what mode the folder
/// has on this machine does not matter.
fn is_whole_context(named: Option<&SourceTree>, path: &Path) -> bool {
    path.as_os_str().is_empty() && !matches!(named, Some(SourceTree::Layers(_)))
}

/// A copy of what a bind mount brings in, so that the step can neither change the original nor see
/// what the ignore rules leave out.
fn materialise(
    build: &Build<'_>,
    named: Option<&SourceTree>,
    source: &MountSource<'_>,
) -> Result<(WorkingLayer, PathBuf), EngineError> {
    let tree = match named {
        Some(named) => named.tree(),
        None => build.request.context,
    };
    let (path, _) = source.find(tree)?;
    let copy = build.engine.store.new_layer()?;
    let options = CopyOptions::keep_all();
    let mut builder = LayerBuilder::new(copy.upper(), &Stack::default());
    builder.cancellation = build.cancellation.clone();
    let (at, copied) = if is_whole_context(named, &path) {
        let copied = builder.copy(tree, &path, &path, "/", &options);
        (copy.upper().to_owned(), copied)
    } else {
        let copied = builder.copy_folder(tree, &path, "/source", &options);
        (copy.upper().join("source"), copied)
    };
    copied.map_err(|error| cannot_place(error, source.span))?;
    // A mount of this machine's files follows links. None was there a moment ago; who put one there since wants out.
    let made =
        fs::symlink_metadata(&at).map_err(EngineError::io("look at what is to be mounted"))?;
    if made.is_symlink() {
        return Err(bad_source("it became a link meanwhile", source.span));
    }
    Ok((copy, at))
}

fn bad_source(why: &str, span: Span) -> EngineError {
    Diagnostic::error(codes::BAD_MOUNT, "the source of a mount cannot be used")
        .at(span, why.to_owned())
        .into()
}
