//! Agents of ssh, for the steps that mount one.

use launchway_diagnostics::{Diagnostic, Span};
use launchway_sandbox::MountSpec;
use launchway_ssh::AgentError;

use crate::mounts::{Asked, PreparedMounts};
use crate::native::{Build, StageState};
use crate::{EngineError, codes};

/// The agent that git uses, and that a mount without an id means.
pub(crate) const DEFAULT: &str = "default";

impl PreparedMounts {
    /// Opens a socket for the step. As in BuildKit, the step is told of the first one, whether the
    /// agent was given or not.
    pub(crate) fn open_agent(
        &mut self,
        build: &Build<'_>,
        state: &StageState<'_>,
        asked: &Asked<'_>,
    ) -> Result<(), EngineError> {
        let target = match asked.target {
            Some(target) => target.to_owned(),
            None => format!("/run/buildkit/ssh_agent.{}", self.agents_asked),
        };
        const VARIABLE: &str = "SSH_AUTH_SOCK";
        if self.agents_asked == 0 && !state.scope.variables.contains_key(VARIABLE) {
            // As it is written: a relative one is relative to where the step begins.
            self.variables.insert(VARIABLE.to_owned(), target.clone());
        }
        self.agents_asked += 1;
        let Some(agent) = build.request.agents.get(asked.id) else {
            if asked.required {
                return Err(missing(asked.id, asked.span).into());
            }
            return Ok(());
        };
        let forwarded = agent
            .forward(asked.owner, asked.mode.unwrap_or(0o600))
            .map_err(|error| unusable(asked.id, &error, asked.span))?;
        self.specs.push(MountSpec::Bind {
            source: forwarded.socket().to_owned(),
            target: self.target(&target),
            // The socket answers all the same; only its mode and owner cannot be changed.
            read_only: true,
        });
        self.agents.push(forwarded);
        Ok(())
    }
}

fn missing(id: &str, span: Span) -> Diagnostic {
    let message = format!("the ssh agent `{id}` was not given");
    let help = format!(
        "give it with --ssh {id}, --ssh {id}=KEYFILE or under [[build.ssh]] in launchway.toml"
    );
    EngineError::at(codes::AGENT_MISSING, span, message, "required here").help(help)
}

fn unusable(id: &str, error: &AgentError, span: Span) -> Diagnostic {
    let message = format!("the ssh agent `{id}` cannot be used");
    let mut diagnostic = EngineError::at(codes::AGENT_UNUSABLE, span, message, error.to_string());
    if let Some(cause) = std::error::Error::source(error) {
        diagnostic = diagnostic.note(cause.to_string());
    }
    match help(error) {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// What the user can do about an agent that cannot be used.
pub(crate) fn help(error: &AgentError) -> Option<&'static str> {
    match error {
        AgentError::NotInstalled(_) => {
            Some("install OpenSSH's programs (on Debian: apt-get install openssh-client)")
        }
        AgentError::Key(_) => Some("load a key with a passphrase into an agent, and give that"),
        AgentError::Io { .. } => None,
    }
}
