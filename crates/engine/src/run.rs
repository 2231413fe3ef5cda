//! RUN: a command in the sandbox, and the layer it leaves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use launchway_diagnostics::{Diagnostic, Span};
use launchway_dockerfile::{Instruction, InstructionKind, Run, RunInvocation, RunNetwork};
use launchway_model::Platform;
use launchway_oci::{Stack, Tree};
use launchway_sandbox::{
    BinfmtStatus, Content, ExecFailure, Exit, LimitsHit, MountSpec, RunSpec, SandboxError, Stdio,
    Stream, UserIds, binfmt_status,
};

use crate::claim::Claim;
use crate::configure::with_shell;
use crate::copy::{CopyError, LayerBuilder};
use crate::files::{absolute, below_root};
use crate::mounts::PreparedMounts;
use crate::native::{Build, NativeEngine, StageState, StepDone};
use crate::problems::{cannot_place, unknown_user};
use crate::redact::Redactor;
use crate::users::{Accounts, Identity};
use crate::{BuildOptions, Cancellation, EngineError, Event, Step, codes, history, limits};

/// BuildKit's argument for the host name of RUN steps.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

impl Build<'_> {
    /// An argument that says how to build, needs no declaration, and counts unless it is empty.
    pub(crate) fn said(&self, name: &str) -> Option<&str> {
        let value = self.request.build_args.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    pub(crate) fn run_step(
        &self,
        state: &StageState<'_>,
        run: &Run,
        span: Span,
        step: &Step,
    ) -> Result<StepDone, EngineError> {
        let below = state.stack();
        let config = &state.image.config.config;
        let user = config.user.clone().unwrap_or_default();
        let identity = Accounts::of(&below)
            .identity(&user)
            .map_err(|error| unknown_user(&error, span))?;
        // As it stands in the image it may hold `..` and end with a slash.
        let workdir = absolute("/", config.working_dir.as_deref().unwrap_or_default());
        let network = self.network(run.network);
        let invocation = run.invocation();
        let argv = match &invocation {
            RunInvocation::Exec(arguments) => arguments.clone(),
            RunInvocation::Shell(script) => with_shell(script, config),
            RunInvocation::Script { name, .. } => vec![format!("/dev/pipes/{name}")],
        };
        let mut mounts = PreparedMounts::resolve(self, state, run)?;
        let hashed = mounts.changes(self, state)?;

        let mut key = self.key("run", &below.layers);
        key.list("argv", &argv);
        if let RunInvocation::Script { content, .. } = &invocation {
            key.text("script", content);
        }
        for (name, value) in &state.scope.variables {
            key.text("variable", name).text("value", value);
        }
        key.text("user", &format!("{identity:?}"))
            .text("workdir", &workdir);
        key.text("network", &format!("{network:?}"))
            .text("platform", &state.platform().to_string());
        mounts.hash(&mut key);
        let options = &self.request.options;
        // What is usual is not told, so that the keys stay what they were.
        for host in &options.extra_hosts {
            key.text("host", &format!("{} {}", host.name, host.address));
        }
        if options.no_new_privileges {
            key.text("no new privileges", "");
        }
        let hostname = self.said(HOSTNAME);
        if let Some(hostname) = hostname {
            key.text("hostname", hostname);
        }
        let key = key.finish();
        let told = match &invocation {
            // As if the shell had started it.
            RunInvocation::Script { name, .. } => {
                let argv = with_shell(&format!("/dev/pipes/{name}"), config);
                history::run(&state.scope, &argv)
            }
            RunInvocation::Exec(_) | RunInvocation::Shell(_) => history::run(&state.scope, &argv),
        };
        let mut claimed = match self.claim(key, step)? {
            Claim::Found(known) => return Ok(StepDone::cached(known, told)),
            Claim::Ours(claimed) => claimed,
        };

        let mut stacked = self.engine.stack_to_change(&below, self.events)?;
        let spec = stacked.spec(argv.iter().map(OsString::from).collect());
        let working = stacked
            .working
            .take()
            .expect("what a step changes goes into a layer");
        if below.entry(&below_root(&workdir)).ok().flatten().is_none() && workdir != "/" {
            LayerBuilder::new(working.upper(), &below)
                .make_directories(&workdir, (0, 0), 0o755)
                .map_err(|error| cannot_place(error, span))?;
        }
        leave_mount_points(working.upper(), &below).map_err(|error| cannot_place(error, span))?;
        mounts.open(self, state, step)?;
        if mounts.changes(self, state)? != hashed {
            self.doubt(&mut claimed);
        }
        let mut variables = state.scope.variables.clone();
        variables.extend(self.proxy_variables());
        let mut specs = mounts.specs();
        if let Some(ca) = &self.request.options.host_ca {
            specs.extend(ca.mounts());
            variables.extend(ca.variables(&variables));
        }
        variables.extend(mounts.variables());
        if let RunInvocation::Script { name, content } = &invocation {
            specs.push(script(name, content));
        }
        let spec = RunSpec {
            mounts: specs,
            env: environment(variables, &identity),
            cwd: workdir.into(),
            user: ids(&identity),
            network,
            timeout: options.timeout,
            limits: limits::of_sandbox(&options.limits),
            shm_size: options.limits.shm_size.map(|size| size.0),
            extra_hosts: options
                .extra_hosts
                .iter()
                .map(|host| (host.name.clone(), host.address))
                .collect(),
            no_new_privileges: options.no_new_privileges,
            hostname: hostname.map_or_else(|| spec.hostname.clone(), str::to_owned),
            ..spec
        };
        let output = Mutex::new((Redactor::new(mounts.secrets(self)), Tail::default()));
        let output = || {
            output
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let show = |tail: &mut Tail, bytes: Vec<u8>| {
            if !bytes.is_empty() {
                tail.push(&bytes);
                (self.events)(Event::Output(step.clone(), bytes));
            }
        };
        let sink = |stream: Stream, bytes: &[u8]| {
            let (redactor, tail) = &mut *output();
            show(tail, redactor.push(stream, bytes));
        };
        let exit = run_spec(self.engine, &spec, self.cancellation, &sink);
        let (redactor, tail) = &mut *output();
        for (_, rest) in redactor.finish() {
            show(tail, rest);
        }
        drop(mounts);
        let (exit, hit) =
            exit.map_err(|error| cannot_start(error, &invocation, state.platform(), span))?;
        self.cancellation.check()?;
        match exit {
            Exit::Code(0) => self.commit(working, &below, claimed, state, told),
            other => Err(failed_step(&other, hit, tail, options, span)),
        }
    }
}

/// Where kernel file systems are mounted, every image that has run something has a folder: BuildKit
/// leaves them, too.
fn leave_mount_points(upper: &Path, below: &Stack) -> Result<(), CopyError> {
    for name in ["dev", "proc", "sys"] {
        if below.entry(Path::new(name)).ok().flatten().is_none() {
            LayerBuilder::new(upper, below).make_directories(name, (0, 0), 0o755)?;
        }
    }
    Ok(())
}

/// Runs to the end; what the command writes is handed over on this thread's side, in order.
pub(crate) fn run_spec(
    engine: &NativeEngine,
    spec: &RunSpec,
    cancellation: &Cancellation,
    sink: &(dyn Fn(Stream, &[u8]) + Sync),
) -> Result<(Exit, LimitsHit), SandboxError> {
    // A command that writes faster than its output is taken has to wait, rather than fill the memory.
    let (sender, receiver) = std::sync::mpsc::sync_channel::<(Stream, Vec<u8>)>(64);
    let stdio = Stdio::to(move |stream, bytes| {
        // The receiver outlives the run; a failed send means that nobody listens any more.
        let _ = sender.send((stream, bytes.to_vec()));
    });
    let mut running = engine.sandbox.spawn(spec, stdio)?;
    let _guard = cancellation.guard(running.killer());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (stream, bytes) in receiver {
                sink(stream, &bytes);
            }
        });
        let exit = running.wait().map(|exit| (exit, running.limits_hit()));
        // Ends the output, so that the thread above comes to its end.
        drop(running);
        exit
    })
}

