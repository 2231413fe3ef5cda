//! `launchway registry`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use launchway_engine::Cancellation;
use launchway_registry_server::{Options, Registry, serve};

use super::Result;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::toolbox;

/// Serve images from a folder, as an OCI registry
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests until interrupted
    ///
    /// Each repository below ROOT/repositories is a complete OCI image layout that other tools can read.
    /// There is no authentication, so it listens on this machine only unless told otherwise.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:5000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The folder with the images; created when missing
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Take nothing in
    #[arg(long)]
    read_only: bool,
}

pub(crate) fn run(arguments: &Arguments, _: &Settings) -> Result {
    let Command::Serve(arguments) = &arguments.command;
    let options = Options {
        read_only: arguments.read_only,
        ..Options::default()
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
        if !address.ip().is_loopback() {
            eprintln!("warning: {address} can be reached from other machines, and anyone may push");
        }
        super::print(&format!("{address}\n"));
        eprintln!(
            "serving {} on http://{address}/ (stop with Ctrl-C)",
            arguments.root.display()
        );
        serve(listener, registry, stop())
            .await
            .map_err(|error| Failure::caused("the registry stopped", &error))
    })?
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
