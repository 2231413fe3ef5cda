//! One measurement of one program: the time, the processor's time and the memory it took.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use wait4::Wait4 as _;

/// What one or several processes, one after the other, took.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    /// From before the first was started to after the last had ended, in seconds.
    pub(super) wall: f64,
    /// User and system time of the processes and their children, in seconds.
    pub(super) processor: f64,
    /// The most memory that one of them had at once, in bytes.
    pub(super) memory: u64,
}

/// How a program is meant to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Success,
    Failure,
}

/// Where programs write to while they are measured.
pub(super) struct Stage {
    pub(super) output: PathBuf,
    pub(super) errors: PathBuf,
}

impl Stage {
    /// Runs the commands one after the other. Their output is kept in a file when `keep` is set.
    pub(super) fn run(
        &self,
        commands: &mut [Command],
        ending: Ending,
        keep: bool,
    ) -> Result<Sample> {
        let output = || -> Result<Stdio> {
            Ok(if keep {
                File::create(&self.output)?.into()
            } else {
                Stdio::null()
            })
        };
        for command in &mut *commands {
            command.stdin(Stdio::null());
            command.stdout(output()?);
            command.stderr(File::create(&self.errors)?);
        }
        let mut sample = Sample::default();
        let start = Instant::now();
        for command in commands {
            let ended = command
                .spawn()
                .and_then(|mut child| child.wait4())
                .with_context(|| format!("cannot run {}", command.get_program().display()))?;
            let used = ended.rusage;
            sample.processor += (used.utime + used.stime).as_secs_f64();
            sample.memory = sample.memory.max(used.maxrss);
            // A program that a signal ended has no code, and has not failed as it should.
            let well = match ending {
                Ending::Success => ended.status.success(),
                Ending::Failure => ended.status.code().is_some_and(|code| code != 0),
            };
            if !well {
                let said = fs::read_to_string(&self.errors).unwrap_or_default();
                bail!("{}: {}", ended.status, complaint(&said));
            }
        }
        sample.wall = start.elapsed().as_secs_f64();
        Ok(sample)
    }

    /// What the last one that was run with `keep` printed.
    pub(super) fn printed(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.output)?)
    }
}

/// The line of a program's talk that says what went wrong.
fn complaint(said: &str) -> &str {
    said.lines()
        .find(|line| line.contains("rror"))
        .or_else(|| said.trim().lines().last())
        .unwrap_or("nothing said")
        .trim()
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn the_complaint_is_the_line_with_the_error() {
        for (said, expected) in [
            (
                "error: no such command\n\nUsage: x\n",
                "error: no such command",
            ),
            ("trying\nError: 404\n", "Error: 404"),
            ("trying\ngave up\n", "gave up"),
            ("", "nothing said"),
        ] {
            assert_eq!(complaint(said), expected);
        }
    }
}
