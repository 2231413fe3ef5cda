//! The lines of an image's history, as instructions that can be shown.

use crate::scan::{has_secret_name, token_spans, url_password};

/// The instruction behind each layer, where the history fits the layers, without build arguments and
/// with secrets blotted out. `history` holds what each line says, and whether it made a layer.
#[must_use]
pub fn instructions(history: &[(String, bool)], layers: usize) -> Vec<Option<String>> {
    let made: Vec<&String> = history
        .iter()
        .filter(|(_, makes)| *makes)
        .map(|(text, _)| text)
        .collect();
    if made.len() != layers {
        return vec![None; layers];
    }
    made.into_iter()
        .map(|text| Some(instruction(text)).filter(|text| !text.is_empty()))
        .collect()
}

/// A line of the history as the instruction it was.
fn instruction(line: &str) -> String {
    let text = line.trim();
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
    if let Some(rest) = text.strip_prefix("/bin/sh -c #(nop)") {
        return redacted(rest.trim_start());
    }
    let (is_run, command) = match text.strip_prefix("RUN ") {
        Some(rest) => (true, rest.trim_start()),
        None => (
            text.starts_with("/bin/sh -c ") || text.starts_with('|'),
            text,
        ),
    };
    if !is_run {
        return redacted(text);
    }
    let command = without_arguments(command);
    let command = command.strip_prefix("/bin/sh -c ").unwrap_or(command);
    redacted(&format!("RUN {}", command.trim_start()))
}

/// Without `|2 A=b C=d`, the build arguments that a step ran with: their values may hold anything.
fn without_arguments(command: &str) -> &str {
    let Some(rest) = command.strip_prefix('|') else {
        return command;
    };
    if let Some(at) = rest.find("/bin/sh -c ") {
        return &rest[at..];
    }
    let (count, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    for _ in 0..count.parse().unwrap_or(0_usize) {
        rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    }
    rest
}

/// The text with the values of secrets taken out: what looks like a token, and what is assigned to a
/// name that says it is a secret.
fn redacted(text: &str) -> String {
    let mut spans = token_spans(text.as_bytes());
    let bytes = text.as_bytes();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut at = 0;
    while let Some(found) = text[at..].find('=') {
        let equals = at + found;
        at = equals + 1;
        let start = bytes[..equals]
            .iter()
            .rposition(|&byte| !is_name(byte))
            .map_or(0, |before| before + 1);
        if !is_secretive(&text[start..equals]) {
            continue;
        }
        let end = match bytes.get(at) {
            Some(&quote @ (b'"' | b'\'')) => bytes[at + 1..]
                .iter()
                .position(|&byte| byte == quote)
                .map_or(bytes.len(), |end| at + 1 + end + 1),
            // What a variable stands for is not written here.
            Some(b'$') => continue,
            _ => bytes[at..]
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b";&|\"'".contains(byte))
                .map_or(bytes.len(), |end| at + end),
        };
        if end > at {
            spans.push(at..end);
            at = end;
        }
    }
    let mut from = 0;
    while let Some(span) = url_password(text, from) {
        from = span.end;
        spans.push(span);
    }
    spans.sort_by_key(|span| span.start);
    let mut out = String::new();
    let mut done = 0;
    for span in spans {
        if span.start >= done {
            out.push_str(&text[done..span.start]);
            out.push('…');
            done = span.end;
        } else {
            done = done.max(span.end);
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Whether what is assigned to a name is not shown. Rather too often: nobody is accused by this.
fn is_secretive(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    has_secret_name(name)
        || ["TOKEN", "PASSW", "SECRET", "APIKEY", "CREDENTIAL", "_AUTH"]
            .iter()
            .any(|word| upper.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_reads_as_instructions() {
        for (line, want) in [
            (
                "RUN /bin/sh -c apt-get update # buildkit",
                "RUN apt-get update",
            ),
            ("/bin/sh -c apt-get update", "RUN apt-get update"),
            ("COPY a /b # buildkit", "COPY a /b"),
            ("/bin/sh -c #(nop)  CMD [\"bash\"]", "CMD [\"bash\"]"),
            (
                "# debian.sh --arch 'amd64' out/",
                "# debian.sh --arch 'amd64' out/",
            ),
            (
                "RUN |2 A=b PASSWORD=hunter2 with blanks /bin/sh -c make # buildkit",
                "RUN make",
            ),
            ("|1 TOKEN=abc /bin/bash -c make", "RUN /bin/bash -c make"),
            ("RUN /bin/sh -c TOKEN=abc make; x", "RUN TOKEN=… make; x"),
            ("RUN /bin/sh -c API_KEY='a b' make", "RUN API_KEY=… make"),
            ("RUN /bin/sh -c TOKEN=$T make", "RUN TOKEN=$T make"),
            ("ENV DB_PASSWORD=hunter2", "ENV DB_PASSWORD=…"),
            (
                "RUN echo //h/:_authToken=s3cr3t > x",
                "RUN echo //h/:_authToken=… > x",
            ),
            (
                "RUN git clone https://me:hunter2@h/r",
                "RUN git clone https://me:…@h/r",
            ),
            ("ENV KEYS=2 AUTHOR=me", "ENV KEYS=2 AUTHOR=me"),
            ("RUN TOKEN=TOKEN=x y", "RUN TOKEN=… y"),
            (
                "RUN /bin/sh -c git clone https://x:ghp_abcdefghijABCDEFGHIJ0123456789abcdef@h/r",
                "RUN git clone https://x:…@h/r",
            ),
        ] {
            assert_eq!(instruction(line), want, "{line}");
        }
    }

    #[test]
    fn a_line_that_repeats_itself_is_read_soon() {
        let line = format!("RUN {}", "TOKEN=".repeat(1 << 20));
        assert_eq!(instruction(&line), "RUN TOKEN=…");
    }

    #[test]
    fn a_history_that_does_not_fit_blames_nobody() {
        let history = [("RUN a".to_owned(), true), ("ENV b".to_owned(), false)];
        assert_eq!(instructions(&history, 1), [Some("RUN a".to_owned())]);
        assert_eq!(instructions(&history, 2), [None, None]);
        assert_eq!(instructions(&[], 1), [None]);
    }
}
