//! Ranges of bytes as registries write them: of a part that comes (RFC 9110 section 14.4), and of
//! how far an upload has got (distribution-spec, "Pushing a blob in chunks").

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

/// How many bytes of an upload a registry has, by the `Range` of its answer: `0-9` are ten. What
/// is no such range is None. `0-0` is what most registries answer before anything came, so it
/// counts as nothing.
pub(crate) fn received(value: &str) -> Option<u64> {
    let value = value.trim();
    let value = value
        .strip_prefix("bytes=")
        .or_else(|| value.strip_prefix("bytes "))
        .unwrap_or(value);
    let (first, last) = value.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    match (first, last) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
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

    #[test]
    fn the_state_of_an_upload_is_read() {
        for (value, want) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("bytes 0-9", Some(10)),
            ("0-0", Some(0)),
            ("0-1", Some(2)),
            ("1-9", None),
            ("0--1", None),
            ("-", None),
            ("9", None),
            ("0-18446744073709551615", None),
            ("", None),
        ] {
            assert_eq!(received(value), want, "{value}");
        }
    }
}
