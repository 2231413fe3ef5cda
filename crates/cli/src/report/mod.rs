//! How a running release or build is shown: as a picture redrawn in place, as lines for logs, as
//! JSON for programs, or only when something is wrong.
//!
//! Talk goes to standard error; JSON is data and goes to standard output. Nothing here reads the
//! environment: the caller says what the terminal can do.

mod frame;
mod json;
mod live;
pub(crate) mod network;
mod output;
mod plain;
mod screen;
mod story;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod transfers;

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use launchway_plan::Plan;

pub(crate) use frame::Size;
use json::Json;
use live::Live;
use screen::Screen;
use story::{Entry, Mark, Story, Told};
use transfers::Transfers;

/// About twelve pictures a second: smooth to the eye, and cheap however much a step writes.
const REDRAW_EVERY: Duration = Duration::from_millis(83);

/// Where the size of the terminal is unknown.
const USUAL_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Live on a terminal, plain elsewhere.
    Auto,
    Live,
    Plain,
    Json,
    /// Failures and warnings only.
    Quiet,
}

/// What the caller knows about standard error.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) colour: bool,
    /// It is a terminal that can move its cursor, and a person may be looking at it. Decides what
    /// `Format::Auto` means.
    pub(crate) interactive: bool,
    /// The size of the terminal now; asked before every picture, so that it follows resizes.
    pub(crate) size: Arc<dyn Fn() -> Option<Size> + Send + Sync>,
}

/// Shows events until it is finished or dropped. Events that come later are not shown.
pub(crate) struct Reporter {
    shared: Arc<Shared>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    colour: bool,
    view: Mutex<View>,
    /// Wakes the thread that draws, at the end.
    finished: Condvar,
}

enum View {
    Live {
        live: Box<Live>,
        /// Lasting lines that are not on the screen yet.
        lasting: Vec<String>,
    },
    Plain {
        story: Story,
        transfers: Transfers,
        err: Box<dyn Write + Send>,
    },
    Quiet {
        story: Story,
        err: Box<dyn Write + Send>,
    },
    Json {
        json: Box<Json>,
        out: Box<dyn Write + Send>,
    },
    Finished,
}

impl Reporter {
    pub(crate) fn new(format: Format, options: Options) -> Self {
        Self::writing_to(
            format,
            options,
            Box::new(std::io::stdout()),
            Box::new(std::io::stderr()),
        )
    }

    fn writing_to(
        format: Format,
        options: Options,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        let story = Story::default();
        let format = match format {
            Format::Auto if options.interactive => Format::Live,
            Format::Auto => Format::Plain,
            format => format,
        };
        let (view, screen) = match format {
            Format::Auto | Format::Plain => {
                let transfers = Transfers::default();
                let view = View::Plain {
                    story,
                    transfers,
                    err,
                };
                (view, None)
            }
            Format::Quiet => (View::Quiet { story, err }, None),
            Format::Json => {
                let json = Box::default();
                (View::Json { json, out }, None)
            }
            Format::Live => {
                let live = Box::new(Live::new());
                let lasting = Vec::new();
                (View::Live { live, lasting }, Some(Screen::new(err)))
            }
        };
        let shared = Arc::new(Shared {
            colour: options.colour,
            view: Mutex::new(view),
            finished: Condvar::new(),
        });
        let drawer = screen.and_then(|screen| {
            let drawn = Arc::clone(&shared);
            let size = Arc::clone(&options.size);
            let spawned = std::thread::Builder::new()
                .name("progress".to_owned())
                .spawn(move || drawn.draw(screen, &*size));
            if spawned.is_err() {
                // Without a thread to draw, the log is what can still be shown.
                *shared.view() = View::Plain {
                    story: Story::default(),
                    transfers: Transfers::default(),
                    err: Box::new(std::io::stderr()),
                };
            }
            spawned.ok()
        });
        Self {
            shared,
            drawer: Mutex::new(drawer),
        }
    }

    /// Announces the nodes of a plan, so that the live view shows those that wait.
    pub(crate) fn begin(&self, plan: &Plan) {
        if let View::Live { live, .. } = &mut *self.shared.view() {
            live.begin(plan);
        }
    }

