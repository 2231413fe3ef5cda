//! `WWW-Authenticate`: what a registry wants as proof (RFC 9110 section 11.6.1, and the token
//! scheme of the distribution project).

/// A scheme this client can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenges of one header value that this client can answer, in order. Unknown schemes and
/// broken parts are passed over.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while let Some((scheme, after)) = word(rest) {
        let (parameters, tail) = parameters(after);
        rest = tail.trim_start_matches([' ', '\t', ',']);
        let value = |name: &str| {
            parameters
                .iter()
                .find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: value("service"),
                scope: value("scope"),
            });
        }
    }
    challenges
}

/// A token at the start of a text, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The `name=value` pairs at the start of a text, and what follows them: the next scheme.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = text.trim_start_matches([' ', '\t', ',']);
        let Some((name, after)) = word(start) else {
            return (found, start.get(1..).unwrap_or(""));
        };
        let Some(value) = after.trim_start().strip_prefix('=') else {
            return (found, start);
        };
        let value = value.trim_start();
        let (value, rest) = match value.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        found.push((name.to_owned(), value));
        text = rest;
    }
}

/// The rest of a quoted string with its escapes resolved, and what follows the closing quote.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn headers_of_many_registries_are_read() {
        let r = "https://a/t";
        for (header, want) in [
            (
                r#"Bearer realm="https://a/t",service="s.io",scope="repository:x/y:pull,push""#,
                vec![bearer(r, Some("s.io"), Some("repository:x/y:pull,push"))],
            ),
            (
                r#"bearer realm = "https://a/t" , error="x""#,
                vec![bearer(r, None, None)],
            ),
            (
                "Bearer realm=https://a/t,service=s",
                vec![bearer(r, Some("s"), None)],
            ),
            (r#"Basic realm="a \"b\", c""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (
                r#"Negotiate, Bearer realm="https://a/t", Basic realm="x""#,
                vec![bearer(r, None, None), Challenge::Basic],
            ),
            (
                r#"Negotiate abc==, Basic realm="x""#,
                vec![Challenge::Basic],
            ),
            (r#"Bearer service="no realm""#, vec![]),
            (
                r#"Bearer realm="unclosed"#,
                vec![bearer("unclosed", None, None)],
            ),
            ("", vec![]),
            (",,;=", vec![]),
            ("\"\"\"", vec![]),
        ] {
            assert_eq!(parse(header), want, "{header}");
        }
    }
}
