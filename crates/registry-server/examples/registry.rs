//! A registry on a loopback port, for trying clients by hand:
//! `registry ROOT [PORT] [--read-only] [--process] [--log]`. Prints its address and serves until it is
//! interrupted.

use std::path::Path;
use std::sync::Arc;

use launchway_registry_server::{Durability, Event, Options, Registry, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, values): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let root = values.first().ok_or("which directory?")?;
    let port = values.get(1).map_or(Ok(0), |port| port.parse::<u16>())?;
    let log = flags.iter().any(|flag| flag == "--log");
    let options = Options {
        read_only: flags.iter().any(|flag| flag == "--read-only"),
        durability: match flags.iter().any(|flag| flag == "--process") {
            true => Durability::Process,
            false => Durability::Disk,
        },
        events: Some(Arc::new(move |event| match event {
            Event::Answered {
                method,
                path,
                status,
                elapsed,
            } if log => {
                eprintln!("{method} {path} {} {elapsed:?}", status.as_u16());
            }
            Event::Failed { path, reason } => eprintln!("{path}: {reason}"),
            _ => {}
        })),
        ..Options::default()
    };
    let registry = Arc::new(Registry::open(Path::new(root), options)?);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", listener.local_addr()?);
    serve(listener, registry, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    Ok(())
}
