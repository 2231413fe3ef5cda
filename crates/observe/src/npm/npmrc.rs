//! The text of an `.npmrc` file: `key = value` lines, as npm's reader of ini files takes them.

use std::collections::BTreeMap;

/// The settings of a file, variables filled in. A value with a variable that is not set is left
/// out: sending the text `${TOKEN}` as a token helps nobody. Tables in brackets hold nothing that
/// npm reads, and are passed over with what stands in them.
pub(crate) fn parse(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            break;
        }
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = expand(unquoted(key.trim()), environment);
        let value = expand(unquoted(without_comment(value.trim())), environment);
        if let (Some(key), Some(value)) = (key, value) {
            settings.insert(key, value);
        }
    }
    settings
}

/// A comment within a line counts when the value is not quoted and the sign follows a space, so
/// that a `#` inside an address or a token stays.
fn without_comment(value: &str) -> &str {
    if value.starts_with(['"', '\'']) {
        return value;
    }
    let end = value
        .char_indices()
        .find(|&(at, sign)| {
            matches!(sign, ';' | '#') && value[..at].ends_with(|c: char| c.is_whitespace())
        })
        .map_or(value.len(), |(at, _)| at);
    value[..end].trim_end()
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    text
}

/// Fills in `${NAME}`; `${NAME?}` is empty when the variable is not set, otherwise that gives
/// nothing at all.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else {
            break;
        };
        out.push_str(&rest[..start]);
        let name = &rest[start + 2..start + length];
        match name.strip_suffix('?') {
            Some(name) => out.push_str(environment.get(name).map_or("", String::as_str)),
            None => out.push_str(environment.get(name)?),
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_settings() {
        let environment = BTreeMap::from([("TOKEN".to_owned(), "t0k3n".to_owned())]);
        let text = "\
; comment
# comment
registry=https://npm.example/a/
 @scope:registry = \"https://scope.example/\"
//npm.example/:_authToken=${TOKEN}
//none.example/:_authToken=${MISSING}
//soft.example/:_authToken=x${MISSING?}
//odd.example/:_authToken=a#b;c
commented = yes ; no
quoted = 'a ; b'
flag
[table]
registry = https://hidden.example/
";
        let settings = parse(text, &environment);
        let found: Vec<(&str, &str)> = settings
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("//npm.example/:_authToken", "t0k3n"),
                ("//odd.example/:_authToken", "a#b;c"),
                ("//soft.example/:_authToken", "x"),
                ("@scope:registry", "https://scope.example/"),
                ("commented", "yes"),
                ("quoted", "a ; b"),
                ("registry", "https://npm.example/a/"),
            ]
        );
    }
}
