//! What commands work with: the client, the store, the engine, the runtime, interruption.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use launchway_diagnostics::{Diagnostic, SourceMap};
use launchway_engine::{Cancellation, HostCa, NativeEngine, codes};
use launchway_manifest::Family;
use launchway_model::{Reference, RegistryHost};
use launchway_oci::{Flavour, Store};
use launchway_registry::{
    Client, ClientError, ClientEvent, ClientOptions, Mirror, RetryPolicy, SystemCredentials,
    Variables,
};
use launchway_sandbox::{
    FindingState, IdMapping, PassedOver, Sandbox, Stacking, StackingChoice, host_findings,
};

use crate::commands::Progress;
use crate::failure::Failure;
use crate::family::NetworkArguments;
use crate::report::{self, Reporter};
use crate::settings::Settings;

pub(crate) type ClientEvents = Arc<dyn Fn(ClientEvent) + Send + Sync>;

/// A client with the user's credentials. A family adds its own rules. Without a taker for its
/// events, what it waits for is told on stderr.
pub(crate) fn client(
    settings: &Settings,
    network: &NetworkArguments,
    family: Option<&Family>,
    events: Option<ClientEvents>,
) -> Result<Client, Failure> {
    let mut retry = RetryPolicy::default();
    let mut plain_http = Vec::new();
    if let Some(family) = family {
        plain_http.extend(family.plain_http.iter().map(|host| host.value.clone()));
        retry.attempts = family.retry.attempts;
        retry.pauses.clone_from(&family.retry.pauses);
    }
    client_with(settings, network, plain_http, retry, events)
}

/// A client for a command whose caller waits for the answer: it gives up within seconds where a
/// release would wait for a registry to come back.
pub(crate) fn asking_client(
    settings: &Settings,
    network: &NetworkArguments,
    reporter: &Reporter,
) -> Result<Client, Failure> {
    let retry = RetryPolicy {
        attempts: 3,
        pauses: vec![Duration::from_millis(250), Duration::from_secs(1)],
        throttle_deadline: Duration::from_secs(60),
    };
    client_with(settings, network, Vec::new(), retry, Some(told(reporter)))
}

/// The same for a copy, which has more to lose.
pub(crate) fn copying_client(
    settings: &Settings,
    network: &NetworkArguments,
    reporter: &Reporter,
) -> Result<Client, Failure> {
    let retry = RetryPolicy {
        attempts: 4,
        pauses: [1, 4, 15].map(Duration::from_secs).to_vec(),
        ..RetryPolicy::default()
    };
    client_with(settings, network, Vec::new(), retry, Some(told(reporter)))
}

fn told(reporter: &Reporter) -> ClientEvents {
    let on_event = reporter.on_release();
    Arc::new(move |event| on_event(launchway_release::Event::Transfer(event)))
}

fn client_with(
    settings: &Settings,
    network: &NetworkArguments,
    mut plain_http: Vec<RegistryHost>,
    retry: RetryPolicy,
    events: Option<ClientEvents>,
) -> Result<Client, Failure> {
    let environment = settings.environment.clone();
    let variables: Variables = Arc::new(move |name| environment.get(OsStr::new(name)).cloned());
    let credentials = SystemCredentials::load(variables)
        .map_err(|error| Failure::caused("cannot read the registry credentials", &error))?;
    plain_http.extend(network.plain_http()?);
    let mirrors: Vec<Mirror> = network.mirrors()?;
    let notes = || {
        let quiet = matches!(settings.progress, Progress::Quiet);
        report::network::notes(settings.colour, quiet)
    };
    let options = ClientOptions {
        plain_http,
        retry,
        mirrors,
        credentials: Arc::new(credentials),
        events: Some(events.unwrap_or_else(notes)),
        ca_bundle: settings.ca_file(),
        ..ClientOptions::default()
    };
    Client::new(options).map_err(|error| match error {
        ClientError::MirrorPrefix { .. } => Failure::usage(
            format!("--mirror: {error}"),
            "write it as docker.io=HOST or docker.io=HOST/PREFIX",
        ),
        error => Failure::caused("cannot set up the registry client", &error),
    })
}

