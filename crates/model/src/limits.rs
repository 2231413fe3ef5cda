//! What a build step may use at most, as people write it: sizes, counts, limits of the kernel, names of hosts.
//!
//! The spelling is Docker's, so that what is known from there works here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A text that is no limit. The message says what would be one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct LimitError(String);

fn wrong(why: impl Into<String>) -> LimitError {
    LimitError(why.into())
}

/// A number of bytes: `512m`, `1.5g`, `1073741824`. Units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let bad = || wrong(format!("`{text}` is not a size: write it like 512m or 2g"));
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start().to_ascii_lowercase();
        let power = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 1,
            "m" | "mb" | "mib" => 2,
            "g" | "gb" | "gib" => 3,
            "t" | "tb" | "tib" => 4,
            _ => return Err(bad()),
        };
        let factor = 1024_u64.pow(power);
        let bytes = match number.split_once('.') {
            None => number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(factor)),
            Some((whole, part)) => fraction(whole, part, factor),
        };
        bytes.map(Self).ok_or_else(bad)
    }
}

/// `whole.part` times a factor, cut to a whole number.
fn fraction(whole: &str, part: &str, factor: u64) -> Option<u64> {
    if part.is_empty() || part.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part: u128 = part.parse().ok()?;
    let total = (u128::from(whole) * scale + part) * u128::from(factor) / scale;
    u64::try_from(total).ok()
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, power) in [("g", 3), ("m", 2), ("k", 1)] {
            let factor = 1024_u64.pow(power);
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// Memory and swap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySwap {
    Limit(ByteSize),
    /// `-1`: as much swap as there is.
    Unlimited,
}

impl FromStr for MemorySwap {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match text {
            "-1" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Limit),
        }
    }
}

/// How many processes and threads there may be at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PidsLimit {
    /// What the sandbox thinks right, where the machine can do it.
    #[default]
    Default,
    Limit(u32),
    /// `-1` or `0`.
    Unlimited,
}

impl FromStr for PidsLimit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match text {
            "-1" | "0" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Limit).map_err(|_| {
                wrong(format!(
                    "`{text}` is not a number of processes: write one like 500, or -1 for no limit"
                ))
            }),
        }
    }
}

/// A share of the processors: `1.5` is one and a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuCount {
    /// Thousandths of one processor.
    pub thousandths: u64,
}

impl FromStr for CpuCount {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        fraction(whole, part, 1000)
            .filter(|thousandths| *thousandths >= 10)
            .map(|thousandths| Self { thousandths })
            .ok_or_else(|| {
                wrong(format!(
                    "`{text}` is not a number of processors: write one like 2 or 0.5, at least 0.01"
                ))
            })
    }
}

/// A limit that the kernel keeps for each process: `nofile=1024`, `nofile=1024:4096`, `core=0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    /// `None` is no limit.
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// The names Docker knows.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (name, values) = text.split_once('=').ok_or_else(|| {
            wrong(format!(
                "`{text}` is not a limit: write NAME=SOFT or NAME=SOFT:HARD"
            ))
        })?;
        if !ULIMITS.contains(&name) {
            return Err(wrong(format!(
                "there is no limit `{name}`; there are {}",
                ULIMITS.join(", ")
            )));
        }
        let value = |text: &str| match text {
            "-1" | "unlimited" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| {
                wrong(format!(
                    "`{text}` is not a value of a limit: write a number, or -1 for none"
                ))
            }),
        };
        let (soft, hard) = match values.split_once(':') {
            Some((soft, hard)) => (value(soft)?, value(hard)?),
            None => (value(values)?, value(values)?),
        };
        if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
            return Err(wrong(format!(
                "the soft limit of `{text}` is above the hard one"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            soft,
            hard,
        })
    }
}

/// A line for `/etc/hosts`: `NAME:ADDRESS` or `NAME=ADDRESS`. `host-gateway` is the machine that builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    pub name: String,
    pub address: IpAddr,
}

impl FromStr for ExtraHost {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let bad = || {
            wrong(format!(
                "`{text}` is not a host: write NAME:ADDRESS, as in registry.lan:10.0.0.5"
            ))
        };
        // An equals sign wins, since addresses of IPv6 are full of colons.
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .ok_or_else(bad)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(bad());
        }
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address = match address {
            // A step has the machine's own network.
            "host-gateway" => IpAddr::from([127, 0, 0, 1]),
            address => address.parse().map_err(|_| bad())?,
        };
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// What one RUN step may use. None of it enters a cache key: a step that keeps to its limits gives the same result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepLimits {
    pub memory: Option<ByteSize>,
    /// Without it a step may swap as much again as it has memory.
    pub memory_swap: Option<MemorySwap>,
    pub pids: PidsLimit,
    pub cpus: Option<CpuCount>,
    /// Of `/dev/shm`.
    pub shm_size: Option<ByteSize>,
    pub ulimits: Vec<Ulimit>,
    /// The control group that those of steps are made in.
    pub cgroup_parent: Option<String>,
}

