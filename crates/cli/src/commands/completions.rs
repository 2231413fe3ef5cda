//! `launchway completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Launchway, Result};

/// Print completions for a shell
///
/// For bash: launchway completions bash > /etc/bash_completion.d/launchway
#[derive(Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Launchway::command(),
        "launchway",
        &mut script,
    );
    super::print(&String::from_utf8_lossy(&script));
    Ok(())
}
