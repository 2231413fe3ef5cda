//! Flags about what RUN steps may use, in Docker's spelling.

use std::time::Duration;

use clap::Args;
use launchway_model::{
    ByteSize, CpuCount, ExtraHost, MemorySwap, PidsLimit, StepLimits, Ulimit, parse_duration,
};

use crate::failure::Failure;

#[derive(Args)]
#[command(next_help_heading = "Limits of RUN steps")]
pub(crate) struct LimitArguments {
    /// The most memory a RUN step may use, such as 512m or 2g; a step that needs more is killed
    #[arg(long, short, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// The most memory and swap together, -1 for all swap there is [default: twice --memory]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<MemorySwap>,
    /// How many processors a step may keep busy, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<CpuCount>,
    /// How many processes and threads there may be at once, -1 for no limit [default: 16384, where
    /// the machine can keep it]
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<PidsLimit>,
    /// How long a step may take, such as 90s or 1h30m; then all its processes are killed
    #[arg(long, value_name = "DURATION", value_parser = step_timeout)]
    step_timeout: Option<Duration>,
    /// A limit of the kernel for each process: nofile=1024:4096, core=0, …
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<Ulimit>,
    /// The size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<ByteSize>,
    /// The control group to make those of steps in: a path, or the name of a systemd slice
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// A line for the /etc/hosts of steps: NAME:ADDRESS; host-gateway is this machine
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<ExtraHost>,
    /// no-new-privileges: programs such as sudo gain nothing in RUN steps
    #[arg(long, value_name = "OPTION", value_parser = security_option)]
    security_opt: Vec<bool>,
}

fn step_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| String::from("write it like 90s, 15m or 1h30m"))
}

fn security_option(text: &str) -> Result<bool, String> {
    match text {
        "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => Ok(true),
        "no-new-privileges=false" | "no-new-privileges:false" => Ok(false),
        _ => Err(String::from(
            "only no-new-privileges can be chosen: steps never run with another syscall filter",
        )),
    }
}

impl LimitArguments {
    pub(crate) fn limits(&self) -> Result<StepLimits, Failure> {
        let limits = StepLimits {
            memory: self.memory,
            memory_swap: self.memory_swap,
            pids: self.pids_limit.unwrap_or_default(),
            cpus: self.cpus,
            shm_size: self.shm_size,
            ulimits: self.ulimit.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
        };
        limits.check().map_err(|error| {
            Failure::usage(
                error.to_string(),
                "see --memory, --memory-swap and --cgroup-parent in `launchway dockerfile build --help`",
            )
        })?;
        Ok(limits)
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.step_timeout
    }

    pub(crate) fn extra_hosts(&self) -> Vec<ExtraHost> {
        self.add_host.clone()
    }

    pub(crate) fn no_new_privileges(&self) -> bool {
        self.security_opt.last().copied().unwrap_or(false)
    }
}
