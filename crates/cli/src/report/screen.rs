//! The terminal of the live view: lasting lines scroll up, the picture below is drawn over.

use std::io::Write;

use super::frame::Size;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
/// The picture's lines are cut by the terminal and never wrapped, so that its height is known.
const WRAP_OFF: &str = "\u{1b}[?7l";
const WRAP_ON: &str = "\u{1b}[?7h";
const CLEAR_LINE: &str = "\u{1b}[2K";
const CLEAR_BELOW: &str = "\u{1b}[J";
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
        if up > 0 {
            text.push_str(&format!("\u{1b}[{up}A"));
        }
        text.push('\r');
        if !lasting.is_empty() || up != self.drawn.len() {
            text.push_str(CLEAR_BELOW);
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
        text.push_str(CLEAR_BELOW);
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