/// The script of a heredoc, as a file that exists for the time of the step.
fn script(name: &str, content: &str) -> MountSpec {
    MountSpec::File {
        content: Content(content.as_bytes().to_vec()),
        target: Path::new("/dev/pipes").join(name),
        mode: 0o755,
        uid: 0,
        gid: 0,
    }
}

pub(crate) fn ids(identity: &Identity) -> UserIds {
    UserIds {
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
    }
}

pub(crate) fn environment(
    mut variables: BTreeMap<String, String>,
    identity: &Identity,
) -> Vec<(OsString, OsString)> {
    let home = identity
        .home
        .clone()
        .unwrap_or_else(|| if identity.uid == 0 { "/root" } else { "/" }.to_owned());
    variables.entry("HOME".to_owned()).or_insert(home);
    variables
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// What a Dockerfile asks for has to be allowed before anything runs.
pub(crate) fn check_networks<'a>(
    instructions: impl IntoIterator<Item = &'a Instruction>,
    options: &BuildOptions,
) -> Result<(), EngineError> {
    let asks = |instruction: &&Instruction| matches!(&instruction.kind, InstructionKind::Run(run) if run.network == RunNetwork::Host);
    match instructions.into_iter().find(asks) {
        Some(instruction) if !options.host_network => Err(Diagnostic::error(
            codes::NETWORK_NOT_ALLOWED,
            "RUN --network=host is not allowed",
        )
        .at(instruction.span, "asks for the host's network")
        .help("allow it with `--allow network.host`, or drop the flag")
        .into()),
        _ => Ok(()),
    }
}

