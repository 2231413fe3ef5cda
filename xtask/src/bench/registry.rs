//! The client beside crane, oras, skopeo and `docker buildx imagetools`, and the embedded server
//! beside docker-registry, in one run.

mod clients;
mod images;
mod load;
mod process;
mod report;
mod tools;
mod wire;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::launchway::Launchway;
use crate::{setup, shell};
use clients::{Field, Line, Outcome};
use report::Report;
use tools::{Tool, Tools};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often everything is done; medians are printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure only these
    #[arg(long, value_enum, value_name = "LINE", num_args = 1..)]
    only: Vec<Line>,
    /// How to print what was measured
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Put the tables into docs/benchmarks.md, too
    #[arg(long)]
    write: bool,
    /// Measure this build of launchway instead of making one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Tables, in Markdown
    Text,
    /// All figures
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.runs == 0 {
        bail!("nothing is measured in no runs");
    }
    if arguments.write && !arguments.only.is_empty() {
        bail!("a part of the lines cannot replace the page's tables; leave out --only or --write");
    }
    setup::ensure(&[&setup::DOCKER_REGISTRY])?;
    let state = shell::target().join("bench-registry-state");
    let launchway = match &arguments.program {
        Some(program) => Launchway::built(program, &state)?,
        None => Launchway::build(&state)?,
    };
    let tools = Tools::find(launchway)?;
    let wanted = |line: &Line| arguments.only.is_empty() || arguments.only.contains(line);

    let lines: Vec<Line> = Line::CLIENTS.into_iter().filter(wanted).collect();
    let mut report = Report {
        runs: arguments.runs,
        versions: versions(&tools)?,
        clients: Vec::new(),
        servers: Vec::new(),
    };
    if !lines.is_empty() {
        let mut field = Field::prepare(&lines)?;
        for line in lines {
            shell::say(&format!("measuring: {}", line.title()));
            let outcomes = field.measure(&tools, line, arguments.runs)?;
            report.clients.push((line, outcomes));
        }
    }
    // Last, because it takes memory that the kernel would count for programs started after it.
    if wanted(&Line::Server) {
        shell::say("measuring: servers");
        report.servers = load::measure(tools.launchway(), arguments.runs)?;
    }

    match arguments.format {
        Format::Text => print!("{}", report.markdown()?),
        Format::Json => println!("{}", report.json()?),
    }
    if arguments.write {
        report.write_into(&shell::root().join("docs/benchmarks.md"))?;
    }
    let failed = report.clients.iter().any(|(_, outcomes)| {
        outcomes.iter().any(|(tool, outcome)| {
            *tool == Tool::Launchway && matches!(outcome, Outcome::Failed(_))
        })
    });
    if failed {
        bail!("launchway did not do all of its work");
    }
    Ok(())
}

fn versions(tools: &Tools) -> Result<Vec<String>> {
    let mut versions = tools.versions()?;
    let text = shell::read(Command::new("docker-registry").arg("--version"))?;
    let number = text.split_whitespace().last().unwrap_or("?");
    versions.push(format!("docker-registry {number}"));
    Ok(versions)
}
