//! What was measured, as a block of Markdown and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::clients::{Line, Outcome};
use super::load::{CLIENTS, Direction, Kind, Load, Throughput};
use super::process::Sample;
use super::tools::Tool;
use crate::bench::median;
use crate::shell;

pub(super) struct Report {
    pub(super) runs: usize,
    pub(super) versions: Vec<String>,
    pub(super) clients: Vec<(Line, Vec<(Tool, Outcome)>)>,
    pub(super) servers: Vec<Throughput>,
}

/// Between these lines a page holds what was measured last.
const BEGIN: &str = "<!-- cargo xtask bench registry --write -->";
const END: &str = "<!-- end of bench registry -->";

/// Figures of one tool on one line.
struct Figures {
    wall: f64,
    processor: f64,
    memory: f64,
    requests: usize,
}

impl Report {
    /// Puts the tables into the page.
    pub(super) fn write_into(&self, page: &Path) -> Result<()> {
        let text = fs::read_to_string(page)?;
        let new = replaced(&text, &self.markdown()?)
            .with_context(|| format!("{} lacks {BEGIN} … {END}", page.display()))?;
        fs::write(page, new)?;
        Ok(())
    }

    pub(super) fn markdown(&self) -> Result<String> {
        let mut text = format!(
            "{}. {}. {}. Medians of {} runs; in brackets, how many times ours.\n",
            date()?,
            machine()?,
            self.versions.join(", "),
            self.runs
        );
        if !self.clients.is_empty() {
            let wall = |figures: &Figures| figures.wall;
            self.table(&mut text, "time", wall, seconds);
            let requests = |figures: &Figures| figures.requests as f64;
            self.table(&mut text, "requests", requests, |value| {
                format!("{value:.0}")
            });
            let processor = |figures: &Figures| figures.processor;
            self.table(&mut text, "processor time", processor, seconds);
            let memory = |figures: &Figures| figures.memory;
            self.table(&mut text, "memory", memory, megabytes);
            text += &self.behind();
        }
        if !self.servers.is_empty() {
            self.server_table(&mut text);
        }
        Ok(text)
    }