fn cannot_start(
    error: SandboxError,
    invocation: &RunInvocation,
    platform: &Platform,
    span: Span,
) -> EngineError {
    match error {
        SandboxError::Exec(why)
            if matches!(why.cause, ExecFailure::Format(Some(_)))
                && binfmt_status(platform.architecture()) == BinfmtStatus::Missing =>
        {
            Diagnostic::error(
                codes::NO_EMULATION,
                format!("this machine cannot run programs for {platform}"),
            )
            .at(span, why.to_string())
            .help("on Debian: apt-get install qemu-user-static binfmt-support; `launchway doctor` shows what is set up")
            .into()
        }
        SandboxError::Exec(why) => {
            let help = match &why.cause {
                ExecFailure::Format(None) => {
                    "give it a first line such as #!/bin/sh, or start it through a shell"
                }
                ExecFailure::Format(Some(_)) => {
                    "install qemu-user-static and binfmt-support to run programs of another architecture"
                }
                ExecFailure::NotFound | ExecFailure::NotInPath
                    if matches!(invocation, RunInvocation::Exec(_)) =>
                {
                    "check the path, that an earlier step puts the program there, and that its interpreter is in the image"
                }
                ExecFailure::NotFound | ExecFailure::NotInPath => {
                    "a shell-form RUN needs /bin/sh in the image; COPY a program in first, or use the exec form"
                }
                _ => "check the program's mode and that its interpreter is in the image",
            };
            Diagnostic::error(codes::CANNOT_START, "the step's program cannot be started")
                .at(span, why.to_string())
                .note(format!("the stage is built for {platform}"))
                .help(help)
                .into()
        }
        SandboxError::Limit { limit, why } => limits::not_kept(&limit, &why, span).into(),
        other => other.into(),
    }
}

