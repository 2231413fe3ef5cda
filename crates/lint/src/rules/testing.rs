//! Images for tests.

use crate::{Entry, Finding, Hit, Image, Kind, Layer};

pub(crate) fn file(size: u64) -> Entry {
    Entry {
        mode: 0o644,
        size,
        ..Entry::new(Kind::File)
    }
}

pub(crate) fn content(size: u64, content: &str) -> Entry {
    Entry {
        content: Some(content.as_bytes().to_vec()),
        ..file(size)
    }
}

pub(crate) fn mode(mode: u32, entry: Entry) -> Entry {
    Entry { mode, ..entry }
}

pub(crate) fn dir(mode: u32) -> Entry {
    Entry {
        mode,
        ..Entry::new(Kind::Dir)
    }
}

pub(crate) fn link(target: &str) -> Entry {
    Entry {
        target: target.as_bytes().to_vec(),
        ..Entry::new(Kind::Symlink)
    }
}

pub(crate) fn removed() -> Entry {
    Entry::new(Kind::Whiteout)
}

pub(crate) fn secret(what: &'static str) -> Entry {
    Entry {
        hits: vec![Hit { what, line: 3 }],
        ..file(100)
    }
}

/// Layers of entries, of which the first ones are inherited. Parents are added.
pub(crate) fn image(inherited: usize, layers: &[&[(&str, Entry)]]) -> Image {
    let layers = layers.iter().enumerate().map(|(at, entries)| {
        let mut layer = Layer {
            digest: format!("sha256:{at}"),
            size: 1000,
            instruction: Some(format!("RUN {at}")),
            ..Layer::default()
        };
        for (path, entry) in *entries {
            let names: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
            for end in names {
                layer
                    .entries
                    .entry(path.as_bytes()[..end].to_vec())
                    .or_insert_with(|| dir(0o755));
            }
            layer
                .entries
                .insert(path.as_bytes().to_vec(), entry.clone());
        }
        layer
    });
    Image {
        layers: layers.collect(),
        inherited,
        ..Image::default()
    }
}

/// Findings as `rule@layer bytes wasted: path, path`.
pub(crate) fn told(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            let layer = finding
                .layer
                .map_or("-".to_owned(), |layer| layer.to_string());
            let paths: Vec<&str> = finding.spots.iter().map(|spot| &*spot.path).collect();
            format!(
                "{}@{layer} {} {}: {}",
                finding.rule,
                finding.bytes,
                finding.wasted,
                paths.join(", ")
            )
        })
        .collect()
}
