//! HTML in the making. Markup is text of this program; everything else is escaped. There is no third
//! way in, so nothing that was pushed can become markup.

use std::fmt::{self, Display, Write as _};

#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Markup as it stands.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text in an element or in a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        let written = write!(Escaping(&mut self.0), "{text}");
        written.expect("writing to a String cannot fail");
        self
    }

    /// A link to a page of this registry.
    pub(super) fn link(&mut self, to: impl Display, text: impl Display) -> &mut Self {
        self.markup("<a href=\"").text(to).markup("\">");
        self.text(text).markup("</a>")
    }

    /// A digest of which the beginning is shown and the whole is copied.
    pub(super) fn short_digest(&mut self, digest: impl Display) -> &mut Self {
        self.markup("<code class=\"digest\">");
        self.text(digest).markup("</code>")
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Escapes what is written through it.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Characters that HTML does not allow, and those that turn the direction of what
                // follows: the page shows that something is there.
                c if is_unseen(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

fn is_unseen(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes with a decimal unit, as registries show them.
pub(super) struct Size(pub(super) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let mut amount = self.0 as f64;
        let mut unit = "B";
        for larger in ["kB", "MB", "GB", "TB"] {
            if amount < 1000.0 {
                break;
            }
            amount /= 1000.0;
            unit = larger;
        }
        match unit {
            "B" => write!(f, "{amount:.0} B"),
            _ => write!(f, "{amount:.1} {unit}"),
        }
    }
}

/// How many of something: `1 tag`, `1,200 tags`.
pub(super) struct Count(pub(super) usize, pub(super) &'static str);

impl Count {
    /// The number alone.
    pub(super) fn plain(number: usize) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Self::plain(self.0);
        match (self.0, self.1.strip_suffix('y')) {
            (1, _) => write!(f, "{number} {}", self.1),
            (_, Some(stem)) => write!(f, "{number} {stem}ies"),
            (_, None) => write!(f, "{number} {}s", self.1),
        }
    }
}

/// The beginning of a text, for one line.
pub(super) struct Clipped<'a>(pub(super) &'a str, pub(super) usize);

impl Display for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(self.1) {
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
            None => f.write_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        for (text, want) in [
            (
                "<a href=\"x\">'&'</a>",
                "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;",
            ),
            ("two\nlines\tand ü", "two\nlines\tand ü"),
            ("\0\u{1b}[31m\u{85}", "\u{fffd}\u{fffd}[31m\u{fffd}"),
            ("a\u{202e}gpj.exe\u{2066}", "a\u{fffd}gpj.exe\u{fffd}"),
        ] {
            let mut html = Html::new();
            html.text(text);
            assert_eq!(html.finish(), want);
        }
        let mut html = Html::new();
        html.link("/x\"onclick=\"y", "<b>");
        assert_eq!(
            html.finish(),
            "<a href=\"/x&quot;onclick=&quot;y\">&lt;b&gt;</a>"
        );
    }

    #[test]
    fn numbers_are_read() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (246_400_000, "246.4 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(Size(bytes).to_string(), want);
        }
        for (count, want) in [
            (0, "0 tags"),
            (1, "1 tag"),
            (999, "999 tags"),
            (1_000, "1,000 tags"),
            (1_234_567, "1,234,567 tags"),
        ] {
            assert_eq!(Count(count, "tag").to_string(), want);
        }
        assert_eq!(Count(1, "repository").to_string(), "1 repository");
        assert_eq!(Count(2, "repository").to_string(), "2 repositories");
        for (text, want) in [("abc", "abc"), ("abcd", "abc…"), ("äöü", "äöü"), ("", "")] {
            assert_eq!(Clipped(text, 3).to_string(), want);
        }
    }
}
