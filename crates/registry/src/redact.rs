//! Keeping secrets and control characters out of what people read.

/// How much of a foreign text is repeated, in characters.
const LIMIT: usize = 300;

/// One line without control characters, cut to a bearable length.
pub(crate) fn clean(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\t') {
                ' '
            } else {
                c
            }
        })
        .filter(|c| !c.is_control())
        .take(LIMIT)
        .collect();
    if text.chars().count() > LIMIT {
        out.push('…');
    }
    out.trim().to_owned()
}

/// Replaces what follows the `?` of every URL: signed URLs carry their secret there.
pub(crate) fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_url = false;
    let mut skipping = false;
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')');
    for (at, c) in text.char_indices() {
        if ends_url(c) {
            in_url = false;
            skipping = false;
        } else if text[at..].starts_with("://") {
            in_url = true;
        }
        if skipping {
            continue;
        }
        out.push(c);
        if in_url && c == '?' {
            out.push('…');
            skipping = true;
        }
    }
    out
}

/// Replaces each of the secrets wherever it stands.
pub(crate) fn without_secrets(text: &str, secrets: &[&str]) -> String {
    secrets
        .iter()
        .filter(|secret| secret.len() >= 4)
        .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_secrets_go() {
        for (text, want) in [
            ("plain? yes", "plain? yes"),
            ("get https://a/b?c=d&e", "get https://a/b?…"),
            (
                "(https://a/b?c=d) and \"http://x?y\"",
                "(https://a/b?…) and \"http://x?…\"",
            ),
        ] {
            assert_eq!(without_queries(text), want);
        }
        assert_eq!(without_secrets("a hunter2 b", &["hunter2", "a"]), "a *** b");
        assert_eq!(clean(&"x".repeat(400)).chars().count(), 301);
    }
}
