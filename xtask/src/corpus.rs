//! `cargo xtask corpus`: the Dockerfiles of the corpus, built by the native engine and by BuildKit
//! and compared. It is one of the tests; this runs it alone, for those cases that are asked for.

use anyhow::Result;

use crate::{peers, shell};

/// Read by the test.
const ONLY_VARIABLE: &str = "LAUNCHWAY_CORPUS_ONLY";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only cases whose path below `corpus/` holds one of these words
    only: Vec<String>,
    /// Build with BuildKit only, to see that a new case is right
    #[arg(long)]
    buildkit_only: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Without it the test would pass and say that it was skipped.
    peers::docker()?;
    let mut command = shell::cargo();
    command.env(ONLY_VARIABLE, arguments.only.join(" "));
    if arguments.buildkit_only {
        command.args(["test", "--package", "launchway-testkit", "--test", "corpus"]);
    } else {
        command.args(["test", "--package", "launchway", "--test", "differential"]);
    }
    command.args(["--", "--nocapture"]);
    shell::run(&mut command)
}
