//! The caller's side of a run: starts the helper, passes its output on, and tells how it ended.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::{ExecError, SandboxError};
use crate::helper::MARKER;
use crate::spec::{Exit, LimitsHit, MountSpec, RunSpec, Stacking, Stream};
use crate::wire::{Order, Report};

/// Receives output as it comes, in pieces of no particular shape, on a thread of its own.
pub type OutputSink = Box<dyn FnMut(Stream, &[u8]) + Send>;

/// What the command reads, and where its output goes.
pub struct Stdio {
    /// `None` is an empty input.
    pub stdin: Option<Vec<u8>>,
    pub output: OutputSink,
}

impl Stdio {
    #[must_use]
    pub fn to(output: impl FnMut(Stream, &[u8]) + Send + 'static) -> Self {
        Self {
            stdin: None,
            output: Box::new(output),
        }
    }
}

/// Starts commands in sandboxes of their own.
///
/// A run costs 4 to 5 ms more than the command itself on a small machine (two virtual cores, Linux 6.18, release build), 8 ms
/// over 60 layers: two starts of the helper, the namespaces, and some thirty mounts.
#[derive(Clone, Debug)]
pub struct Sandbox {
    helper: PathBuf,
}

impl Sandbox {
    /// `helper_executable` calls [`crate::run_if_helper`] first thing in its `main`; `/proc/self/exe` is the usual one.
    #[must_use]
    pub fn new(helper_executable: PathBuf) -> Self {
        Self {
            helper: helper_executable,
        }
    }

    /// Starts a command. That it cannot be started inside the root is told by [`Running::wait`].
    pub fn spawn(&self, spec: &RunSpec, stdio: Stdio) -> Result<Running, SandboxError> {
        check(spec)?;
        let (ours, theirs) = UnixStream::pair().map_err(SandboxError::Start)?;
        let mut child = Command::new(&self.helper)
            .arg0(MARKER)
            .env_clear()
            // A signal from the keyboard is for the caller to act on, not to take its helpers away.
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .map_err(SandboxError::Start)?;
        let Stdio { stdin, output } = stdio;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(SandboxError::Start(io::ErrorKind::BrokenPipe.into()));
        };
        let mut running = Running {
            child,
            helper: Arc::new(ours),
            reader: None,
            exit: None,
            hit: LimitsHit::default(),
        };
        let reader = std::thread::Builder::new()
            .name(String::from("sandbox-output"))
            .spawn(move || deliver(stdout, stderr, output))
            .map_err(SandboxError::Start)?;
        running.reader = Some(reader);
        let order = Order {
            spec: spec.clone(),
            stdin,
        }
        .encode();
        // A helper that ended already has told why.
        match (&*running.helper).write_all(&order) {
            Ok(()) => Ok(running),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(running)
            }
            Err(error) => Err(SandboxError::Start(error)),
        }
    }
}

/// How many layers overlayfs stacks: the kernel's limit, less the layer for mount points.
pub const MOST_LAYERS: usize = 498;

/// What no kernel would be right to guess.
fn check(spec: &RunSpec) -> Result<(), SandboxError> {
    let refuse = |why: String| Err(SandboxError::Spec(why));
    let absolute = |what: &str, path: &Path| {
        if path.is_absolute() {
            Ok(())
        } else {
            refuse(format!("the {what} {} is not absolute", path.display()))
        }
    };
    if spec.argv.is_empty() {
        return refuse(String::from("there is no command"));
    }
    if spec.upper.is_some() != spec.work.is_some() {
        return refuse(String::from(
            "an upper directory and a work directory go together",
        ));
    }
    match spec.stacking {
        Stacking::Overlay => {}
        Stacking::Fuse { .. } | Stacking::Copy if spec.upper.is_none() => {
            return refuse(String::from("only overlayfs can throw changes away"));
        }
        Stacking::Fuse { .. } => {}
        Stacking::Copy if !spec.lower.is_empty() => {
            return refuse(String::from("a copy of the root is not stacked on layers"));
        }
        Stacking::Copy => {}
    }
    if spec.stacking == Stacking::Overlay && spec.lower.len() > MOST_LAYERS {
        return refuse(format!(
            "{} layers are more than the kernel stacks ({MOST_LAYERS})",
            spec.lower.len()
        ));
    }
    for path in spec.lower.iter().chain(&spec.upper).chain(&spec.work) {
        absolute("layer", path)?;
    }
    absolute("working directory", &spec.cwd)?;
    for mount in &spec.mounts {
        match mount {
            MountSpec::Bind { source, target, .. } => {
                absolute("mount source", source)?;
                absolute("mount target", target)?;
            }
            MountSpec::Layers(layers) => {
                let changes = layers.changes.iter();
                let changes = changes.flat_map(|(upper, work)| [upper, work]);
                for path in layers.lower.iter().chain(changes) {
                    absolute("layer", path)?;
                }
                if layers.lower.is_empty() || layers.lower.len() > MOST_LAYERS {
                    return refuse(format!("{} layers cannot be mounted", layers.lower.len()));
                }
                if !layers
                    .path
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)))
                {
                    return refuse(format!("{} is no path in layers", layers.path.display()));
                }
                absolute("mount target", &layers.target)?;
            }
            MountSpec::Tmpfs { target, .. } | MountSpec::File { target, .. } => {
                absolute("mount target", target)?;
            }
        }
    }
    Ok(())
}

