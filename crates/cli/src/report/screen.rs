//! The terminal of the live view: lasting lines scroll up, the picture below is drawn over.

use std::io::Write;

use super::frame::Size;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
/// The picture's lines are cut by the terminal and never wrapped, so that its height is known.
const WRAP_OFF: &str = "\u{1b}[?7l";
const WRAP_ON: &str = "\u{1b}[?7h";
const CLEAR_LINE: &str = "\u{1b}[2K";
const LINE_DOWN: &str = "\u{1b}[1B";
/// Terminals that know synchronised updates show the new picture at once; the others ignore it.
const UPDATE_BEGIN: &str = "\u{1b}[?2026h";
const UPDATE_END: &str = "\u{1b}[?2026l";

pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    drawn: Vec<String>,
    hidden: bool,
}

impl Screen {
    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            drawn: Vec::new(),
            hidden: false,
        }
    }

    /// Adds lasting lines and draws a new picture below them.
    pub(crate) fn draw(&mut self, lasting: &[String], picture: Vec<String>, size: Size) {
        if lasting.is_empty() && picture == self.drawn {
            return;
        }
        let mut text = UPDATE_BEGIN.to_owned();
        if !self.hidden {
            text.push_str(HIDE_CURSOR);
            self.hidden = true;
        }
        let up = self.height(size);
        let to_first = match up {
            0 => "\r".to_owned(),
            up => format!("\u{1b}[{up}A\r"),
        };
        text.push_str(&to_first);
        if !lasting.is_empty() || up != picture.len() {
            // Line by line: some terminals keep what is cleared at once in their history.
            text.push_str(&format!("{CLEAR_LINE}{LINE_DOWN}").repeat(up));
            text.push_str(&to_first);
        }
        for line in lasting {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str(WRAP_OFF);
        for line in &picture {
            text.push_str(CLEAR_LINE);
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str(WRAP_ON);
        text.push_str(UPDATE_END);
        self.write(&text);
        self.drawn = picture;
    }

    /// Takes the picture away and gives the cursor back.
    pub(crate) fn finish(&mut self, lasting: &[String], size: Size) {
        self.draw(lasting, Vec::new(), size);
        if self.hidden {
            self.write(SHOW_CURSOR);
            self.hidden = false;
        }
    }

    /// The rows the last picture takes now: terminals that were made narrower since may have
    /// wrapped it.
    fn height(&self, size: Size) -> usize {
        let columns = size.columns.max(1);
        let rows: usize = self
            .drawn
            .iter()
            .map(|line| {
                super::text::width(&super::text::clean(line))
                    .div_ceil(columns)
                    .max(1)
            })
            .sum();
        rows.min(size.rows.saturating_sub(1))
    }

    /// Nobody is left to tell when the terminal is gone, and the work goes on.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.hidden {
            self.write(SHOW_CURSOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn size(columns: usize) -> Size {
        Size { columns, rows: 24 }
    }

    fn picture(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_same_picture_is_drawn_once() {
        let written = Written::default();
        let mut screen = Screen::new(Box::new(written.clone()));
        screen.draw(&[], picture(&["a", "b"]), size(80));
        assert!(written.take().contains("\u{1b}[2Ka\r\n\u{1b}[2Kb\r\n"));
        screen.draw(&[], picture(&["a", "b"]), size(80));
        assert_eq!(written.take(), "");
        screen.draw(&[], picture(&["a", "c"]), size(80));
        assert!(written.take().contains("\u{1b}[2A\r"));
    }

    #[test]
    fn goes_back_over_lines_that_a_narrower_terminal_wrapped() {
        let written = Written::default();
        let mut screen = Screen::new(Box::new(written.clone()));
        screen.draw(
            &[],
            picture(&["123456789", "\u{1b}[1m12\u{1b}[0m"]),
            size(80),
        );
        written.take();
        screen.draw(&[], picture(&["1234"]), size(4));
        assert!(written.take().contains("\u{1b}[4A\r"));
    }

    #[test]
    fn the_cursor_comes_back() {
        for by_drop in [false, true] {
            let written = Written::default();
            let mut screen = Screen::new(Box::new(written.clone()));
            screen.draw(&["kept".to_owned()], picture(&["a"]), size(80));
            assert!(written.take().contains(HIDE_CURSOR));
            if by_drop {
                drop(screen);
            } else {
                screen.finish(&[], size(80));
            }
            assert!(written.take().ends_with(SHOW_CURSOR));
        }
    }
}
