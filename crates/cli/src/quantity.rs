//! Ages and sizes as people type them.

use std::time::Duration;

use launchway_lint::parse_bytes;

/// `90s`, `30m`, `12h`, `7d`, `2w`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err("write it as 90s, 30m, 12h, 7d or 2w".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write it as 90s, 30m, 12h, 7d or 2w".to_owned())?;
    number
        .checked_mul(seconds)
        .filter(|seconds| i64::try_from(*seconds).is_ok())
        .map(Duration::from_secs)
        .ok_or_else(|| "that is too long".to_owned())
}

/// So many bytes, or so much of the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    Bytes(u64),
    /// Of a hundred.
    Share(f64),
    /// Of a hundred, but at most so many bytes.
    ShareUpTo(f64, u64),
}

impl Amount {
    /// In bytes, on a disk of so many.
    pub(crate) fn of(self, disk: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(percent) => (disk as f64 * percent / 100.0) as u64,
            Self::ShareUpTo(percent, most) => Self::Share(percent).of(disk).min(most),
        }
    }
}

/// `10GB` (powers of a thousand), `10GiB` (powers of 1024), `500000`, `20%` of the disk.
pub(crate) fn amount(text: &str) -> Result<Amount, String> {
    const HELP: &str = "write it as 500MB, 10GB, 1.5GiB or 20%";
    let Some(number) = text.trim().strip_suffix('%') else {
        return parse_bytes(text)
            .map(Amount::Bytes)
            .map_err(|_| HELP.to_owned());
    };
    match number.trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Amount::Share(percent)),
        Ok(percent) if percent > 100.0 => Err("there is no more than 100% of a disk".to_owned()),
        _ => Err(HELP.to_owned()),
    }
}

/// A number and what stands behind it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// How long ago something was, roughly: `now`, `5 minutes ago`, `3 days ago`.
pub(crate) fn ago(seconds: i64) -> String {
    let (number, unit) = match seconds {
        ..60 => return "now".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{s} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (text, want) in [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("30m", Some(1_800)),
            ("30 min", Some(1_800)),
            ("12h", Some(43_200)),
            ("7d", Some(604_800)),
            ("2w", Some(1_209_600)),
            ("7", None),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("1.5h", None),
            ("7y", None),
            ("99999999999999999d", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(age(text).ok().map(|age| age.as_secs()), want, "{text}");
        }
    }

    #[test]
    fn amounts() {
        for (text, want) in [
            ("0", Some(0)),
            ("500000", Some(500_000)),
            ("10GB", Some(10_000_000_000)),
            ("10 gb", Some(10_000_000_000)),
            ("1.5GiB", Some(1_610_612_736)),
            ("64k", Some(64_000)),
            ("2TB", Some(2_000_000_000_000)),
            ("1TiB", Some(1_099_511_627_776)),
            ("20%", Some(200)),
            ("0.5 %", Some(5)),
            ("101%", None),
            ("-1%", None),
            ("nan%", None),
            ("%", None),
            ("GB", None),
            ("", None),
            ("-1GB", None),
            ("1.2.3GB", None),
            ("10 apples", None),
        ] {
            assert_eq!(
                amount(text).ok().map(|amount| amount.of(1_000)),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn times_ago() {
        for (seconds, want) in [
            (-5, "now"),
            (59, "now"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (7_200, "2 hours ago"),
            (86_400, "1 day ago"),
            (20_000_000, "231 days ago"),
        ] {
            assert_eq!(ago(seconds), want);
        }
    }
}