fn failed_step(
    exit: &Exit,
    hit: LimitsHit,
    tail: &Tail,
    options: &BuildOptions,
    span: Span,
) -> EngineError {
    let mut diagnostic = if *exit == Exit::TimedOut {
        ended(exit, options.timeout, span)
    } else {
        limits::failed_at(hit, &options.limits, span)
            .unwrap_or_else(|| ended(exit, options.timeout, span))
    };
    let text = tail.text();
    if !text.is_empty() {
        diagnostic = diagnostic.note(format!("its last output:\n{text}"));
    }
    diagnostic.into()
}

fn ended(exit: &Exit, timeout: Option<Duration>, span: Span) -> Diagnostic {
    let (code, message, label) = match exit {
        Exit::Code(number) => (
            codes::STEP_FAILED,
            "a RUN step failed".to_owned(),
            format!("exit code {number}"),
        ),
        Exit::Signal(number) => (
            codes::STEP_FAILED,
            "a RUN step was killed".to_owned(),
            format!("signal {number}"),
        ),
        Exit::TimedOut => {
            let limit = timeout.unwrap_or_default().as_secs();
            (
                codes::STEP_TIMED_OUT,
                format!("a RUN step took longer than {limit} s"),
                "stopped".to_owned(),
            )
        }
    };
    let diagnostic = Diagnostic::error(code, message).at(span, label);
    if matches!(exit, Exit::TimedOut) {
        diagnostic.help("raise --step-timeout (`timeout` in [build]), or find what hangs")
    } else {
        diagnostic
    }
}

/// The last lines a step wrote, for its error.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    const KEEP: usize = 4096;
    const LINES: usize = 12;

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * Self::KEEP {
            let cut = self.0.len() - Self::KEEP;
            self.0.drain(..cut);
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(Self::LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use launchway_diagnostics::SourceMap;

    use super::*;

    fn span() -> Span {
        let mut sources = SourceMap::new();
        let source = sources.add("Dockerfile", "RUN x");
        Span::new(source, 0..5)
    }

    #[test]
    fn ends_of_steps() {
        let limit = Some(Duration::from_secs(90));
        for (exit, code, message, label) in [
            (
                Exit::Code(7),
                codes::STEP_FAILED,
                "a RUN step failed",
                "exit code 7",
            ),
            (
                Exit::Signal(9),
                codes::STEP_FAILED,
                "a RUN step was killed",
                "signal 9",
            ),
            (
                Exit::TimedOut,
                codes::STEP_TIMED_OUT,
                "a RUN step took longer than 90 s",
                "stopped",
            ),
        ] {
            let diagnostic = ended(&exit, limit, span());
            assert_eq!(diagnostic.code, code);
            assert_eq!(diagnostic.message, message);
            assert!(format!("{diagnostic:?}").contains(label), "{diagnostic:?}");
        }
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("line {number}\n\n").as_bytes());
        }
        let text = tail.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), Tail::LINES);
        assert_eq!(lines.first(), Some(&"line 9988"));
        assert_eq!(lines.last(), Some(&"line 9999"));
        let mut broken = Tail::default();
        broken.push(b"\xff\xfe end");
        assert!(broken.text().ends_with("end"));
    }

    #[test]
    fn a_home_is_given_unless_it_is_set() {
        let identity = |uid, home: Option<&str>| Identity {
            uid,
            gid: 0,
            groups: vec![0],
            home: home.map(str::to_owned),
        };
        let set = BTreeMap::from([("HOME".to_owned(), "/set".to_owned())]);
        for (variables, identity, want) in [
            (BTreeMap::new(), identity(0, None), "/root"),
            (BTreeMap::new(), identity(9, None), "/"),
            (
                BTreeMap::new(),
                identity(9, Some("/home/nine")),
                "/home/nine",
            ),
            (set, identity(9, Some("/home/nine")), "/set"),
        ] {
            let environment = environment(variables, &identity);
            assert_eq!(environment, [("HOME".into(), want.into())]);
        }
    }
}
