//! The words of an image's history, which are BuildKit's: tools and people look for what they know.

use std::time::Duration;

use launchway_oci::spec::Healthcheck;

use crate::scope::Scope;

/// `[80/tcp 53/udp]`.
pub(crate) fn bare_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `["/bin/sh" "-c" "exit"]`.
pub(crate) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A word in quotes as Go writes it.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\0'..' ' | '\u{7f}' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if is_shown(c) => text.push(c),
            '\0'..='\u{ffff}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => text.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    text.push('"');
    text
}

/// Whether a character that is no ASCII control can be seen, alone or on another one.
fn is_shown(c: char) -> bool {
    let on_another: String = ['x', c].iter().collect();
    !on_another.escape_debug().skip(1).eq(c.escape_unicode())
}

/// `HEALTHCHECK {Test:[CMD-SHELL exit] Interval:5m0s …}`, as newer BuildKits have it.
pub(crate) fn healthcheck(check: &Healthcheck) -> String {
    let time = |nanoseconds: i64| {
        duration(Duration::from_nanos(
            u64::try_from(nanoseconds).unwrap_or(0),
        ))
    };
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        bare_list(&check.test),
        time(check.interval),
        time(check.timeout),
        time(check.start_period),
        time(check.start_interval),
        check.retries
    )
}

/// A command with the build arguments that it saw: `RUN |1 A=b /bin/sh -c exit`. An argument without a
/// value is told as an empty one.
pub(crate) fn run(scope: &Scope, argv: &[String]) -> String {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for name in &scope.declared {
        if !told.iter().any(|(known, _)| known == name) {
            let value = scope.variables.get(name).map_or("", String::as_str);
            told.push((name, value));
        }
    }
    let command = argv.join(" ");
    if told.is_empty() {
        return format!("RUN {command}");
    }
    let told: Vec<String> = told
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("RUN |{} {} {command}", told.len(), told.join(" "))
}

/// `1h0m30s`, `1.5s`, `20ms`: no unit larger than the time itself.
fn duration(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    let second = 1_000_000_000;
    if nanoseconds > 0 && nanoseconds < second {
        let (unit, size) = match nanoseconds {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanoseconds, size));
    }
    let minutes = nanoseconds / (60 * second);
    let seconds = decimal(nanoseconds % (60 * second), second);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// A number of units as a decimal without zeros at its end.
fn decimal(number: u128, unit: u128) -> String {
    let (whole, rest) = (number / unit, number % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let places = unit.ilog10() as usize;
    let fraction = format!("{rest:0places$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (300_000_000_000, "5m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_000_000_001, "1h1m1.000000001s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), want);
        }
    }

    #[test]
    fn runs_tell_each_argument_once() {
        let mut scope = Scope::default();
        for (name, value) in [("A", Some("1")), ("B", None), ("A", Some("2 x"))] {
            scope.declared.push(name.to_owned());
            if let Some(value) = value {
                scope.variables.insert(name.to_owned(), value.to_owned());
            }
        }
        let argv = ["sh", "-c", "echo $A"].map(str::to_owned);
        assert_eq!(run(&scope, &argv), "RUN |2 A=2 x B= sh -c echo $A");
        assert_eq!(run(&Scope::default(), &argv[..1]), "RUN sh");
    }

    #[test]
    fn lists() {
        let words = ["a b", "\"c\"\n"].map(str::to_owned);
        assert_eq!(bare_list(&words[..1]), "[a b]");
        assert_eq!(quoted_list(&words), r#"["a b" "\"c\"\n"]"#);
        // What BuildKit says of the same.
        for (word, want) in [
            ("a\u{1b}[0m", r#""a\x1b[0m""#),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{7}\u{b}", r#""\a\v""#),
            ("it's \\", r#""it's \\""#),
            ("\u{a0}\u{200b}", r#""\u00a0\u200b""#),
            ("\0x\u{7f}", r#""\x00x\x7f""#),
            ("\u{e0001}😀", r#""\U000e0001😀""#),
        ] {
            assert_eq!(quoted(word), want);
        }
    }
}
