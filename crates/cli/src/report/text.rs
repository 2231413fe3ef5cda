//! Words for people: sizes, durations, and text from elsewhere made safe to print.

use std::time::Duration;

use launchway_diagnostics::without_controls;
pub(crate) use launchway_lint::shown_bytes as size;

/// How long something took: `0.4s`, `12.3s`, `1m05s`, `2h03m`.
pub(crate) fn duration(took: Duration) -> String {
    let tenths = (took.as_millis() + 50) / 100;
    if tenths < 600 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    let seconds = (took.as_millis() + 500) / 1000;
    if seconds < 3600 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60)
    }
}

/// How long will be waited: as [`duration`], without a needless fraction.
pub(crate) fn pause(pause: Duration) -> String {
    let text = duration(pause);
    match text.strip_suffix(".0s") {
        Some(whole) => format!("{whole}s"),
        None => text,
    }
}

pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The columns a character takes. Close enough for cutting and aligning: the terminal is told not
/// to wrap what is redrawn, so a wrong guess cannot spoil the picture.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text cut to so many columns, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += char_width(c);
        if used + 1 > columns {
            break;
        }
        kept.push(c);
    }
    let mut kept = kept.trim_end().to_owned();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The text filled up with spaces to so many columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// One line without anything a terminal would obey. Tabs and line ends become spaces.
pub(crate) fn clean(text: &str) -> String {
    without_controls(text).replace(['\t', '\n'], " ")
}

/// What colours are for. Nothing is said by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

impl Paint {
    pub(crate) fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        };
        if !colour || code.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_grow_coarser() {
        for (millis, expected) in [
            (0, "0.0s"),
            (440, "0.4s"),
            (12_300, "12.3s"),
            (59_949, "59.9s"),
            (59_951, "1m00s"),
            (65_000, "1m05s"),
            (7_380_000, "2h03m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        assert_eq!(pause(Duration::from_secs(15)), "15s");
        assert_eq!(pause(Duration::from_millis(1500)), "1.5s");
        assert_eq!(pause(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn nothing_a_terminal_obeys_is_left() {
        for (raw, expected) in [
            ("plain – ünï", "plain – ünï"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;x\u{1b}\\link", "link"),
            ("\u{1b}(Bset", "set"),
            ("a\u{8}b\u{7}\u{0}c", "abc"),
            ("tab\there", "tab here"),
            ("\u{9b}2Jc1", "c1"),
            ("\u{202e}reversed", "reversed"),
            ("cut short\u{1b}[3", "cut short"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(clean(raw), expected, "{raw:?}");
        }
    }

    #[test]
    fn cuts_by_columns() {
        for (text, columns, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("words here", 7, "words…"),
            ("漢字漢字", 5, "漢字…"),
            ("any", 0, ""),
        ] {
            assert_eq!(cut(text, columns), expected);
        }
        assert_eq!(pad("漢", 4), "漢  ");
    }
}