/// A command under way. Dropping it kills the whole process tree.
#[derive(Debug)]
pub struct Running {
    child: Child,
    helper: Arc<UnixStream>,
    reader: Option<JoinHandle<()>>,
    exit: Option<Exit>,
    hit: LimitsHit,
}

impl Running {
    /// Waits until the command and everything it started are gone and all output was delivered.
    pub fn wait(&mut self) -> Result<Exit, SandboxError> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let mut bytes = Vec::new();
        // Ends when the helper and init are gone; the command itself never holds the connection.
        let read = (&*self.helper).read_to_end(&mut bytes);
        let status = self.child.wait().map_err(SandboxError::Start)?;
        if let Some(reader) = self.reader.take()
            && let Err(panic) = reader.join()
        {
            std::panic::resume_unwind(panic);
        }
        let mut reports = Report::decode_all(&bytes).into_iter();
        let mut first = reports.next();
        for report in reports {
            match report {
                Report::Hit(hit) => self.hit = hit,
                // What could not be cleared away would be in the result.
                Report::Failed { .. } if !matches!(first, Some(Report::Failed { .. })) => {
                    first = Some(report);
                }
                _ => {}
            }
        }
        let Some(report) = first else {
            let why = read
                .err()
                .map_or_else(|| status.to_string(), |error| error.to_string());
            return Err(SandboxError::Lost(why));
        };
        let exit = match report {
            Report::Exited(code) => Exit::Code(code),
            Report::Signaled(signal) => Exit::Signal(signal),
            Report::TimedOut => Exit::TimedOut,
            Report::Failed { step, errno } => {
                return Err(SandboxError::Setup {
                    step,
                    source: io::Error::from_raw_os_error(errno),
                });
            }
            Report::NotExecuted { program, cause } => {
                return Err(ExecError { program, cause }.into());
            }
            Report::NotKept { limit, why } => return Err(SandboxError::Limit { limit, why }),
            // The first process was the one that was killed.
            Report::Lost(signal) if self.hit.memory => Exit::Signal(signal),
            Report::Hit(_) => {
                return Err(SandboxError::Lost(String::from("it told no end")));
            }
            Report::Lost(signal) => {
                return Err(SandboxError::Lost(format!(
                    "its first process was killed by signal {signal}"
                )));
            }
        };
        self.exit = Some(exit);
        Ok(exit)
    }

    /// The limits that the run came to, once it has been waited for.
    #[must_use]
    pub fn limits_hit(&self) -> LimitsHit {
        self.hit
    }

    /// The process id of the helper.
    #[must_use]
    pub fn helper_id(&self) -> u32 {
        self.child.id()
    }

    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer {
            helper: Arc::clone(&self.helper),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.killer().kill();
        // The helper ends by itself now; this only collects it.
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // A panic of the receiver of the output has been printed already.
            let _ = reader.join();
        }
    }
}

/// Ends a run from elsewhere.
#[derive(Clone, Debug)]
pub struct Killer {
    helper: Arc<UnixStream>,
}

impl Killer {
    /// Kills the whole process tree at once. Does nothing when it is already gone.
    pub fn kill(&self) {
        // The helper takes the end of what the caller has to say for this wish. It fails when the helper is gone.
        let _ = self.helper.shutdown(Shutdown::Write);
    }
}

/// Passes output on until both streams end.
fn deliver(mut stdout: ChildStdout, mut stderr: ChildStderr, mut output: OutputSink) {
    let mut buffer = vec![0; 64 * 1024];
    let mut open = (true, true);
    while open.0 || open.1 {
        let mut events = Vec::with_capacity(2);
        if open.0 {
            events.push((
                Stream::Stdout,
                PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN),
            ));
        }
        if open.1 {
            events.push((
                Stream::Stderr,
                PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::IN),
            ));
        }
        let (streams, mut polled): (Vec<Stream>, Vec<PollFd<'_>>) = events.into_iter().unzip();
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let ready: Vec<Stream> = streams
            .into_iter()
            .zip(&polled)
            .filter(|(_, event)| !event.revents().is_empty())
            .map(|(stream, _)| stream)
            .collect();
        drop(polled);
        for stream in ready {
            let read = match stream {
                Stream::Stdout => stdout.read(&mut buffer),
                Stream::Stderr => stderr.read(&mut buffer),
            };
            match read {
                Ok(count) if count > 0 => output(stream, &buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => match stream {
                    Stream::Stdout => open.0 = false,
                    Stream::Stderr => open.1 = false,
                },
            }
        }
    }
}