/// The view of long work that the user asked for. It may start a thread, so the store comes first.
pub(crate) fn reporter(settings: &Settings) -> Reporter {
    if settings.json {
        return reporter_as(report::Format::Json, settings);
    }
    talk_reporter(settings)
}

/// The same for commands whose JSON is one value at the end.
pub(crate) fn talk_reporter(settings: &Settings) -> Reporter {
    let format = match settings.progress {
        _ if settings.json => report::Format::Quiet,
        Progress::Auto => report::Format::Auto,
        Progress::Live => report::Format::Live,
        Progress::Plain => report::Format::Plain,
        Progress::Quiet => report::Format::Quiet,
    };
    reporter_as(format, settings)
}

/// Lines about trouble with registries, for commands that are mostly over at once.
pub(crate) fn asking_reporter(settings: &Settings) -> Reporter {
    let format = match settings.progress {
        _ if settings.json => report::Format::Quiet,
        Progress::Quiet => report::Format::Quiet,
        Progress::Auto | Progress::Live | Progress::Plain => report::Format::Plain,
    };
    reporter_as(format, settings)
}

fn reporter_as(format: report::Format, settings: &Settings) -> Reporter {
    let size = || {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
        (size.ws_col > 0).then(|| report::Size {
            columns: usize::from(size.ws_col),
            rows: usize::from(size.ws_row),
        })
    };
    let options = report::Options {
        colour: settings.colour,
        interactive: settings.interactive,
        size: Arc::new(size),
    };
    Reporter::new(format, options)
}

/// The store and the engine over it. A user who is not root is moved into a user namespace first,
/// so this comes before any thread is started.
pub(crate) struct Builder {
    pub(crate) store: Store,
    pub(crate) engine: NativeEngine,
    pub(crate) state: PathBuf,
}

impl Builder {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        let mapping = launchway_sandbox::enter_user_namespace()
            .map_err(|error| no_user_namespace(&error, settings))?;
        let mut notices = Vec::new();
        // Layers of the two kinds mark removals differently and cannot be mixed.
        let (flavour, state) = match mapping {
            IdMapping::Host => (Flavour::Trusted, settings.state.join("root")),
            IdMapping::Range { .. } => (Flavour::User, settings.state.join("rootless")),
            IdMapping::Single => {
                notices.push(
                    "no subordinate ids for this user: only files of one owner can be built (see `launchway doctor`)"
                        .to_owned(),
                );
                (Flavour::User, settings.state.join("single"))
            }
        };
        private_directory(&state).map_err(|error| {
            Failure::caused(format!("cannot create {}", state.display()), &error)
        })?;
        launchway_sandbox::sweep_left_groups();
        let choice = launchway_sandbox::choose_stacking(&state, settings.stacking)
            .map_err(|refused| unstackable(&refused))?;
        notices.extend(stacking_notice(&choice));
        let store = Store::open(&state.join("store"), flavour)
            .map_err(|error| Failure::caused("cannot open the local store", &error))?;
        let helper = Path::new("/proc/self/exe").to_owned();
        let engine = NativeEngine::open(
            store.clone(),
            Sandbox::new(helper),
            &state.join("engine"),
            settings.environment_text(),
        )
        .map_err(|error| Failure::caused("cannot open the engine", &error))?
        .stacking(choice.stacking, notices);
        let builder = Self {
            store,
            engine,
            state,
        };
        // A build that lacks room on the disk gets it from what older ones left.
        crate::tidy::before(&builder, settings)?;
        Ok(builder)
    }

    pub(crate) fn host_ca(
        &self,
        wanted: bool,
        settings: &Settings,
    ) -> Result<Option<HostCa>, Failure> {
        if !wanted {
            return Ok(None);
        }
        let Some(bundle) = settings.ca_bundle() else {
            return Err(Failure::usage(
                "the build is to trust this host's certificates, but none were found",
                "install the package ca-certificates, or set SSL_CERT_FILE to a PEM bundle",
            ));
        };
        HostCa::prepare(&bundle, &self.state)
            .map(Some)
            .map_err(|error| Failure::caused("cannot use the host's certificates", &error))
    }
}

