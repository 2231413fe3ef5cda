//! Two images side by side.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::Image;

/// One thing in which two images differ. `None` says that a side does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A path with a leading slash, or a field of the configuration such as `config.Env`.
    pub what: String,
    pub left: Option<String>,
    pub right: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(
            f,
            "{}\n    left:  {}\n    right: {}",
            self.what,
            side(&self.left),
            side(&self.right)
        )
    }
}

/// Everything in which the two differ, but for times (see [`compare_times`]): kind, mode, owner, content,
/// links, extended attributes of each path, the configuration that a runtime reads, how many layers there are, and each line
/// of history with whether it has a layer.
pub fn compare(left: &Image, right: &Image) -> Vec<Difference> {
    let mut differences = Vec::new();
    let paths: BTreeSet<&Vec<u8>> = left.entries.keys().chain(right.entries.keys()).collect();
    for path in paths {
        let texts = [left, right].map(|image| image.entries.get(path).map(ToString::to_string));
        push(
            &mut differences,
            || format!("/{}", path.escape_ascii()),
            texts,
        );
    }
    for field in ["os", "architecture", "variant", "os.version"] {
        let texts = [left, right].map(|image| text(&image.config[field]));
        push(&mut differences, || field.to_owned(), texts);
    }
    let none = Map::new();
    let [left_image, right_image] = [left, right];
    let [left, right] =
        [left, right].map(|image| image.config["config"].as_object().unwrap_or(&none));
    let fields: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for field in fields {
        let texts = [left, right].map(|config| config.get(field).and_then(text));
        push(&mut differences, || format!("config.{field}"), texts);
    }
    let counts = [left_image, right_image].map(|image| Some(image.layers().to_string()));
    push(&mut differences, || "layers".to_owned(), counts);
    let lines = [left_image, right_image].map(history);
    if lines[0] != lines[1] {
        let [left, right] = [(&lines[0], &lines[1]), (&lines[1], &lines[0])]
            .map(|(own, other)| Some(not_in(own, other)));
        differences.push(Difference {
            what: "history".to_owned(),
            left,
            right,
        });
    }
    differences
}

/// What history says of each instruction. Who wrote the line is no part of it, and BuildKit signs some.
/// Of health checks the versions of BuildKit have different words.
fn history(image: &Image) -> Vec<String> {
    let lines = image.config["history"].as_array();
    let told = lines.into_iter().flatten().map(|line| {
        let by = line["created_by"].as_str().unwrap_or_default();
        let by = by.strip_suffix(" # buildkit").unwrap_or(by);
        let by = if by.starts_with("HEALTHCHECK ") {
            "HEALTHCHECK"
        } else {
            by
        };
        let empty = line["empty_layer"].as_bool().unwrap_or(false);
        format!("{by}{}", if empty { " (no layer)" } else { "" })
    });
    told.collect()
}

/// The numbered lines that stand elsewhere or not at all in the other history.
fn not_in(own: &[String], other: &[String]) -> String {
    let lines = own.iter().enumerate();
    let lines = lines.filter(|(at, line)| other.get(*at) != Some(line));
    let lines: Vec<String> = lines.map(|(at, line)| format!("{at}: {line}")).collect();
    lines.join("\n               ")
}

/// Times that the left side kept, and the right side did not, or kept otherwise. `began` and `ended`
/// are when the earliest of all steps began and the last one ended: a time in between is that of a build
/// and differs from one to the next, so nothing can be said about it. A path has to be there and of
/// one kind on both sides; whether it is, is for [`compare`] to say.
pub fn compare_times(left: &Image, right: &Image, began: i64, ended: i64) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (path, one) in &left.entries {
        let Some(other) = right.entries.get(path) else {
            continue;
        };
        // Layers need not mention the root.
        let same_kind = std::mem::discriminant(&one.kind) == std::mem::discriminant(&other.kind);
        let kept = !(began..=ended).contains(&one.mtime);
        if path.is_empty() || !same_kind || !kept || one.mtime == other.mtime {
            continue;
        }
        differences.push(Difference {
            what: format!("/{}: modified", path.escape_ascii()),
            left: Some(one.mtime.to_string()),
            right: Some(other.mtime.to_string()),
        });
    }
    differences
}

fn push(
    differences: &mut Vec<Difference>,
    what: impl FnOnce() -> String,
    [left, right]: [Option<String>; 2],
) {
    if left != right {
        let what = what();
        differences.push(Difference { what, left, right });
    }
}

/// A value as text. An empty list and none at all say the same, and are not the same.
fn text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}
