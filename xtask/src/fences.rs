//! `cargo xtask fences`: rules of this project that the compiler does not know.
//!
//! Each rule is data and one function; a broken rule is a line that says what to do about it.

mod layers;
mod text;

use anyhow::{Result, bail};

use crate::shell;

pub(crate) fn run() -> Result<()> {
    let mut broken = layers::check()?;
    broken.extend(text::check()?);
    if broken.is_empty() {
        shell::say("the fences hold");
        return Ok(());
    }
    for line in &broken {
        eprintln!("  {line}");
    }
    bail!("{} fences are broken", broken.len());
}
