//! Flags about what RUN steps may use, in Docker's spelling.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use launchway_model::{
    ByteSize, CpuCount, ExtraHost, LimitError, MemorySwap, PidsLimit, StepLimits, Ulimit,
    parse_duration,
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
    /// A limit in buildx's words: memory=SIZE, memory-swap=SIZE, cpu-quota=N and cpu-period=N (microseconds)
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Limits of RUN steps")]
    resource: Vec<Resource>,
    /// Microseconds of processor time in each period; --cpus says the same
    #[arg(long, hide = true, value_name = "N")]
    cpu_quota: Option<u64>,
    /// How many microseconds a period has
    #[arg(long, hide = true, value_name = "N")]
    cpu_period: Option<u64>,
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

/// One limit of --resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Memory(ByteSize),
    MemorySwap(MemorySwap),
    CpuQuota(u64),
    CpuPeriod(u64),
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| String::from("write NAME=VALUE, as in memory=2g"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("`{value}` is not a number of microseconds"))
        };
        match name {
            "memory" => value
                .parse()
                .map(Self::Memory)
                .map_err(|error: LimitError| error.to_string()),
            "memory-swap" => value
                .parse()
                .map(Self::MemorySwap)
                .map_err(|error: LimitError| error.to_string()),
            "cpu-quota" => number().map(Self::CpuQuota),
            "cpu-period" => number().map(Self::CpuPeriod),
            "cpu-shares" | "cpuset-cpus" | "cpuset-mems" => Err(format!(
                "{name} is not kept here: --cpus limits how many processors a step keeps busy"
            )),
            _ => Err(format!(
                "there is no `{name}`: memory, memory-swap, cpu-quota, cpu-period"
            )),
        }
    }
}

/// How many processors a quota of each period is; no quota is no limit. A period is 100 ms when nothing
/// is said.
fn processors(quota: Option<u64>, period: Option<u64>) -> Result<Option<CpuCount>, Failure> {
    const PERIOD: u64 = 100_000;
    let Some(quota) = quota.filter(|quota| *quota > 0) else {
        return Ok(None);
    };
    let period = period.filter(|period| *period > 0).unwrap_or(PERIOD);
    let thousandths = quota.saturating_mul(1000) / period;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
        .parse()
        .map(Some)
        .map_err(|error: LimitError| {
            Failure::usage(
                format!("a quota of {quota} in {period} microseconds: {error}"),
                "see --cpus",
            )
        })
}

impl LimitArguments {
    pub(crate) fn limits(&self) -> Result<StepLimits, Failure> {
        let (mut memory, mut memory_swap) = (self.memory, self.memory_swap);
        let (mut quota, mut period) = (self.cpu_quota, self.cpu_period);
        for resource in &self.resource {
            match resource {
                Resource::Memory(size) => memory = Some(*size),
                Resource::MemorySwap(swap) => memory_swap = Some(*swap),
                Resource::CpuQuota(number) => quota = Some(*number),
                Resource::CpuPeriod(number) => period = Some(*number),
            }
        }
        let limits = StepLimits {
            memory,
            memory_swap,
            pids: self.pids_limit.unwrap_or_default(),
            cpus: match self.cpus {
                Some(cpus) => Some(cpus),
                None => processors(quota, period)?,
            },
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArguments,
    }

    fn limits(flags: &[&str]) -> Option<StepLimits> {
        let line = Line::try_parse_from(["x"].iter().chain(flags)).ok()?;
        line.limits.limits().ok()
    }

    #[test]
    fn limits_in_the_words_of_buildx() {
        let found = limits(&["--resource", "memory=2g", "--resource", "cpu-quota=50000"]);
        let found = found.expect("limits");
        assert_eq!(found.memory, Some(ByteSize(2 << 30)));
        assert_eq!(found.cpus, Some(CpuCount { thousandths: 500 }));
        let found = limits(&["--cpu-period=50000", "--cpu-quota=100000"]).expect("limits");
        assert_eq!(found.cpus, Some(CpuCount { thousandths: 2000 }));
        let found = limits(&["--cpus=3", "--cpu-quota=1000", "--cpu-period=9"]).expect("limits");
        assert_eq!(found.cpus, Some(CpuCount { thousandths: 3000 }));
        for refused in ["cpuset-cpus=0-1", "cpu-quota=many", "memory", "disk=1g"] {
            assert!(limits(&["--resource", refused]).is_none(), "{refused}");
        }
    }
}
