//! Flags of buildx that mean nothing here, or something that is not done: each is told why.

use clap::Args;

use super::Result;
use super::output::NO_DAEMON;
use crate::csv;
use crate::failure::Failure;

#[derive(Args)]
pub(super) struct CompatibleArguments {
    /// Put the image into Docker; refused, because there is no daemon: see type=docker of --output
    #[arg(long)]
    load: bool,
    /// Ask for the images of FROM again; always so, tags are looked up in every build
    #[arg(long)]
    pull: bool,
    /// Where another builder's cache is; passed over, steps are kept in the state directory
    #[arg(long, value_name = "SOURCE")]
    cache_from: Vec<String>,
    /// Where to leave the cache; passed over likewise: keep the state directory between runs
    #[arg(long, value_name = "DESTINATION")]
    cache_to: Vec<String>,
    /// Attestations: disabled=true is accepted, others are refused
    #[arg(long, value_name = "type=TYPE")]
    attest: Vec<String>,
    /// Provenance: false is accepted, anything else is refused
    #[arg(long, value_name = "BOOL")]
    provenance: Option<String>,
    /// A list of what is in the image: false is accepted, anything else is refused
    #[arg(long, value_name = "BOOL")]
    sbom: Option<String>,
    /// Which builder to use; passed over, there is one
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
    /// What steps may ask for: network.host
    #[arg(long, value_name = "WHAT")]
    allow: Vec<String>,
    /// Rules about what a build may fetch; refused, because they are not looked at
    #[arg(long, value_name = "filename=FILE")]
    policy: Vec<String>,
    #[arg(long, short = 'c', hide = true, value_name = "NUMBER")]
    cpu_shares: Option<u64>,
    #[arg(long, hide = true, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true, value_name = "LIST")]
    cpuset_mems: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    squash: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<String>,
    #[arg(long, hide = true)]
    force_rm: bool,
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, short = 'D', hide = true)]
    debug: bool,
}

impl CompatibleArguments {
    /// Whether `RUN --network=host` may be written.
    pub(super) fn allows_host_network(&self) -> bool {
        self.allow.iter().any(|what| what == "network.host")
    }

    /// What is passed over, in words, or why something cannot be done.
    pub(super) fn check(&self) -> Result<Vec<String>> {
        if self.load {
            return Err(Failure::usage(
                "--load puts an image into a daemon",
                NO_DAEMON,
            ));
        }
        for (kind, value) in [("provenance", &self.provenance), ("sbom", &self.sbom)] {
            if let Some(value) = value
                && !is_off(value)
            {
                return Err(no_attestation(&format!("--{kind}={value}")));
            }
        }
        for value in &self.attest {
            let pairs = csv::pairs(value)
                .map_err(|why| Failure::usage(format!("--attest {value}: {why}"), ATTEST_HELP))?;
            let is_disabled =
                |(name, value): &(String, String)| name == "disabled" && !is_off(value);
            if !pairs.iter().any(is_disabled) {
                return Err(no_attestation(&format!("--attest {value}")));
            }
        }
        for what in &self.allow {
            allowed(what)?;
        }
        if let Some(policy) = self.policy.iter().find(|text| !is_disabled(text)) {
            return Err(Failure::usage(
                format!(
                    "--policy {policy}: no rules about sources are looked at, and passing over them would let through what they forbid"
                ),
                "leave it out, or write --policy disabled=true; FROM with a digest and ADD with --checksum say what may be fetched",
            ));
        }
        let mut told = Vec::new();
        for (flag, is_given) in [
            ("--cpu-shares", self.cpu_shares.is_some()),
            ("--cpuset-cpus", self.cpuset_cpus.is_some()),
            ("--cpuset-mems", self.cpuset_mems.is_some()),
        ] {
            if is_given {
                told.push(format!(
                    "{flag} is passed over: --cpus limits how many processors a step keeps busy"
                ));
            }
        }
        if self.isolation.is_some() {
            told.push("--isolation is passed over: steps have one sandbox".to_owned());
        }
        if self.squash {
            told.push(
                "--squash is passed over, as by BuildKit: each step keeps its layer".to_owned(),
            );
        }
        for (flag, given) in [
            ("--cache-from", &self.cache_from),
            ("--cache-to", &self.cache_to),
        ] {
            if !given.is_empty() {
                told.push(format!(
                    "{flag} is passed over: steps are kept in the state directory; keep that folder from one run to \
                     the next (--state-dir names it)"
                ));
            }
        }
        if let Some(builder) = &self.builder {
            told.push(format!(
                "--builder {builder} is passed over: this program is the only builder"
            ));
        }
        Ok(told)
    }
}

