//! `HEALTHCHECK`.

use std::time::Duration;

use launchway_diagnostics::{Diagnostic, Spanned};

use super::flags::{Flags, Takes};
use super::instruction::Reader;
use super::words::Split;
use crate::{CommandLine, Healthcheck, HealthcheckCommand, codes};

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

const HELP: &str = "write `HEALTHCHECK CMD command …` or `HEALTHCHECK NONE`";

pub(super) fn read(reader: &mut Reader, split: &Split<'_>) -> Option<Healthcheck> {
    let flags = reader.flags(split, &FLAGS);
    let arguments = split.arguments;
    let text = arguments.text();
    let kind_end = text.find(char::is_whitespace).unwrap_or(text.len());
    let rest = arguments.from(kind_end).trim();
    match text[..kind_end].to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => Some(Healthcheck::None),
        "NONE" => {
            reader.arguments(split, "NONE takes no arguments", HELP);
            None
        }
        "CMD" => {
            let command = reader.command(rest)?;
            let nothing = match &command {
                CommandLine::Shell(text) => text.is_empty(),
                CommandLine::Exec(arguments) => arguments.is_empty(),
            };
            if nothing {
                reader.arguments(split, "CMD needs a command", HELP);
                return None;
            }
            Some(Healthcheck::Command(HealthcheckCommand {
                command,
                interval: duration(reader, &flags, "interval"),
                timeout: duration(reader, &flags, "timeout"),
                start_period: duration(reader, &flags, "start-period"),
                start_interval: duration(reader, &flags, "start-interval"),
                retries: retries(reader, &flags),
            }))
        }
        "" => {
            reader.arguments(split, "needs a check", HELP);
            None
        }
        _ => {
            reader.arguments(split, "has no such kind of check", HELP);
            None
        }
    }
}

/// Nothing and zero both mean that the base image or Docker decides.
fn duration(reader: &mut Reader, flags: &Flags, name: &str) -> Option<Duration> {
    let value = flags.value(name)?;
    let wrong = match parse_duration(&value) {
        None => "not a duration: write for example `30s`, `1m30s` or `500ms`",
        Some(0) => return None,
        Some(nanoseconds) if nanoseconds < 1_000_000 => "shorter than one millisecond",
        Some(nanoseconds) => match u64::try_from(nanoseconds) {
            Ok(nanoseconds) if nanoseconds <= i64::MAX as u64 => {
                return Some(Duration::from_nanos(nanoseconds));
            }
            _ => "longer than 292 years",
        },
    };
    reader.problems.push(bad_value(name, &value, wrong));
    None
}

fn retries(reader: &mut Reader, flags: &Flags) -> Option<u32> {
    let value = flags.value("retries")?;
    match value
        .parse::<i32>()
        .ok()
        .and_then(|retries| u32::try_from(retries).ok())
    {
        Some(0) => None,
        Some(retries) => Some(retries),
        None => {
            reader
                .problems
                .push(bad_value("retries", &value, "not a number of tries"));
            None
        }
    }
}

fn bad_value(name: &str, value: &Spanned<String>, what: &str) -> Diagnostic {
    Diagnostic::error(codes::BAD_FLAG, format!("--{name} has a wrong value")).at(value.span, what)
}

/// Nanoseconds of a duration as Go's `time.ParseDuration` reads it: signed numbers with fractions
/// and units, or a bare `0`.
fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !digits(fraction) || whole.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        // What is smaller than a nanosecond is dropped.
        let mut scale = unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total += i128::from(digit - b'0') * scale;
        }
        rest = after;
    }
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, want) in [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1h2m3s", Some(3_723_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5m", Some(30_000_000_000)),
            ("-2ms", Some(-2_000_000)),
            ("10µs", Some(10_000)),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("5 s", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text), want, "{text}");
        }
    }
}
