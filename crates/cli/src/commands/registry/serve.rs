//! `launchway registry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use launchway_engine::Cancellation;
use launchway_registry_server::{
    Access, Event, EventSink, Options, Registry, ServeOptions, Tls, Tokens, Upstream, Users,
    serve_with,
};

use super::upstream::ClientUpstream;
use crate::commands::{Result, print};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::toolbox;

/// Answer requests until interrupted
///
/// Speaks the OCI distribution specification 1.1, so any client can push and pull. Each repository
/// below DIR/repositories is a complete OCI image layout that other tools can read, and a layout
/// put there is served. What was acknowledged survives a loss of power.
///
/// Without --htpasswd anybody who reaches it may push, so it listens on this machine only unless
/// told otherwise.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:5000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The folder with the images; created when missing
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Take nothing in; the folder may then be on a read-only file system
    #[arg(long)]
    read_only: bool,
    /// Be a mirror of this registry: fetch what is asked for, keep it, and take nothing else in
    ///
    /// The name of a repository is put behind HOST[/PREFIX]. What a tag stands for is looked up each
    /// time; when the registry does not answer, what is in the folder is served, with a `Warning`.
    /// Your own credentials for the registry are used, for whoever may pull here.
    #[arg(
        long,
        value_name = "https://HOST[/PREFIX]",
        conflicts_with = "read_only"
    )]
    mirror_of: Option<String>,
    /// Write every request to stderr
    #[arg(long)]
    log: bool,
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    tls: TlsArguments,
}

#[derive(Args)]
#[command(next_help_heading = "Who may do what")]
struct AccessArguments {
    /// Ask for a user and password of this file, made with `htpasswd -B`
    ///
    /// Lines of NAME:HASH, the hash by bcrypt; anything else is refused by its line. The file is
    /// read again when it changes.
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Let everybody pull; pushing and deleting need a user
    ///
    /// Turns on --tokens, since Docker asks for a token also to pull.
    #[arg(long, requires = "htpasswd")]
    anonymous_pull: bool,
    /// Issue bearer tokens under /token, as large registries do
    ///
    /// A token is good for the repositories and actions it was asked for, and ends with this
    /// process. Passwords are taken everywhere all the same.
    #[arg(long, requires = "htpasswd")]
    tokens: bool,
    /// How long a token is good for
    #[arg(
        long,
        requires = "htpasswd",
        default_value_t = 300,
        value_name = "SECONDS"
    )]
    token_lifetime: u64,
    /// Where clients reach /token when that is not the address they use, as behind a proxy
    #[arg(long, requires = "htpasswd", value_name = "URL")]
    token_realm: Option<String>,
}

#[derive(Args)]
#[command(next_help_heading = "TLS")]
struct TlsArguments {
    /// Speak HTTPS with this certificate: PEM, the server's own first, then what signed it
    ///
    /// Certificate and key are read again when the files change.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key: PEM, without a password
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  launchway registry serve --root images
      for this machine, on port 5000

  htpasswd -Bc users ann
  launchway registry serve --root images --listen 0.0.0.0:443 \\
      --htpasswd users --tls-cert fullchain.pem --tls-key privkey.pem
      for others: a password, over HTTPS

  launchway registry serve --root hub --mirror-of https://docker.io
      a cache of Docker Hub; name it under registry-mirrors in Docker's daemon.json

stdout has the address, in one line, as soon as it listens.";

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let access = access(&arguments.access)?;
    let mirror = match &arguments.mirror_of {
        Some(text) => Some(Arc::new(ClientUpstream::open(text, settings)?) as Arc<dyn Upstream>),
        None => None,
    };
    let protected = access.is_some() || arguments.read_only || mirror.is_some();
    let options = Options {
        read_only: arguments.read_only,
        access,
        mirror,
        events: Some(log(arguments.log)),
        ..Options::default()
    };
    let serving = ServeOptions {
        tls: tls(&arguments.tls)?,
        ..ServeOptions::default()
    };
    let registry = Registry::open(&arguments.root, options)
        .map_err(|error| Failure::caused("cannot open the registry", &error))?;
    let registry = Arc::new(registry);
    toolbox::block_on(&Cancellation::default(), async {
        let listener = tokio::net::TcpListener::bind(arguments.listen)
            .await
            .map_err(|error| {
                Failure::caused(format!("cannot listen on {}", arguments.listen), &error)
            })?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::caused("cannot tell where it listens", &error))?;
        let secure = serving.tls.is_some();
        if !address.ip().is_loopback() {
            if !protected {
                eprintln!(
                    "warning: {address} can be reached from other machines, and anyone may push"
                );
            }
            if arguments.access.htpasswd.is_some() && !secure {
                eprintln!(
                    "warning: passwords reach {address} unencrypted; use --tls-cert and --tls-key, or a proxy that speaks TLS"
                );
            }
        }
        print(&format!("{address}\n"));
        let scheme = if secure { "https" } else { "http" };
        eprintln!(
            "serving {} on {scheme}://{address}/ (stop with Ctrl-C)",
            arguments.root.display()
        );
        serve_with(listener, registry, serving, stop())
            .await
            .map_err(|error| Failure::caused("the registry stopped", &error))
    })?
}

fn access(arguments: &AccessArguments) -> std::result::Result<Option<Access>, Failure> {
    let Some(file) = &arguments.htpasswd else {
        return Ok(None);
    };
    let users = Users::open(file)
        .map_err(|error| Failure::caused("cannot take users from --htpasswd", &error))?;
    let tokens = (arguments.tokens || arguments.anonymous_pull).then(|| Tokens {
        lifetime: Duration::from_secs(arguments.token_lifetime),
        realm: arguments.token_realm.clone(),
    });
    Ok(Some(Access {
        users,
        realm: "launchway".to_owned(),
        anonymous_pull: arguments.anonymous_pull,
        tokens,
        permit: None,
    }))
}

fn tls(arguments: &TlsArguments) -> std::result::Result<Option<Tls>, Failure> {
    match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Tls::open(certificate, key)
            .map(Some)
            .map_err(|error| Failure::caused("cannot speak TLS", &error)),
        _ => Ok(None),
    }
}

fn log(requests: bool) -> EventSink {
    Arc::new(move |event| match event {
        Event::Answered {
            method,
            path,
            status,
            elapsed,
        } if requests => {
            let milliseconds = elapsed.as_secs_f64() * 1000.0;
            eprintln!("{method} {path} {} {milliseconds:.1} ms", status.as_u16());
        }
        Event::Failed { path, reason } => eprintln!("error: {path}: {reason}"),
        Event::Warned { reason } => eprintln!("warning: {reason}"),
        _ => {}
    })
}

async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    if let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