impl CompatibleArguments {
    /// Whether `mode=delete` of an output may remove files anywhere.
    pub(super) fn may_delete(&self) -> bool {
        self.allow.iter().any(|what| what == "buildx.local.delete")
    }
}

fn is_disabled(policy: &str) -> bool {
    csv::pairs(policy).is_ok_and(|pairs| {
        pairs
            .iter()
            .any(|(name, value)| name == "disabled" && !is_off(value))
    })
}

const ATTEST_HELP: &str = "leave it out, or write type=provenance,disabled=true";

fn no_attestation(flag: &str) -> Failure {
    Failure::usage(
        format!("{flag} asks for an attestation, and none are made yet"),
        "leave it out, or give --provenance=false and --sbom=false",
    )
}

fn allowed(what: &str) -> Result {
    let name = what.split('=').next().unwrap_or(what);
    match name {
        // Nothing outside of outputs is written.
        "network.host" | "buildx.local.delete" | "fs" | "fs.read" | "fs.write" => Ok(()),
        "security.insecure" => Err(Failure::usage(
            "--allow security.insecure: steps never run without the sandbox",
            "leave it out; `doctor` says what steps can do here",
        )),
        "device" => Err(Failure::usage(
            format!("--allow {what}: devices of the host are not given to steps"),
            "leave it out, and do what needs the device when the container runs",
        )),
        _ => Err(Failure::usage(
            format!("--allow {what} is not known"),
            "network.host is the one that means something",
        )),
    }
}

fn is_off(value: &str) -> bool {
    matches!(value, "0" | "f" | "F" | "FALSE" | "false" | "False")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: CompatibleArguments,
    }

    #[test]
    fn flags_that_cannot_be_kept_are_refused_with_a_reason() {
        for (flag, want) in [
            ("--provenance=false", Ok(0)),
            ("--sbom=0", Ok(0)),
            ("--attest=type=provenance,disabled=true", Ok(0)),
            ("--allow=network.host", Ok(0)),
            ("--rm", Ok(0)),
            ("--pull", Ok(0)),
            ("--cache-from=type=gha", Ok(1)),
            ("--builder=x", Ok(1)),
            ("--cpu-shares=512", Ok(1)),
            ("--cpuset-cpus=0-3", Ok(1)),
            ("--isolation=default", Ok(1)),
            ("--squash", Ok(1)),
            ("--policy=disabled=true", Ok(0)),
            (
                "--policy=filename=rules.rego",
                Err("no rules about sources"),
            ),
            ("--provenance=mode=max", Err("attestation")),
            ("--sbom=true", Err("attestation")),
            ("--attest=type=sbom", Err("attestation")),
            ("--attest=sbom", Err("no NAME=VALUE")),
            ("--load", Err("daemon")),
            ("--allow=security.insecure", Err("sandbox")),
            ("--allow=device=nvidia.com/gpu", Err("devices")),
            ("--allow=everything", Err("not known")),
        ] {
            let line = Line::try_parse_from(["x", flag]).expect(flag);
            match (line.flags.check(), want) {
                (Ok(told), Ok(count)) => assert_eq!(told.len(), count, "{flag}"),
                (Err(Failure::Message { message, .. }), Err(why)) => {
                    assert!(message.contains(why), "{flag}: {message}");
                }
                (Ok(_), Err(_)) => panic!("{flag} is accepted"),
                (Err(_), _) => panic!("{flag} is refused"),
            }
        }
    }
}
