//! One-off commands in a finished image, such as smoke tests.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use launchway_model::Platform;
use launchway_sandbox::{Exit, MountSpec, Network, RunSpec, Stream};

use crate::configure::env_pairs;
use crate::native::{DEFAULT_PATH, NativeEngine};
use crate::run::{environment, ids, run_spec};
use crate::users::Accounts;
use crate::{Cancellation, EngineError, Image};

/// A command in a finished image, as `docker run` would start it; what it writes is thrown away.
pub struct ContainerRun<'a> {
    pub image: &'a Image,
    pub platform: &'a Platform,
    /// Instead of the image's command; the entrypoint comes first.
    pub arguments: Vec<String>,
    /// Whether the image's entrypoint is used.
    pub entrypoint: bool,
    /// Files of the host, read-only at a path inside.
    pub files: Vec<(PathBuf, PathBuf)>,
    pub user: Option<String>,
    pub network: Network,
    pub timeout: Option<Duration>,
}

/// How a command ended and what it wrote; each stream is cut after a mebibyte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl NativeEngine {
    /// Runs a command in an image.
    pub fn run(
        &self,
        run: &ContainerRun<'_>,
        cancellation: &Cancellation,
    ) -> Result<CommandOutcome, EngineError> {
        const LIMIT: usize = 1 << 20;
        let stack = run.image.stack();
        let config = &run.image.config.config;
        let user = run
            .user
            .clone()
            .or_else(|| config.user.clone())
            .unwrap_or_default();
        let identity = Accounts::of(&stack).identity(&user).map_err(|error| {
            EngineError::io(error.to_string())(std::io::ErrorKind::NotFound.into())
        })?;
        let mut argv: Vec<String> = Vec::new();
        if run.entrypoint {
            argv.extend(config.entrypoint.clone().unwrap_or_default());
        }
        argv.extend(run.arguments.clone());
        let mut variables: BTreeMap<String, String> = env_pairs(config).collect();
        variables
            .entry("PATH".to_owned())
            .or_insert_with(|| DEFAULT_PATH.to_owned());
        let files = run.files.iter().map(|(source, target)| MountSpec::Bind {
            source: source.clone(),
            target: target.clone(),
            read_only: true,
        });
        let workdir = config
            .working_dir
            .clone()
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| "/".to_owned());
        let stacked = self.stack_to_look_at(&stack)?;
        let spec = RunSpec {
            mounts: files.collect(),
            env: environment(variables, &identity),
            cwd: workdir.into(),
            user: ids(&identity),
            network: run.network,
            timeout: run.timeout,
            ..stacked.spec(argv.iter().map(OsString::from).collect())
        };
        let written: Mutex<(Vec<u8>, Vec<u8>)> = Mutex::default();
        let sink = |stream: Stream, bytes: &[u8]| {
            let mut both = written
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let to = match stream {
                Stream::Stdout => &mut both.0,
                Stream::Stderr => &mut both.1,
            };
            let room = LIMIT.saturating_sub(to.len()).min(bytes.len());
            to.extend_from_slice(&bytes[..room]);
        };
        let (exit, _) = run_spec(self, &spec, cancellation, &sink)?;
        cancellation.check()?;
        let (stdout, stderr) = written
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(CommandOutcome {
            exit,
            stdout,
            stderr,
        })
    }
}
