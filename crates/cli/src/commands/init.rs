//! `launchway init`.

use std::path::{Path, PathBuf};

use clap::Args;
use launchway_diagnostics::SourceMap;
use launchway_manifest::{FoundDockerfile, starter};

use super::Result;
use crate::failure::Failure;
use crate::settings::Settings;

/// Write a first launchway.toml from the Dockerfiles here
///
/// The file is commented and meant to be edited. An existing file is never overwritten.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The folder with the Dockerfiles
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Print the file instead of writing it
    #[arg(long)]
    stdout: bool,
}

/// How deep Dockerfiles are looked for.
const DEPTH: usize = 3;

pub(crate) fn run(arguments: &Arguments, _: &Settings) -> Result {
    let mut paths = Vec::new();
    search(&arguments.folder, DEPTH, &mut paths).map_err(|error| {
        Failure::caused(
            format!("cannot look through {}", arguments.folder.display()),
            &error,
        )
    })?;
    paths.sort();
    let found: Vec<FoundDockerfile> = paths
        .iter()
        .filter_map(|path| describe(&arguments.folder, path))
        .collect();
    let text = starter(&found);
    if arguments.stdout {
        super::print(&text);
        return Ok(());
    }
    let target = arguments.folder.join("launchway.toml");
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&target)
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                Failure::usage(
                    format!("{} exists already", target.display()),
                    "edit it, or see what would be written with --stdout",
                )
            } else {
                Failure::caused(format!("cannot write {}", target.display()), &error)
            }
        })?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .map_err(|error| Failure::caused(format!("cannot write {}", target.display()), &error))?;
    eprintln!(
        "wrote {} for {} Dockerfiles; next: edit it, then `launchway plan`",
        target.display(),
        found.len()
    );
    Ok(())
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir()
            && depth > 0
            && !name.starts_with('.')
            && name != "node_modules"
            && name != "target"
        {
            search(&entry.path(), depth - 1, found)?;
        }
        let lower = name.to_lowercase();
        let is_dockerfile = ["dockerfile", "containerfile"].iter().any(|word| {
            lower == *word
                || lower.starts_with(&format!("{word}."))
                || lower.ends_with(&format!(".{word}"))
        });
        if kind.is_file() && is_dockerfile && !lower.ends_with(".dockerignore") {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn describe(folder: &Path, path: &Path) -> Option<FoundDockerfile> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut sources = SourceMap::new();
    let source = sources.add(path.display().to_string(), text.clone());
    let file = launchway_dockerfile::parse(source, &text).dockerfile?;
    let names: Vec<String> = file
        .stages
        .iter()
        .filter_map(|stage| Some(stage.name.as_ref()?.value.clone()))
        .collect();
    let bases = file.stages.iter().map(|stage| stage.from.value.clone());
    let external = bases
        .filter(|base| base != "scratch" && !names.contains(&base.to_lowercase()))
        .collect();
    let args = file
        .global_args
        .iter()
        .flat_map(|arg| &arg.definitions)
        .map(|definition| definition.name.value.clone());
    Some(FoundDockerfile {
        path: path
            .strip_prefix(folder)
            .unwrap_or(path)
            .display()
            .to_string(),
        stages: names,
        external_bases: external,
        args: args.collect(),
    })
}
