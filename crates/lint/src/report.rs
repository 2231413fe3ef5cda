//! What came of a lint.

use crate::{Level, Rule};

/// One place that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// An absolute path, or `env:NAME`, `label:NAME` or `history:N`.
    pub path: String,
    pub bytes: u64,
    /// Counted from 1, for content.
    pub line: Option<usize>,
    pub note: Option<String>,
}

/// Something that was found: of one rule, with one instruction to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub level: Level,
    /// What it is, without numbers.
    pub title: String,
    /// The layer whose instruction is to blame; none for the configuration.
    pub layer: Option<usize>,
    /// The layer that holds the bytes, where that is another.
    pub origin: Option<usize>,
    /// Those that tell most first: programs, then the largest.
    pub spots: Vec<Spot>,
    /// What the spots weigh, unpacked.
    pub bytes: u64,
    /// How much of that is of no use to anybody.
    pub wasted: u64,
    pub notes: Vec<String>,
    /// What to do.
    pub help: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerTotals {
    pub digest: String,
    pub instruction: Option<String>,
    pub inherited: bool,
    /// As it travels.
    pub size: u64,
    /// The files of the layer.
    pub files: u64,
    pub unpacked: u64,
    /// What its instruction is to blame for.
    pub wasted: u64,
}

/// A limit that the image is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// `wasted` or `size`.
    pub budget: &'static str,
    pub limit: u64,
    pub found: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What matters most first.
    pub findings: Vec<Finding>,
    pub layers: Vec<LayerTotals>,
    /// All files of all layers, unpacked.
    pub shipped: u64,
    /// All layers, as they travel.
    pub size: u64,
    pub wasted: u64,
    /// How many spots each entry of the policy's list took out.
    pub allowed: Vec<usize>,
    pub exceeded: Vec<Exceeded>,
}

impl Report {
    /// How much of what is shipped is of use, in tenths of a percent.
    #[must_use]
    pub fn efficiency(&self) -> u32 {
        let used = self.shipped.saturating_sub(self.wasted);
        match self.shipped {
            0 => 1000,
            shipped => u32::try_from(u128::from(used) * 1000 / u128::from(shipped)).unwrap_or(1000),
        }
    }

    #[must_use]
    pub fn denied(&self) -> usize {
        self.at(Level::Deny)
    }

    #[must_use]
    pub fn at(&self, level: Level) -> usize {
        let of = |finding: &&Finding| finding.level == level;
        self.findings.iter().filter(of).count()
    }

    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.denied() == 0 && self.exceeded.is_empty()
    }

    /// Why it did not pass, in a line.
    #[must_use]
    pub fn why(&self) -> String {
        let mut reasons = Vec::new();
        for over in &self.exceeded {
            let verb = match over.budget {
                "wasted" => "wastes",
                _ => "weighs",
            };
            reasons.push(format!(
                "it {verb} {} of {} allowed",
                crate::shown_bytes(over.found),
                crate::shown_bytes(over.limit)
            ));
        }
        let mut told = Vec::new();
        for finding in self.findings.iter().filter(|one| one.level == Level::Deny) {
            if told.len() == 3 {
                told.push("…".to_owned());
                break;
            }
            let place = finding.spots.first().map_or("", |spot| &spot.path);
            told.push(format!("{} ({place})", finding.rule));
        }
        if !told.is_empty() {
            reasons.push(format!("it has {}", told.join(", ")));
        }
        reasons.join("; ")
    }
}

impl Finding {
    /// A finding of a rule, with its own level.
    pub(crate) fn new(rule: Rule, title: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            rule,
            level: rule.default_level(),
            title: title.into(),
            layer: None,
            origin: None,
            spots: Vec::new(),
            bytes: 0,
            wasted: 0,
            notes: Vec::new(),
            help: help.into(),
        }
    }

    /// Sorts the spots and adds them up. `wasted` says whether the bytes are of no use.
    pub(crate) fn with(mut self, mut spots: Vec<Spot>, wasted: bool) -> Self {
        spots.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        self.take(spots, wasted);
        self
    }

    /// Takes the spots in the order they are in.
    pub(crate) fn take(&mut self, spots: Vec<Spot>, wasted: bool) {
        self.bytes = spots.iter().map(|spot| spot.bytes).sum();
        self.wasted = if wasted { self.bytes } else { 0 };
        self.spots = spots;
    }

    pub(crate) fn in_layer(mut self, layer: usize) -> Self {
        self.layer = Some(layer);
        self
    }
}

impl Spot {
    pub(crate) fn file(path: &[u8], bytes: u64) -> Self {
        Self {
            path: crate::image::shown(path),
            bytes,
            line: None,
            note: None,
        }
    }
}