    /// A line for each line, a column for each tool.
    fn table(
        &self,
        text: &mut String,
        title: &str,
        figure: fn(&Figures) -> f64,
        shown: fn(f64) -> String,
    ) {
        let heads: Vec<&str> = Tool::ALL.iter().map(|tool| tool.title()).collect();
        let _ = writeln!(text, "\n| {title} | {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(heads.len()));
        for (line, outcomes) in &self.clients {
            let ours = outcomes
                .iter()
                .find(|(tool, _)| *tool == Tool::Launchway)
                .and_then(|(_, outcome)| figures(outcome));
            let cells: Vec<String> = outcomes
                .iter()
                .map(|(tool, outcome)| match (outcome, figures(outcome)) {
                    (Outcome::Failed(_), _) => "failed".to_owned(),
                    (_, None) => "–".to_owned(),
                    (_, Some(found)) => {
                        let mut cell = shown(figure(&found));
                        if *tool != Tool::Launchway
                            && let Some(ours) = &ours
                        {
                            let _ = write!(cell, " ({})", ratio(figure(&found), figure(ours)));
                        }
                        cell
                    }
                })
                .collect();
            let _ = writeln!(text, "| {} | {} |", line.title(), cells.join(" | "));
        }
    }

    /// Where somebody was faster.
    fn behind(&self) -> String {
        let mut found = Vec::new();
        for (line, outcomes) in &self.clients {
            let walls: Vec<(Tool, f64)> = outcomes
                .iter()
                .filter_map(|(tool, outcome)| Some((*tool, figures(outcome)?.wall)))
                .collect();
            let Some((Tool::Launchway, ours)) = walls.first().copied() else {
                found.push(format!("{}: not measured", line.title()));
                continue;
            };
            for (tool, wall) in walls {
                if wall < ours {
                    let [line, tool, share] = [line.title(), tool.title(), &ratio(wall, ours)];
                    found.push(format!("{line}: {tool} {share}"));
                }
            }
        }
        if found.is_empty() {
            "\nOurs is the fastest on every line.\n".to_owned()
        } else {
            format!("\nNot ahead: {}.\n", found.join("; "))
        }
    }

    fn server_table(&self, text: &mut String) {
        let kinds = Kind::ALL.map(Kind::title);
        let _ = writeln!(
            text,
            "\n| 512 MiB in blobs of 16 MiB | {} | | | {} | | |",
            kinds[0], kinds[1]
        );
        text.push_str("|---|---|---|---|---|---|---|\n");
        text.push_str("| | MB/s | processor | memory | MB/s | processor | memory |\n");
        for direction in Direction::ALL {
            for clients in CLIENTS {
                let plural = if clients == 1 { "client" } else { "clients" };
                let _ = write!(text, "| {}, {clients} {plural} |", direction.title());
                let found = Kind::ALL.map(|kind| {
                    let found = self.servers.iter().find(|one| {
                        one.kind == kind && one.direction == direction && one.clients == clients
                    });
                    found.map(|one| load(&one.samples))
                });
                let ours = found[0];
                for (number, one) in found.iter().enumerate() {
                    let Some(one) = one else {
                        text.push_str(" – | – | – |");
                        continue;
                    };
                    let share = |value: f64, of: f64| match number {
                        0 => String::new(),
                        _ => format!(" ({})", ratio(value, of)),
                    };
                    let ours = ours.unwrap_or(*one);
                    let _ = write!(
                        text,
                        " {:.0}{} | {}{} | {}{} |",
                        one.rate,
                        share(one.rate, ours.rate),
                        seconds(one.processor),
                        share(one.processor, ours.processor),
                        megabytes(one.memory as f64),
                        share(one.memory as f64, ours.memory as f64),
                    );
                }
                text.push('\n');
            }
        }
    }

    pub(super) fn json(&self) -> Result<String> {
        let clients: Vec<Value> = self
            .clients
            .iter()
            .flat_map(|(line, outcomes)| {
                outcomes.iter().map(move |(tool, outcome)| {
                    let mut value = json!({ "line": line.title(), "tool": tool.title() });
                    match (outcome, figures(outcome)) {
                        (Outcome::Failed(why), _) => value["failed"] = json!(why),
                        (Outcome::Measured { samples, .. }, Some(figures)) => {
                            value["wall_s"] = json!(figures.wall);
                            value["processor_s"] = json!(figures.processor);
                            value["memory_bytes"] = json!(figures.memory);
                            value["requests"] = json!(figures.requests);
                            value["walls_s"] = samples.iter().map(|sample| sample.wall).collect();
                        }
                        _ => value["absent"] = json!(true),
                    }
                    value
                })
            })
            .collect();
        let servers: Vec<Value> = self
            .servers
            .iter()
            .map(|one| {
                let middle = load(&one.samples);
                json!({
                    "server": one.kind.title(),
                    "direction": one.direction.title(),
                    "clients": one.clients,
                    "megabytes_per_s": middle.rate,
                    "processor_s": middle.processor,
                    "memory_bytes": middle.memory,
                    "rates": one.samples.iter().map(|load| load.rate).collect::<Vec<_>>(),
                })
            })
            .collect();
        let all = json!({
            "date": date()?,
            "machine": machine()?,
            "versions": self.versions,
            "runs": self.runs,
            "clients": clients,
            "servers": servers,
        });
        Ok(serde_json::to_string_pretty(&all)?)
    }
}

/// The page with other lines between the marks; `None` if it has no marks.
fn replaced(page: &str, block: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{block}{END}{after}"))
}

fn figures(outcome: &Outcome) -> Option<Figures> {
    let Outcome::Measured { requests, samples } = outcome else {
        return None;
    };
    let middle = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
    (!samples.is_empty()).then(|| Figures {
        wall: middle(|sample| sample.wall),
        processor: middle(|sample| sample.processor),
        memory: middle(|sample| sample.memory as f64),
        requests: *requests,
    })
}

fn load(samples: &[Load]) -> Load {
    let middle = |figure: fn(&Load) -> f64| median(samples.iter().map(figure).collect());
    Load {
        rate: middle(|load| load.rate),
        processor: middle(|load| load.processor),
        memory: middle(|load| load.memory as f64) as u64,
    }
}

fn seconds(value: f64) -> String {
    match value {
        value if value < 0.1 => format!("{:.1} ms", value * 1e3),
        value if value < 1.0 => format!("{:.0} ms", value * 1e3),
        value => format!("{value:.2} s"),
    }
}

fn megabytes(value: f64) -> String {
    format!("{:.0} MB", value / 1e6)
}

fn ratio(value: f64, ours: f64) -> String {
    match value / ours {
        ratio if ratio < 10.0 => format!("{ratio:.2}×"),
        ratio => format!("{ratio:.0}×"),
    }
}

fn date() -> Result<String> {
    shell::read(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

/// The processors and the memory of this machine, and its kernel.
fn machine() -> Result<String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let information = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = information.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let model = field("model name").unwrap_or("unknown");
    let sha = field("flags").is_some_and(|flags| flags.contains("sha_ni"))
        || field("Features").is_some_and(|flags| flags.contains("sha2"));
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: f64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok())
        .context("cannot read /proc/meminfo")?;
    let kernel = shell::read(Command::new("uname").arg("-r"))?;
    Ok(format!(
        "{processors} processors ({model}, {} SHA instructions), {:.0} GiB, Linux {kernel}",
        if sha { "with" } else { "without" },
        kib / 1024.0 / 1024.0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let expected = format!("before\n{BEGIN}\nnew\n{END}\nafter\n");
        assert_eq!(replaced(&page, "new\n"), Some(expected));
        assert_eq!(replaced("no marks", "new\n"), None);
        assert_eq!(replaced(&format!("{BEGIN} only"), "new\n"), None);
    }

    #[test]
    fn figures_are_shown_with_three_digits() {
        for (value, expected) in [
            (0.001_04, "1.0 ms"),
            (0.0999, "99.9 ms"),
            (0.36, "360 ms"),
            (1.0, "1.00 s"),
        ] {
            assert_eq!(seconds(value), expected);
        }
        for (value, ours, expected) in [
            (3.0, 2.0, "1.50×"),
            (100.0, 2.0, "50×"),
            (1.0, 2.0, "0.50×"),
        ] {
            assert_eq!(ratio(value, ours), expected);
        }
    }
}
