//! The picture of the live view: what is known becomes lines. Nothing is remembered here.

use std::time::{Duration, Instant};

use launchway_plan::Phase;

use super::live::{Live, Node, State, Transfer, Work};
use super::story::{phase_words, step_line};
use super::text::{Paint, cut, duration, pad, size, width};

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Beyond this a line is hard to follow to its end.
const WIDEST: usize = 120;
const BAR: usize = 20;

/// A row, and how soon it is left out when the terminal is too low.
struct Row {
    rank: Rank,
    mark: char,
    label: String,
    platform: String,
    text: String,
    paint: Paint,
    /// At the right edge.
    took: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Done,
    Waiting,
    Output,
    Group,
    Running,
    Head,
}

/// The lines of the live view. Never more than fit, so that the cursor can come back to the first.
pub(crate) fn frame(live: &Live, size: Size, colour: bool, now: Instant) -> Vec<String> {
    let mut rows = Vec::new();
    if making(live) {
        tree(live, now, &mut rows);
    } else {
        smoke(live, now, &mut rows);
    }
    for ((repository, pull), transfer) in &live.transfers {
        rows.push(transfer_row(repository, *pull, transfer, now));
    }
    if let Some(head) = head(live, now) {
        rows.insert(0, head);
    }
    // One line stays free for the cursor.
    let hidden = fit(&mut rows, size.rows.saturating_sub(1));
    let mut lines = render(&rows, size.columns.min(WIDEST), colour);
    lines.extend(hidden.map(|text| Paint::Dim.on(&cut(&text, size.columns), colour)));
    lines
}

/// Nodes are shown as a tree until all of them are made.
fn making(live: &Live) -> bool {
    live.phase.is_none_or(|phase| phase <= Phase::Publish)
        && live.nodes.iter().flat_map(|node| &node.works).any(unmade)
}

fn unmade(work: &Work) -> bool {
    matches!(work.state, State::Waiting | State::Running { .. })
}

fn head(live: &Live, now: Instant) -> Option<Row> {
    let phase = live.phase?;
    let words = match phase {
        // Publishing begins while nodes are still made.
        Phase::Publish if making(live) => "making and publishing",
        phase => phase_words(phase),
    };
    let works = live.nodes.iter().flat_map(|node| &node.works);
    let to_make: Vec<&Work> = works.filter(|w| w.state != State::Reused).collect();
    let mut text = words.to_owned();
    if phase <= Phase::Publish && !to_make.is_empty() {
        let made = to_make
            .iter()
            .filter(|work| matches!(work.state, State::Done { .. }))
            .count();
        text.push_str(&format!(" · {made} of {} made", to_make.len()));
    }
    Some(Row {
        rank: Rank::Head,
        mark: ' ',
        label: String::new(),
        platform: String::new(),
        text,
        paint: Paint::Bold,
        took: since(live.began, now),
    })
}

/// Bases, then under each image its features and variants.
fn tree(live: &Live, now: Instant, rows: &mut Vec<Row>) {
    let mut group: Option<&str> = None;
    for node in &live.nodes {
        let label = match node.id.split_once('/') {
            Some((image, rest)) => {
                if group != Some(image) {
                    rows.push(Row {
                        rank: Rank::Group,
                        mark: ' ',
                        label: image.to_owned(),
                        platform: String::new(),
                        text: String::new(),
                        paint: Paint::Plain,
                        took: String::new(),
                    });
                    group = Some(image);
                }
                format!("  {rest}")
            }
            None => {
                group = None;
                node.id.clone()
            }
        };
        node_rows(live, node, label, now, rows);
    }
}

fn node_rows(live: &Live, node: &Node, label: String, now: Instant, rows: &mut Vec<Row>) {
    let first = rows.len();
    // Platforms that are in the same state share a row, unless something runs there.
    let mut quiet: Vec<(&Work, Vec<&str>)> = Vec::new();
    for work in &node.works {
        if matches!(work.state, State::Running { .. }) {
            running_rows(live, work, now, rows);
            continue;
        }
        let same = quiet.iter_mut().find(|(other, _)| {
            std::mem::discriminant(&other.state) == std::mem::discriminant(&work.state)
        });
        match same {
            Some((_, platforms)) => platforms.push(&work.platform),
            None => quiet.push((work, vec![&work.platform])),
        }
    }
    for (work, platforms) in quiet {
        let took = |platform: &str| {
            let work = node.works.iter().find(|work| work.platform == platform)?;
            match work.state {
                State::Done { took } => Some(took),
                _ => None,
            }
        };
        let longest = platforms.iter().filter_map(|platform| took(platform)).max();
        let (rank, mark, text, paint) = match work.state {
            State::Done { .. } => (Rank::Done, '✓', "done", Paint::Good),
            State::Reused => (Rank::Done, '=', "reused", Paint::Dim),
            State::Failed => (Rank::Running, '✗', "failed", Paint::Bad),
            State::Waiting | State::Running { .. } => (Rank::Waiting, '·', "waiting", Paint::Dim),
        };
        let everywhere = platforms.len() == node.works.len() && platforms.len() > 1;
        rows.push(Row {
            rank,
            mark,
            label: String::new(),
            platform: if everywhere {
                String::new()
            } else {
                platforms.join(", ")
            },
            text: text.to_owned(),
            paint,
            took: longest.map(duration).unwrap_or_default(),
        });
    }
    if let Some(row) = rows.get_mut(first) {
        row.label = label;
    }
}

