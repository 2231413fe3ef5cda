//! Ranges of bytes as registries write them (RFC 9110 section 14.4).

/// The part of a blob that an answer holds; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The size of the whole, when the server knows it.
    pub(crate) size: Option<u64>,
}

/// Digits and nothing else; `u64::from_str` would take a `+` as well.
fn number(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

/// Reads the `Content-Range` of an answer: `bytes 3-9/10`, or `bytes 3-9/*`.
pub(crate) fn content_range(value: &str) -> Option<ContentRange> {
    let (unit, rest) = value.trim().split_once(' ')?;
    let (range, size) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    let size = match size.trim() {
        "*" => None,
        size => Some(number(size)?),
    };
    let fits = unit.eq_ignore_ascii_case("bytes")
        && first <= last
        && last < u64::MAX
        && size.is_none_or(|size| last < size);
    fits.then_some(ContentRange { first, last, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        let part = |first, last, size| Some(ContentRange { first, last, size });
        for (value, want) in [
            ("bytes 3-9/10", part(3, 9, Some(10))),
            ("Bytes 3-9/*", part(3, 9, None)),
            (" bytes  0-0/1 ", part(0, 0, Some(1))),
            ("bytes 3-9", None),
            ("bytes 9-3/10", None),
            ("bytes 3-10/10", None),
            ("bytes */10", None),
            ("bytes -3/10", None),
            ("bytes +3-9/10", None),
            ("bytes 3-99999999999999999999/*", None),
            ("bytes 0-18446744073709551615/*", None),
            ("items 3-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(value), want, "{value}");
        }
    }
}