    pub(crate) fn on_release(&self) -> Arc<dyn Fn(launchway_release::Event) + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |event| shared.tell(Told::Release(&event)))
    }

    pub(crate) fn on_build(&self) -> Arc<dyn Fn(launchway_engine::Event) + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |event| shared.tell(Told::Build(&event)))
    }

    /// Shows what is left, takes the live picture away and gives the cursor back. Must come before
    /// anything else is printed, and before the process exits by itself.
    pub(crate) fn finish(&self) {
        self.shared.finish();
        let drawer = self
            .drawer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(drawer) = drawer {
            // A drawing thread that panicked has said so, and its screen gave the cursor back.
            let _ = drawer.join();
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: Told<'_>) {
        let now = Instant::now();
        match &mut *self.view() {
            View::Live { live, lasting } => {
                let entries = live.tell(told, now);
                lasting.extend(entries.iter().map(|entry| lasting_line(entry, self.colour)));
            }
            View::Plain {
                story,
                transfers,
                err,
            } => {
                let mut entries = story.tell(told);
                if let Told::Release(launchway_release::Event::Transfer(event)) = told {
                    entries.extend(transfers.tell(event, now));
                }
                write_lines(err, self.lines(&entries, plain::line));
            }
            View::Quiet { story, err } => {
                let entries = story.tell(told);
                write_lines(err, self.lines(&entries, plain::quiet_line));
            }
            View::Json { json, out } => {
                write_lines(out, json.lines(told, jiff::Timestamp::now(), now));
            }
            View::Finished => {}
        }
    }

    fn lines(&self, entries: &[Entry], line: fn(&Entry, bool) -> Option<String>) -> Vec<String> {
        let lines = entries.iter();
        lines.filter_map(|entry| line(entry, self.colour)).collect()
    }

    fn finish(&self) {
        let mut view = self.view();
        match &mut *view {
            // Its thread takes the last lines and finishes the view.
            View::Live { live, .. } => {
                live.over = true;
                self.finished.notify_all();
                return;
            }
            View::Plain { story, err, .. } => {
                let entries = story.finish();
                write_lines(err, self.lines(&entries, plain::line));
            }
            View::Json { json, out } => write_lines(out, json.finish(jiff::Timestamp::now())),
            View::Quiet { .. } | View::Finished => {}
        }
        *view = View::Finished;
    }

    /// The drawing thread: looks at what is known, draws without holding it up, and sleeps.
    fn draw(&self, mut screen: Screen, size: &(dyn Fn() -> Option<Size> + Send + Sync)) {
        loop {
            let size = size().unwrap_or(USUAL_SIZE);
            let mut view = self.view();
            let View::Live { live, lasting } = &mut *view else {
                return;
            };
            let lines = std::mem::take(lasting);
            if live.over {
                *view = View::Finished;
                drop(view);
                screen.finish(&lines, size);
                return;
            }
            let picture = frame::frame(live, size, self.colour, Instant::now());
            drop(view);
            screen.draw(&lines, picture, size);
            let view = self.view();
            let over = matches!(&*view, View::Live { live, .. } if live.over);
            if !over {
                let waited = self.finished.wait_timeout(view, REDRAW_EVERY);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}

/// A line of the live view that stays.
fn lasting_line(entry: &Entry, colour: bool) -> String {
    let mark = match entry.mark {
        Mark::Done => '✓',
        Mark::Failed => '✗',
        Mark::Warning => '!',
        Mark::Note => '·',
        Mark::Phase | Mark::Start | Mark::Cached | Mark::Output | Mark::Last => ' ',
    };
    let paint = entry.mark.paint();
    let who = match entry.who.as_str() {
        "" => String::new(),
        who => format!("{who}  "),
    };
    match entry.mark {
        Mark::Last => paint.on(format!("    │ {}", entry.text).trim_end(), colour),
        // The words are read, the mark is seen.
        Mark::Done => format!("{} {who}{}", paint.on("✓", colour), entry.text),
        _ => format!(
            "{} {who}{}",
            paint.on(&mark.to_string(), colour),
            paint.on(&entry.text, colour)
        ),
    }
}

/// Nobody is left to tell when the other end is gone, and the work goes on.
fn write_lines(to: &mut dyn Write, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let mut text = lines.join("\n");
    text.push('\n');
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}
