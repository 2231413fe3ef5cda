//! `launchway release`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use launchway_diagnostics::{Diagnostic, SourceMap};
use launchway_engine::Cancellation;
use launchway_manifest::{Compression, Family, Network};
use launchway_observe::git_facts;
use launchway_plan::NodeState;
use launchway_release::{
    BuildSettings, LockError, Outcome, Project, Puller, ReleaseLock, RunFacts, Workshop, codes,
    execute, prepare, until_cancelled,
};
use launchway_ssh::{Agent, Agents};

use super::Result;
use crate::failure::{Exit, Failure};
use crate::family::{FamilyArguments, warn};
use crate::lacking;
use crate::settings::{Settings, read};
use crate::tidy;
use crate::toolbox::{self, Builder};
use crate::versions;

/// Build, push, test, tag, verify and promote a version of the family
///
/// In this order: every image that the registries do not have is built or grafted and pushed by digest;
/// the pushed digests are linted, where the family asks for it, and smoke-tested; immutable tags are
/// written; everything is verified; only then do rolling tags move, bases last. Run it again after a
/// failure: what is done stays done.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The version, such as v1.2.3
    version: String,
    /// Only these variants, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "VARIANT")]
    only: Vec<String>,
    /// Leave rolling tags where they are
    #[arg(long)]
    no_promote: bool,
    /// Build without the step cache
    #[arg(long)]
    no_cache: bool,
    /// How many builds run at once [default: the number of processors]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    #[command(flatten)]
    family: FamilyArguments,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let project = arguments.family.load(settings)?;
    warn(&project.warnings, &project.sources, settings);
    let asked = arguments.family.asked(
        &project,
        Some(arguments.version.clone()),
        &arguments.only,
        !arguments.no_promote,
    )?;
    let builder = Builder::open(settings)?;
    let reporter = toolbox::reporter(settings);
    let started = toolbox::now();
    let _lock =
        ReleaseLock::take(&builder.state, &project.family.name, &started).map_err(|error| {
            match error {
                LockError::Held { .. } => {
                    let problem = Diagnostic::error(codes::LOCKED, error.to_string())
                        .help("wait until it is done, or stop it");
                    Failure::diagnosed(vec![problem], SourceMap::new())
                }
                LockError::Io(_) => Failure::caused("cannot lock the family", &error),
            }
        })?;
    // Git takes its time, and when there is nothing to do nobody needs its answer.
    let (root, environment) = (project.root.clone(), settings.environment_text());
    let git = std::thread::spawn(move || git_facts(&root, &environment).ok().flatten());
    let mut build_settings = build_settings(
        arguments,
        &project.family,
        settings,
        &builder,
        &project.root,
    )?;
    let events = reporter.on_release();
    let for_client = Arc::clone(&events);
    let client_events: toolbox::ClientEvents =
        Arc::new(move |event| for_client(launchway_release::Event::Transfer(event)));
    let client = toolbox::client(
        settings,
        &arguments.family.network,
        Some(&project.family),
        Some(client_events),
    )?;
    let versions = versions::Observed::new(settings);
    let cancellation = Cancellation::default();
    let work = async {
        let planning = async {
            let hashed = prepare::hash(&project, &client, &versions, &asked).await?;
            prepare::plan(&client, hashed, &asked.registries).await
        };
        let plan = until_cancelled(&cancellation, planning).await?;
        let summary = Summary::of(&plan);
        if plan.is_empty() {
            let lacks = launchway_release::unasked(&plan);
            return Ok((
                summary,
                plan,
                Outcome {
                    lacks,
                    ..Outcome::default()
                },
                true,
            ));
        }
        let git = git.join().ok().flatten();
        // The commit's time makes layers the same wherever the commit is built.
        build_settings.epoch = settings.epoch.or_else(|| git.as_ref().map(|git| git.time));
        build_settings.created = build_settings.epoch.and_then(toolbox::timestamp);
        let facts = RunFacts {
            started,
            family: project.family.name.value.clone(),
            git_commit: git.as_ref().map(|git| git.commit.clone()),
            git_branch: git.as_ref().and_then(|git| git.branch.clone()),
            git_dirty: git.as_ref().map(|git| git.is_dirty),
        };
        let workshop = Workshop {
            project: Arc::clone(&project),
            puller: Puller::new(client.clone(), builder.store.clone()),
            engine: builder.engine.clone(),
            settings: build_settings,
            cancellation: cancellation.clone(),
            events,
            state: builder.state.clone(),
            facts,
            now: toolbox::now,
        };
        reporter.begin(&plan);
        let outcome = execute(plan.clone(), workshop).await;
        Ok((summary, plan, outcome, false))
    };
    let result = toolbox::block_on(&cancellation, work)?;
    reporter.finish();
    let (summary, plan, outcome, idle) =
        result.map_err(|error| Failure::release(&error, &project.sources))?;
    tidy::after(&builder, settings);
    let others = lacking::settle(&settings.state, &project.family, &plan, &outcome.lacks)?;
    for remark in &summary.remarks {
        eprintln!("note: {remark}");
    }
    for entry in &others {
        eprintln!("note: {}", lacking::reminder(entry));
    }
    tell_finished(&outcome, arguments, settings);
    if !idle {
        return finish(&outcome, &summary, arguments, settings, &project);
    }
    let place = match summary.degraded.is_empty() {
        true => "everywhere",
        false => "on every registry that answers",
    };
    eprintln!("nothing to do: {} is released {place}", arguments.version);
    summary.degraded(&outcome, arguments)
}

/// What stays of the plan once it is carried out.
struct Summary {
    remarks: Vec<String>,
    degraded: Vec<String>,
    made: usize,
    reused: usize,
}