/// Creates a directory that nobody else may enter. Layers hold files as images have them, such as programs that anybody
/// may start with the rights of root; on this machine nobody is to find them.
fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        // Older versions left it open to all.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        }
        other => other,
    }
}

/// Says of it what `doctor` says.
fn no_user_namespace(error: &dyn std::error::Error, settings: &Settings) -> Failure {
    let message = "cannot set up a user namespace to build in";
    let mut diagnostic = Diagnostic::error(codes::MACHINE_LACKS, message).note(error.to_string());
    let mut cause = error.source();
    while let Some(next) = cause {
        diagnostic = diagnostic.note(next.to_string());
        cause = next.source();
    }
    let found = host_findings(&settings.state, Path::new("/proc/self/exe"))
        .into_iter()
        .find(|finding| finding.state == FindingState::Broken);
    let diagnostic = match found {
        Some(finding) => diagnostic
            .note(finding.detail)
            .help(finding.remedy.unwrap_or_else(|| "run as root".to_owned())),
        None => diagnostic.help("`launchway doctor` says what is missing"),
    };
    Failure::diagnosed(vec![diagnostic], SourceMap::new())
}

/// The way of stacking layers that the user asked for does not work here.
fn unstackable(refused: &PassedOver) -> Failure {
    let message = format!("{} cannot be used here", refused.name);
    let diagnostic = Diagnostic::error(codes::MACHINE_LACKS, message)
        .note(refused.why.clone())
        .help(format!(
            "{}, or leave --stacking and LAUNCHWAY_STACKING away",
            refused.remedy
        ));
    Failure::diagnosed(vec![diagnostic], SourceMap::new())
}

/// What a user should know of the way that is used when it is not the best one.
fn stacking_notice(choice: &StackingChoice) -> Option<String> {
    let best = choice.passed_over.first()?;
    let cost = match choice.stacking {
        Stacking::Overlay => return None,
        Stacking::Fuse { .. } => "steps that touch many files are slower",
        Stacking::Copy => "each RUN step first copies the whole file system below it",
    };
    let why: Vec<String> = choice.passed_over.iter().map(ToString::to_string).collect();
    Some(format!(
        "layers are stacked with {}, not with {}: {cost}\n{}\nhelp: {}",
        match choice.stacking {
            Stacking::Copy => "copies",
            _ => choice.stacking.name(),
        },
        best.name,
        why.join("\n"),
        best.remedy
    ))
}

/// Runs async work, and cancels it on the first interruption; the second one ends the program.
pub(crate) fn block_on<T>(
    cancellation: &Cancellation,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Trees of images are walked on these threads by going down, and paths have room for two thousand levels.
        .thread_stack_size(8 << 20)
        .build()
        .map_err(|error| Failure::caused("cannot start the runtime", &error))?;
    let cancellation = cancellation.clone();
    let result = runtime.block_on(async move {
        tokio::spawn(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            let mut asked = 0;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                asked += 1;
                if asked > 1 {
                    std::process::exit(130);
                }
                eprintln!("\ninterrupted: stopping (once more to stop at once)");
                cancellation.cancel();
            }
        });
        work.await
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(result)
}

/// Runs short async work on this thread alone. An interruption ends the program at once.
pub(crate) fn block_here<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("cannot start the runtime", &error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

/// Does something until it is done or an interruption came; then it is dropped where it is.
pub(crate) async fn unless<T>(
    cancellation: &Cancellation,
    work: impl Future<Output = T>,
) -> Option<T> {
    let cancelled = async {
        while !cancellation.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        result = work => Some(result),
        () = cancelled => None,
    }
}

/// The present time, RFC 3339.
pub(crate) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// A time of an image, RFC 3339.
pub(crate) fn timestamp(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The name by which an image is kept: its reference in full.
pub(crate) fn image_name(reference: &Reference) -> String {
    let text = reference.to_string();
    if reference.tag.is_none() && reference.digest.is_none() {
        return format!("{text}:latest");
    }
    text
}
