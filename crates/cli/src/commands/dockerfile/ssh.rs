//! What `--ssh` asks for. The texts are buildx's.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use launchway_ssh::{Agent, Agents};

use super::Result;
use crate::failure::Failure;
use crate::settings::{Settings, read};

/// So long a key file may be, in bytes; the same as BuildKit's limit.
const LONGEST_KEY: usize = 100 * 1024;

pub(super) fn agents(given: &[String], settings: &Settings) -> Result<Agents> {
    let mut agents = Agents::default();
    for text in given {
        let wrong = |why: String| {
            Failure::usage(
                format!("--ssh {text}: {why}"),
                "write ID for the agent of SSH_AUTH_SOCK, ID=SOCKET, or ID=KEYFILE,KEYFILE",
            )
        };
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        if id.is_empty() {
            return Err(wrong("there is no id".to_owned()));
        }
        let agent = agent(paths, settings).map_err(|why| match why {
            Why::Wrong(why) => wrong(why),
            Why::Said(failure) => failure,
        })?;
        if !agents.insert(id, agent) {
            return Err(wrong(format!("`{id}` is given twice")));
        }
    }
    Ok(agents)
}

enum Why {
    Wrong(String),
    Said(Failure),
}

fn agent(paths: &str, settings: &Settings) -> std::result::Result<Agent, Why> {
    if paths.is_empty() {
        let named = settings.variable("SSH_AUTH_SOCK");
        let socket = named.ok_or_else(|| Why::Wrong("SSH_AUTH_SOCK is not set".to_owned()))?;
        return Ok(Agent::Socket(socket.into()));
    }
    let paths: Vec<&Path> = paths.split(',').map(Path::new).collect();
    let is_socket = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    if let [only] = paths.as_slice()
        && is_socket(only)
    {
        return Ok(Agent::Socket((*only).to_owned()));
    }
    let mut keys = Vec::new();
    for path in paths {
        if is_socket(path) {
            let why = format!("{} is a socket, which stands alone", path.display());
            return Err(Why::Wrong(why));
        }
        let key = read(path).map_err(Why::Said)?;
        if key.len() > LONGEST_KEY {
            return Err(Why::Wrong(format!("{} is no key", path.display())));
        }
        keys.push(key);
    }
    Ok(Agent::Keys(keys))
}
