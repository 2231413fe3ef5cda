//! Numbers of bytes as people write them.

/// Why a text is no number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmountError(pub &'static str);

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Reads `50MB`, `1.5 GB`, `200MiB` or a plain number of bytes.
///
/// # Errors
/// When there is no number, or an unknown unit.
pub fn parse_bytes(text: &str) -> Result<u64, AmountError> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
        .ok_or(AmountError(
            "the units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB",
        ))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return Err(AmountError("a size is a number and a unit, as in 50MB"));
    }
    let too_large = AmountError("larger than anything");
    let whole: u64 = whole.parse().map_err(|_| too_large)?;
    let mut bytes = whole.checked_mul(factor).ok_or(too_large)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| too_large)?;
        let part = u128::from(digits) * u128::from(factor) / 10_u128.pow(fraction.len() as u32);
        let part = u64::try_from(part).map_err(|_| too_large)?;
        bytes = bytes.checked_add(part).ok_or(too_large)?;
    }
    Ok(bytes)
}

/// Bytes in powers of a thousand: `999 B`, `1.2 MB`.
#[must_use]
pub fn shown_bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // What would be printed as 1000.0 belongs to the next unit.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, want) in [
            ("0", Some(0)),
            ("1234", Some(1234)),
            ("50MB", Some(50_000_000)),
            (" 50 mb ", Some(50_000_000)),
            ("1.5GB", Some(1_500_000_000)),
            ("0.25 MiB", Some(262_144)),
            ("2KiB", Some(2048)),
            ("2TB", Some(2_000_000_000_000)),
            ("1TiB", Some(1 << 40)),
            ("10%", None),
            ("", None),
            ("MB", None),
            ("1.2.3MB", None),
            ("-5MB", None),
            ("5 parsecs", None),
            ("99999999999999999999", None),
            ("99999999999GB", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_written_in_powers_of_a_thousand() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (21_340_000, "21.3 MB"),
            (999_949, "999.9 kB"),
            (999_951, "1.0 MB"),
            (3_400_000_000, "3.4 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(shown_bytes(bytes), want);
        }
    }
}
