//! `Link` headers: where the next page of a list is (RFC 8288).

/// The target of the link whose relation is `next`.
pub(crate) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(open) = rest.find('<') {
        let close = open + rest[open..].find('>')?;
        let target = &rest[open + 1..close];
        let after = &rest[close + 1..];
        let end = after
            .find(",<")
            .or(after.find(", <"))
            .unwrap_or(after.len());
        let is_next = after[..end].split(';').any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_end_matches(',')
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = &after[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        for (header, want) in [
            (
                r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
                Some("/v2/a/tags/list?n=2&last=b"),
            ),
            ("<https://x/y>;rel=next", Some("https://x/y")),
            (r#"<a>; rel="prev", <b>; rel="next""#, Some("b")),
            (r#"<a>; title="x"; rel="last next""#, Some("a")),
            (r#"<a>; rel="prev""#, None),
            ("<a", None),
            ("", None),
        ] {
            assert_eq!(next(header), want, "{header}");
        }
    }
}
