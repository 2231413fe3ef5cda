//! `cargo xtask corpus`: the Dockerfiles of this project's corpus, built by the native engine and by
//! BuildKit and compared. It is one of the tests; this runs it alone, for those cases that are
//! asked for.

use anyhow::Result;

use crate::conform;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only cases whose path below `corpus/` holds one of these words
    only: Vec<String>,
    #[command(flatten)]
    how: conform::How,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    conform::own(&arguments.only, &arguments.how)
}
