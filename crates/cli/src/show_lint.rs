//! What a lint found, for people.

use launchway_lint::{Finding, Level, Report, Spot};

use crate::report::text::{clean, count, cut, size, width};

/// How a report is written.
pub(crate) struct Style {
    pub(crate) colour: bool,
    pub(crate) columns: usize,
    /// How many paths of a finding are shown.
    pub(crate) paths: usize,
}

/// The layers with what each is to blame for.
pub(crate) fn layers(report: &Report, style: &Style) -> String {
    let mut text = String::new();
    text.push_str(&style.dim("layer   unpacked     wasted  made by\n"));
    for (at, layer) in report.layers.iter().enumerate() {
        let wasted = match layer.wasted {
            0 => style.dim(&format!("{:>9}", "-")),
            wasted => style.paint("33", &format!("{:>9}", size(wasted))),
        };
        let head = format!("{:>5}  {:>9}  ", at + 1, size(layer.unpacked));
        let instruction = one_line(layer.instruction.as_deref());
        let room = style.columns.saturating_sub(width(&head) + 11);
        let instruction = if layer.inherited {
            style.dim(&cut(&format!("base: {instruction}"), room))
        } else {
            cut(&instruction, room)
        };
        text.push_str(&format!("{head}{wasted}  {instruction}\n"));
    }
    text
}

/// Every finding, what matters most first.
pub(crate) fn findings(report: &Report, style: &Style) -> String {
    let texts: Vec<String> = report
        .findings
        .iter()
        .map(|finding| one(report, finding, style))
        .collect();
    texts.join("\n")
}

/// Numbers in a line: what was found, and what of the image is of use.
pub(crate) fn summary(report: &Report) -> String {
    let mut parts = Vec::new();
    for (level, one, many) in [
        (Level::Deny, "error", "errors"),
        (Level::Warn, "warning", "warnings"),
        (Level::Note, "note", "notes"),
    ] {
        let number = report.at(level);
        if number > 0 {
            parts.push(count(number, one, many));
        }
    }
    let found = if parts.is_empty() {
        "nothing found".to_owned()
    } else {
        parts.join(", ")
    };
    format!(
        "{found}; {} of {} wasted, efficiency {}",
        size(report.wasted),
        size(report.shipped),
        efficiency(report)
    )
}

pub(crate) fn efficiency(report: &Report) -> String {
    let share = report.efficiency();
    format!("{}.{} %", share / 10, share % 10)
}

fn one(report: &Report, finding: &Finding, style: &Style) -> String {
    let (word, colour) = match finding.level {
        Level::Deny => ("error", "1;31"),
        Level::Warn => ("warning", "1;33"),
        Level::Note | Level::Allow => ("note", "1;36"),
    };
    let files = finding.spots.len();
    let weight = match finding.bytes {
        0 if files == 1 => String::new(),
        0 => format!(" ({files})"),
        bytes => format!(": {} in {}", size(bytes), count(files, "file", "files")),
    };
    let mut text = format!(
        "{}: {}\n",
        style.paint(colour, &format!("{word}[{}]", finding.rule)),
        style.paint("1", &format!("{}{weight}", finding.title)),
    );
    let mut row = |label: &str, value: &str| {
        text.push_str(&style.dim(&format!("{label:>8} ")));
        text.push_str(value);
        text.push('\n');
    };
    let room = style.columns.saturating_sub(9);
    let of_layer = |layer: usize| {
        let instruction = one_line(report.layers[layer].instruction.as_deref());
        cut(&format!("layer {}: {instruction}", layer + 1), room)
    };
    if let Some(layer) = finding.layer {
        row("made by", &of_layer(layer));
    }
    if let Some(origin) = finding.origin {
        row("bytes in", &of_layer(origin));
    }
    let shown = finding.spots.iter().take(style.paths);
    for spot in shown {
        let weight = match spot.bytes {
            0 => "-".to_owned(),
            bytes => size(bytes),
        };
        let label = if finding.bytes == 0 { "at" } else { &weight };
        row(label, &cut(&place(spot), room));
    }
    if files > style.paths {
        row("", &format!("and {} more", files - style.paths));
    }
    for note in &finding.notes {
        row("note", &wrapped(&clean(note), room));
    }
    row("help", &wrapped(&finding.help, room));
    text
}

fn place(spot: &Spot) -> String {
    let mut text = clean(&spot.path);
    if let Some(line) = spot.line {
        text.push_str(&format!(":{line}"));
    }
    if let Some(note) = &spot.note {
        text.push_str(&format!("  ({})", clean(note)));
    }
    text
}

fn one_line(instruction: Option<&str>) -> String {
    match instruction {
        Some(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            clean(&words.join(" "))
        }
        None => "(its history does not say)".to_owned(),
    }
}

/// Lines of at most so many columns; what follows the first stands under it.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && width(line) + 1 + width(word) > columns {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join(&format!("\n{}", " ".repeat(9)))
}

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_help_is_wrapped_under_itself() {
        assert_eq!(
            wrapped("one two three", 7),
            format!("one two\n{}three", " ".repeat(9))
        );
        assert_eq!(wrapped("word", 2), "word");
    }
}