impl StepLimits {
    /// What no single value shows to be wrong.
    pub fn check(&self) -> Result<(), LimitError> {
        /// The least that Docker takes; a shell does not start with less.
        const LEAST: ByteSize = ByteSize(6 << 20);
        match (self.memory, self.memory_swap) {
            (Some(memory), _) if memory < LEAST => {
                Err(wrong(format!("the least memory for a step is {LEAST}")))
            }
            (None, Some(_)) => Err(wrong(
                "a limit of memory and swap needs one of memory beside it",
            )),
            (Some(memory), Some(MemorySwap::Limit(both))) if both < memory => Err(wrong(
                "the limit of memory and swap is for both together, and cannot be below that of memory",
            )),
            _ => Ok(()),
        }?;
        match &self.cgroup_parent {
            Some(parent) if parent.is_empty() || parent.split('/').any(|name| name == "..") => {
                Err(wrong(format!(
                    "`{parent}` is not a control group: write a path like /builds"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Numbers, each with its unit: `1h30m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, step) = [
            ("ms", Duration::from_millis(number)),
            ("s", Duration::from_secs(number)),
            ("m", Duration::from_secs(number.checked_mul(60)?)),
            ("h", Duration::from_secs(number.checked_mul(3600)?)),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(step)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        let seconds = Duration::from_secs;
        for (text, want) in [
            ("15s", Some(seconds(15))),
            ("1h30m", Some(seconds(5400))),
            ("250ms", Some(Duration::from_millis(250))),
            ("0s", Some(seconds(0))),
            ("", None),
            ("15", None),
            ("s", None),
            ("15 s", None),
            ("1d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_duration(text), want, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("10b", Some(10)),
            ("4k", Some(4096)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 GiB", Some(2 << 30)),
            ("1t", Some(1 << 40)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("-1", None),
            ("1.", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
            ("99999999999t", None),
        ] {
            assert_eq!(
                text.parse::<ByteSize>().ok().map(|size| size.0),
                bytes,
                "{text}"
            );
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64m");
        assert_eq!(ByteSize(3 << 29).to_string(), "1536m");
        assert_eq!(ByteSize(7).to_string(), "7 bytes");
    }

    #[test]
    fn counts() {
        for (text, limit) in [
            ("500", Some(PidsLimit::Limit(500))),
            ("-1", Some(PidsLimit::Unlimited)),
            ("0", Some(PidsLimit::Unlimited)),
            ("-2", None),
            ("many", None),
        ] {
            assert_eq!(text.parse().ok(), limit, "{text}");
        }
        for (text, thousandths) in [
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("1.25", Some(1250)),
            ("0", None),
            ("0.001", None),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(
                text.parse::<CpuCount>().ok().map(|count| count.thousandths),
                thousandths,
                "{text}"
            );
        }
    }

    #[test]
    fn ulimits() {
        let limit = |soft, hard| {
            Some(Ulimit {
                name: "nofile".into(),
                soft,
                hard,
            })
        };
        for (text, expected) in [
            ("nofile=1024", limit(Some(1024), Some(1024))),
            ("nofile=1024:4096", limit(Some(1024), Some(4096))),
            ("nofile=1024:-1", limit(Some(1024), None)),
            ("nofile=unlimited", limit(None, None)),
            ("nofile=4096:1024", None),
            ("nofile=-1:1024", None),
            ("nofile", None),
            ("files=3", None),
            ("nofile=x", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("a.lan:10.0.0.5", Some(("a.lan", "10.0.0.5"))),
            ("a=10.0.0.5", Some(("a", "10.0.0.5"))),
            ("a:::1", Some(("a", "::1"))),
            ("a=[::1]", Some(("a", "::1"))),
            ("a:host-gateway", Some(("a", "127.0.0.1"))),
            ("a", None),
            (":10.0.0.5", None),
            ("a b:10.0.0.5", None),
            ("a:10.0.0", None),
            ("a\n1.2.3.4 b:10.0.0.5", None),
        ] {
            let parsed = text.parse::<ExtraHost>().ok();
            let parsed = parsed.map(|host| (host.name, host.address.to_string()));
            let expected = expected.map(|(name, address)| (name.to_owned(), address.to_owned()));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn limits_that_contradict_each_other() {
        let size = |text: &str| Some(text.parse().unwrap());
        let swap = |text: &str| Some(text.parse().unwrap());
        for (memory, memory_swap, fine) in [
            (None, None, true),
            (size("64m"), None, true),
            (size("64m"), swap("64m"), true),
            (size("64m"), swap("-1"), true),
            (size("64m"), swap("32m"), false),
            (size("1m"), None, false),
            (None, swap("64m"), false),
        ] {
            let limits = StepLimits {
                memory,
                memory_swap,
                ..StepLimits::default()
            };
            assert_eq!(limits.check().is_ok(), fine, "{limits:?}");
        }
        for (parent, fine) in [
            ("/builds", true),
            ("a.slice", true),
            ("../x", false),
            ("", false),
        ] {
            let limits = StepLimits {
                cgroup_parent: Some(parent.to_owned()),
                ..StepLimits::default()
            };
            assert_eq!(limits.check().is_ok(), fine, "{parent}");
        }
    }
}
