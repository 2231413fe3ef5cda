//! `Range` of a download (RFC 9110, section 14) and `Content-Range` of a chunk (distribution-spec,
//! "Pushing a blob in chunks").

use std::ops::Range;

/// What a `Range` header asks of a resource of some size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No range, or one that RFC 9110 tells a server to pass over.
    Whole,
    Part(Range<u64>),
    /// Answered with 416.
    Unsatisfiable,
}

/// Reads a `Range` header. Several ranges at once are answered with the whole, as the RFC allows.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((unit, spec)) = header.and_then(|text| text.trim().split_once('=')) else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Wanted::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Wanted::Whole;
    };
    match (number(first), number(last)) {
        (Number::Is(first), Number::Is(last)) if first > last => Wanted::Whole,
        (Number::Is(first), _) if first >= size => Wanted::Unsatisfiable,
        (Number::Is(first), Number::Is(last)) => {
            Wanted::Part(first..last.saturating_add(1).min(size))
        }
        (Number::Is(first), Number::Absent) => Wanted::Part(first..size),
        (Number::Absent, Number::Is(0)) => Wanted::Unsatisfiable,
        (Number::Absent, Number::Is(_)) if size == 0 => Wanted::Unsatisfiable,
        (Number::Absent, Number::Is(suffix)) => Wanted::Part(size.saturating_sub(suffix)..size),
        _ => Wanted::Whole,
    }
}

enum Number {
    Absent,
    Is(u64),
    Wrong,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        Number::Absent
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds lie behind the end of anything.
        Number::Is(text.parse().unwrap_or(u64::MAX))
    } else {
        Number::Wrong
    }
}

/// Reads the `Content-Range` of a chunk, `first-last`, both inclusive. Some clients write it as in
/// HTTP proper, `bytes first-last/size`; that is understood as well.
pub(crate) fn chunk(header: &str) -> Option<Range<u64>> {
    let text = header.trim();
    let text = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    match (number(first), number(last)) {
        (Number::Is(first), Number::Is(last)) if first <= last && last < u64::MAX => {
            Some(first..last + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_downloads() {
        let part = Wanted::Part;
        for (header, size, want) in [
            ("bytes=0-3", 10, part(0..4)),
            ("bytes=2-", 10, part(2..10)),
            ("bytes=-3", 10, part(7..10)),
            ("bytes=-30", 10, part(0..10)),
            ("bytes=5-500", 10, part(5..10)),
            ("BYTES= 9-9 ", 10, part(9..10)),
            ("bytes=0-99999999999999999999999", 10, part(0..10)),
            ("bytes=10-", 10, Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Wanted::Unsatisfiable),
            ("bytes=0-0", 0, Wanted::Unsatisfiable),
            ("bytes=-0", 10, Wanted::Unsatisfiable),
            ("bytes=-1", 0, Wanted::Unsatisfiable),
            ("bytes=5-2", 10, Wanted::Whole),
            ("bytes=0-1,3-4", 10, Wanted::Whole),
            ("items=0-1", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes", 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), size), want, "{header} of {size}");
        }
        assert_eq!(wanted(None, 3), Wanted::Whole);
    }

    #[test]
    fn ranges_of_chunks() {
        for (header, want) in [
            ("0-9", Some(0..10)),
            ("10-10", Some(10..11)),
            ("bytes 0-9/*", Some(0..10)),
            ("bytes=0-9", Some(0..10)),
            ("9-0", None),
            ("-9", None),
            ("9-", None),
            ("", None),
            ("a-b", None),
        ] {
            assert_eq!(chunk(header), want, "{header}");
        }
    }
}