fn running_rows(live: &Live, work: &Work, now: Instant, rows: &mut Vec<Row>) {
    let State::Running {
        since: began,
        graft,
    } = work.state
    else {
        return;
    };
    let row = |rank, mark, platform: &str, text, paint, took| Row {
        rank,
        mark,
        label: String::new(),
        platform: platform.to_owned(),
        text,
        paint,
        took,
    };
    if work.running.is_empty() {
        // Between two steps, or while layers are stacked, pulled or compressed.
        let text = if graft { "grafting" } else { "building" };
        rows.push(row(
            Rank::Running,
            spinner(began, now),
            &work.platform,
            text.to_owned(),
            Paint::Plain,
            since(Some(began), now),
        ));
    }
    let mut platform = work.platform.as_str();
    for running in &work.running {
        rows.push(row(
            Rank::Running,
            spinner(running.since, now),
            platform,
            step_line(&running.step),
            Paint::Plain,
            since(Some(running.since), now),
        ));
        platform = "";
        if let Some(line) = live.story.current_line(&running.key) {
            rows.push(row(
                Rank::Output,
                ' ',
                "",
                format!("  {}", line.trim_start()),
                Paint::Dim,
                String::new(),
            ));
        }
    }
}

fn smoke(live: &Live, now: Instant, rows: &mut Vec<Row>) {
    for node in &live.nodes {
        for work in &node.works {
            if let Some(began) = work.smoke {
                rows.push(Row {
                    rank: Rank::Running,
                    mark: spinner(began, now),
                    label: node.id.clone(),
                    platform: work.platform.clone(),
                    text: "smoke testing".to_owned(),
                    paint: Paint::Plain,
                    took: since(Some(began), now),
                });
            }
        }
    }
}

fn transfer_row(repository: &str, pull: bool, transfer: &Transfer, now: Instant) -> Row {
    let (done, total) = (transfer.done(), transfer.total());
    let filled = match total {
        0 => BAR,
        total => (done as f64 / total as f64 * BAR as f64) as usize,
    }
    .min(BAR);
    let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
    let rate = transfer.rate(now);
    let rate = rate.map_or_else(String::new, |rate| format!(" {}/s", size(rate)));
    let verb = if pull { "pull" } else { "push" };
    Row {
        rank: Rank::Running,
        mark: if pull { '↓' } else { '↑' },
        label: String::new(),
        platform: String::new(),
        text: format!(
            "{verb} {bar} {}/{}{rate}  {repository}",
            size(done),
            size(total)
        ),
        paint: Paint::Plain,
        took: String::new(),
    }
}

/// Leaves out rows until the rest fits, and says so.
fn fit(rows: &mut Vec<Row>, room: usize) -> Option<String> {
    if rows.len() <= room {
        return None;
    }
    let mut left_out = [0_usize; 2];
    for rank in [
        Rank::Done,
        Rank::Waiting,
        Rank::Output,
        Rank::Group,
        Rank::Running,
    ] {
        while rows.len() + 1 > room {
            let Some(at) = rows.iter().rposition(|row| row.rank == rank) else {
                break;
            };
            let gone = rows.remove(at);
            match rank {
                Rank::Done => left_out[0] += 1,
                Rank::Waiting => left_out[1] += 1,
                _ => {}
            }
            // The next platform of the same node takes the label over.
            if !gone.label.is_empty()
                && rank != Rank::Group
                && let Some(next) = rows.get_mut(at)
                && next.label.is_empty()
                && !matches!(next.rank, Rank::Head | Rank::Output)
                && !next.platform.is_empty()
            {
                next.label = gone.label;
            }
        }
    }
    if room <= rows.len() {
        rows.truncate(room);
        return None;
    }
    let [done, waiting] = left_out;
    Some(match (done, waiting) {
        (0, 0) => "  … more than fits here".to_owned(),
        (done, 0) => format!("  … {done} more finished"),
        (0, waiting) => format!("  … {waiting} more waiting"),
        (done, waiting) => format!("  … {done} more finished, {waiting} more waiting"),
    })
}

fn render(rows: &[Row], columns: usize, colour: bool) -> Vec<String> {
    let widest = |of: fn(&Row) -> &str| {
        let tabular = rows.iter().filter(|row| !row.text.is_empty());
        tabular.map(|row| width(of(row))).max().unwrap_or(0)
    };
    let label = widest(|row| &row.label);
    let platform = widest(|row| &row.platform);
    rows.iter()
        .map(|row| {
            let free = matches!(row.rank, Rank::Head) || matches!(row.mark, '↑' | '↓');
            let mut left = String::new();
            if row.rank != Rank::Head {
                left = format!("{} ", row.mark);
                if row.text.is_empty() {
                    left.push_str(&row.label);
                } else if !free {
                    for (text, columns) in [(&row.label, label), (&row.platform, platform)] {
                        if columns > 0 {
                            left.push_str(&pad(text, columns));
                            left.push_str("  ");
                        }
                    }
                }
            }
            let right = if row.took.is_empty() {
                0
            } else {
                width(&row.took) + 2
            };
            let left = cut(&left, columns);
            let room = columns.saturating_sub(width(&left) + right);
            let text = cut(&row.text, room);
            let mut line = left;
            line.push_str(&row.paint.on(&text, colour));
            if right > 0 && room > 0 {
                line.push_str(&" ".repeat(room - width(&text)));
                line.push_str("  ");
                line.push_str(&Paint::Dim.on(&row.took, colour));
            }
            line.trim_end().to_owned()
        })
        .collect()
}

fn since(began: Option<Instant>, now: Instant) -> String {
    let passed = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
    duration(passed)
}

fn spinner(began: Instant, now: Instant) -> char {
    const TURN: [char; 8] = ['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];
    let passed = now.saturating_duration_since(began).as_millis();
    TURN[(passed / 125 % 8) as usize]
}
