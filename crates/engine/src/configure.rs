//! Instructions that change only the image's configuration.

use std::time::Duration;

use launchway_diagnostics::{Diagnostic, Spanned};
use launchway_dockerfile::{CommandLine, Healthcheck, InstructionKind, exposed_ports};
use launchway_oci::spec::{self, ContainerConfig, Empty, ImageConfig};

use crate::codes;
use crate::history::{self, bare_list, quoted_list};
use crate::scope::Scope;

/// What one stage has set itself, as against inherited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SetHere {
    cmd: bool,
}

/// Applies an instruction that changes no file. Gives what history says of it, or nothing when the
/// instruction is of another kind.
pub(crate) fn configure(
    kind: &InstructionKind,
    image: &mut ImageConfig,
    scope: &mut Scope,
    here: &mut SetHere,
) -> Result<Option<String>, Diagnostic> {
    let config = &mut image.config;
    let told = match kind {
        InstructionKind::Env(pairs) => {
            // One instruction sees one state of the variables.
            let before = scope.clone();
            let mut told = "ENV".to_owned();
            for (name, value) in pairs {
                let (name, value) = (before.expand(name)?, before.expand(value)?);
                told.push_str(&format!(" {name}={value}"));
                set_env(config, &name, &value);
                scope.variables.insert(name, value);
            }
            told
        }
        InstructionKind::Label(pairs) => {
            let mut told = "LABEL".to_owned();
            for (name, value) in pairs {
                let (name, value) = (scope.expand(name)?, scope.expand(value)?);
                told.push_str(&format!(" {name}={value}"));
                config.labels.get_or_insert_default().insert(name, value);
            }
            told
        }
        InstructionKind::User(user) => {
            let user = scope.expand(user)?;
            config.user = Some(user.clone());
            format!("USER {user}")
        }
        InstructionKind::Expose(words) => {
            let mut all = Vec::new();
            // What comes of it is a set; history tells it in the order of the words as written.
            let mut words: Vec<&Spanned<String>> = words.iter().collect();
            words.sort_by(|a, b| a.value.cmp(&b.value));
            for word in words {
                for expanded in scope.words(word)? {
                    all.extend(
                        exposed_ports(&expanded)
                            .map_err(|error| wrong(word, &error.to_string()))?,
                    );
                }
            }
            let told = format!("EXPOSE {}", bare_list(&all));
            let ports = config.exposed_ports.get_or_insert_default();
            ports.extend(all.into_iter().map(|port| (port, Empty {})));
            told
        }
        InstructionKind::Volume(words) => {
            let mut paths = Vec::new();
            for word in words {
                let path = scope.expand(word)?;
                if path.is_empty() {
                    return Err(wrong(word, "a volume needs a path"));
                }
                paths.push(path);
            }
            let told = format!("VOLUME {}", bare_list(&paths));
            let volumes = config.volumes.get_or_insert_default();
            volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
            told
        }
        InstructionKind::Cmd(command) => {
            let arguments = command_line(command, config);
            let told = format!("CMD {}", quoted_list(&arguments));
            config.cmd = Some(arguments);
            config.args_escaped = Some(true);
            here.cmd = true;
            told
        }
        InstructionKind::Entrypoint(command) => {
            let arguments = command_line(command, config);
            let told = format!("ENTRYPOINT {}", quoted_list(&arguments));
            config.entrypoint = Some(arguments);
            // An inherited command was meant for the inherited entrypoint.
            if !here.cmd {
                config.cmd = None;
            }
            told
        }
        InstructionKind::Shell(words) => {
            config.shell = Some(words.clone());
            format!("SHELL {}", bare_list(words))
        }
        InstructionKind::StopSignal(signal) => {
            let signal = scope.expand(signal)?;
            let told = format!("STOPSIGNAL {signal}");
            config.stop_signal = Some(signal);
            told
        }
        InstructionKind::Healthcheck(check) => {
            let check = healthcheck(check);
            let told = history::healthcheck(&check);
            config.healthcheck = Some(check);
            told
        }
        InstructionKind::Onbuild(trigger) => {
            config
                .on_build
                .get_or_insert_default()
                .push(trigger.text.clone());
            format!("ONBUILD {}", trigger.text)
        }
        InstructionKind::Maintainer(name) => {
            image.author = Some(name.value.clone());
            format!("MAINTAINER {}", name.value)
        }
        InstructionKind::Arg(_)
        | InstructionKind::Run(_)
        | InstructionKind::Copy(_)
        | InstructionKind::Add(_)
        | InstructionKind::Workdir(_) => return Ok(None),
    };
    Ok(Some(told))
}

/// Sets a variable in its place, or at the end when it is new.
pub(crate) fn set_env(config: &mut ContainerConfig, name: &str, value: &str) {
    let list = config.env.get_or_insert_default();
    let entry = format!("{name}={value}");
    let is_it = |known: &&mut String| {
        known
            .split_once('=')
            .map_or(known.as_str(), |(name, _)| name)
            == name
    };
    match list.iter_mut().find(is_it) {
        Some(known) => *known = entry,
        None => list.push(entry),
    }
}

/// The variables of a configuration.
pub(crate) fn env_pairs(config: &ContainerConfig) -> impl Iterator<Item = (String, String)> + '_ {
    config.env.iter().flatten().map(|entry| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    })
}

/// The arguments of a command in either form; the shell form runs in the stage's shell.
pub(crate) fn command_line(command: &CommandLine, config: &ContainerConfig) -> Vec<String> {
    match command {
        CommandLine::Exec(arguments) => arguments.clone(),
        CommandLine::Shell(script) => with_shell(script, config),
    }
}

pub(crate) fn with_shell(script: &str, config: &ContainerConfig) -> Vec<String> {
    let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
    let mut arguments = config
        .shell
        .clone()
        .filter(|shell| !shell.is_empty())
        .unwrap_or_else(default);
    arguments.push(script.to_owned());
    arguments
}

fn healthcheck(check: &Healthcheck) -> spec::Healthcheck {
    let command = match check {
        Healthcheck::None => {
            return spec::Healthcheck {
                test: vec!["NONE".to_owned()],
                ..spec::Healthcheck::default()
            };
        }
        Healthcheck::Command(command) => command,
    };
    let test = match &command.command {
        CommandLine::Exec(arguments) => std::iter::once("CMD".to_owned())
            .chain(arguments.clone())
            .collect(),
        CommandLine::Shell(script) => vec!["CMD-SHELL".to_owned(), script.clone()],
    };
    let nanoseconds = |duration: Option<Duration>| {
        duration.map_or(0, |duration| {
            i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
        })
    };
    spec::Healthcheck {
        test,
        interval: nanoseconds(command.interval),
        timeout: nanoseconds(command.timeout),
        start_period: nanoseconds(command.start_period),
        start_interval: nanoseconds(command.start_interval),
        retries: command.retries.map_or(0, i64::from),
    }
}

fn wrong(word: &Spanned<String>, why: &str) -> Diagnostic {
    Diagnostic::error(codes::BAD_WORD, format!("cannot use `{}`", word.value)).at(word.span, why)
}

#[cfg(test)]
#[path = "configure_tests.rs"]
mod tests;
