//! Texts of others, made harmless for a terminal: what a build prints must not move the cursor, hide lines or rename the
//! window of who reads about it.

/// The text without escape sequences, control characters and marks that reverse the direction of writing. Line ends and
/// tabs stay.
#[must_use]
pub fn without_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\t' | '\n' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// The same text with every byte where it was: what the renderer of sources does not replace by itself, the control
/// characters that are two bytes long, becomes a mark of two bytes.
pub(crate) fn with_marks(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{80}'..='\u{9f}' => '\u{bf}',
            c => c,
        })
        .collect()
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What follows an escape character (ECMA-48, section 5).
fn skip_escape(chars: &mut Chars<'_>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        // Operating system commands and their like end with BEL or with ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            while let Some(c) = chars.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    break;
                }
                if c == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some(_) => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
        None => {}
    }
}

fn skip_control_sequence(chars: &mut Chars<'_>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_stays() {
        for (text, plain) in [
            ("plain\n\ttext", "plain\n\ttext"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;x\u{1b}\\link", "link"),
            ("\u{1b}P+q544e\u{9c}x", "x"),
            ("\u{9b}2Jx", "x"),
            ("a\rb\u{8}c\u{7f}", "abc"),
            ("\u{202e}desrever\u{2066}", "desrever"),
            ("\u{1b}(Bx\u{1b}", "x"),
        ] {
            assert_eq!(without_controls(text), plain, "{text:?}");
        }
        let marked = with_marks("a\u{9b}b");
        assert_eq!((marked.as_str(), marked.len()), ("a\u{bf}b", 4));
    }
}