impl Summary {
    fn of(plan: &launchway_plan::Plan) -> Self {
        let count = |wanted: fn(&NodeState) -> bool| {
            plan.nodes
                .values()
                .filter(|node| wanted(&node.state))
                .count()
        };
        Self {
            remarks: plan.remarks.clone(),
            degraded: plan
                .degraded
                .iter()
                .map(|one| format!("{}: {}", plan.registries[one.registry], one.why))
                .collect(),
            made: count(|state| *state == NodeState::Make),
            reused: count(|state| matches!(state, NodeState::Reuse { .. })),
        }
    }

    /// A registry that could not be asked is finished by running again; until then this is no success.
    fn degraded(&self, outcome: &Outcome, arguments: &Arguments) -> Result {
        if self.degraded.is_empty() {
            return Ok(());
        }
        for why in &self.degraded {
            eprintln!("degraded: {why}");
        }
        tell_lacks(outcome, arguments);
        Err(Failure::Silent(Exit::Failed))
    }
}

/// What every registry lacks of the release, and how it gets it.
fn tell_lacks(outcome: &Outcome, arguments: &Arguments) {
    for lack in &outcome.lacks {
        eprint!("{}", lacking::text(lack, &arguments.version));
    }
    if !outcome.lacks.is_empty() {
        eprintln!("run the same command again; only what is lacking will be done");
    }
}

/// The last event.
fn tell_finished(outcome: &Outcome, arguments: &Arguments, settings: &Settings) {
    if !settings.json {
        return;
    }
    let failures: Vec<String> = outcome.failures.iter().map(ToString::to_string).collect();
    let lacking: Vec<serde_json::Value> = outcome
        .lacks
        .iter()
        .map(|lack| {
            let references: Vec<String> = lack.references.iter().map(ToString::to_string).collect();
            serde_json::json!({
                "registry": lack.registry, "why": lack.why, "references": references,
            })
        })
        .collect();
    let event = serde_json::json!({
        "event": "finished",
        "time": toolbox::now(),
        "version": arguments.version,
        "tagged": outcome.tagged.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rolled": outcome.rolled.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failures": failures,
        "lacking": lacking,
    });
    super::print(&format!("{event}\n"));
}

fn finish(
    outcome: &Outcome,
    summary: &Summary,
    arguments: &Arguments,
    settings: &Settings,
    project: &Project,
) -> Result {
    let interrupted = outcome
        .failures
        .iter()
        .any(|error| matches!(error, launchway_release::ReleaseError::Cancelled));
    let mut failures = outcome
        .failures
        .iter()
        .filter(|error| !matches!(error, launchway_release::ReleaseError::Cancelled));
    let first = failures.next();
    if first.is_some() || interrupted {
        tell_lacks(outcome, arguments);
    }
    for failure in failures {
        let _ = Failure::release(failure, &project.sources).report(settings.colour);
    }
    match first {
        _ if interrupted => Err(Failure::release(
            &launchway_release::ReleaseError::Cancelled,
            &project.sources,
        )),
        Some(failure) => Err(Failure::release(failure, &project.sources)),
        None => {
            eprintln!(
                "released {}: {} made, {} reused; {} tags written, {} rolling tags moved",
                arguments.version,
                summary.made,
                summary.reused,
                outcome.tagged.len(),
                outcome.rolled.len()
            );
            summary.degraded(outcome, arguments)
        }
    }
}

/// The agents of ssh that steps may use. One whose variable is not set is left out, as with secrets.
fn agents(family: &Family, settings: &Settings, root: &Path) -> Result<Agents> {
    let mut agents = Agents::default();
    for given in &family.build.ssh {
        let agent = match (&given.socket, given.keys.as_slice()) {
            (Some(socket), _) => Some(Agent::Socket(root.join(socket))),
            (None, []) => settings
                .variable("SSH_AUTH_SOCK")
                .map(|path| Agent::Socket(path.into())),
            (None, keys) => Some(Agent::Keys(
                keys.iter()
                    .map(|key| read(&root.join(key)))
                    .collect::<Result<_>>()?,
            )),
        };
        if let Some(agent) = agent {
            agents.insert(given.id.clone(), agent);
        }
    }
    Ok(agents)
}

fn build_settings(
    arguments: &Arguments,
    family: &Family,
    settings: &Settings,
    builder: &Builder,
    root: &Path,
) -> Result<BuildSettings> {
    let mut secrets = launchway_engine::Secrets::new();
    for secret in &family.build.secrets {
        let value = match (&secret.file, &secret.env) {
            (Some(file), _) => Some(read(&root.join(file))?),
            (None, Some(name)) => settings
                .variable(name)
                .map(|value| value.as_bytes().to_vec()),
            (None, None) => None,
        };
        if let Some(value) = value {
            secrets.insert(secret.id.clone(), value);
        }
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(BuildSettings {
        host_ca: builder.host_ca(family.build.host_ca, settings)?,
        epoch: settings.epoch,
        epoch_is_asked: settings.epoch.is_some(),
        created: None,
        no_cache: arguments.no_cache,
        network: match family.build.network {
            Network::Host => launchway_sandbox::Network::Host,
            Network::None => launchway_sandbox::Network::None,
        },
        timeout: Some(family.build.timeout),
        limits: family.build.limits.clone(),
        no_new_privileges: family.build.no_new_privileges,
        compression: match family.build.compression {
            Compression::Gzip => launchway_oci::Compression::Gzip,
            Compression::Zstd => launchway_oci::Compression::Zstd,
        },
        secrets,
        agents: agents(family, settings, root)?,
        jobs: arguments.jobs.unwrap_or(processors),
    })
}
