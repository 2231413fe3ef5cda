//! Lines for logs: one per thing that happens, no cursor movement.

use super::story::{Entry, Mark};

/// The line of an entry; none for what a log has shown already.
pub(crate) fn line(entry: &Entry, colour: bool) -> Option<String> {
    if entry.mark == Mark::Last {
        return None;
    }
    Some(render(entry, colour))
}

/// The line of an entry where only trouble is shown.
pub(crate) fn quiet_line(entry: &Entry, colour: bool) -> Option<String> {
    matches!(entry.mark, Mark::Failed | Mark::Last | Mark::Warning).then(|| render(entry, colour))
}

fn render(entry: &Entry, colour: bool) -> String {
    let text = match entry.mark {
        Mark::Output | Mark::Last => format!("  {}", entry.text),
        Mark::Phase => format!("== {} ==", entry.text),
        _ => entry.text.clone(),
    };
    let text = text.trim_end();
    let prefix = match entry.who.as_str() {
        "" => String::new(),
        who if text.is_empty() => format!("{who} │"),
        who => format!("{who} │ "),
    };
    // Output keeps the colour of plain text: it is what people came to read.
    match entry.mark {
        Mark::Output => format!("{prefix}{text}"),
        mark => format!("{prefix}{}", mark.paint().on(text, colour)),
    }
}
