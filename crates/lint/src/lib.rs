//! Lint of finished images: what is wasted, what leaks, what a mount will hide.
//!
//! [`lint`] takes a description of an image, layer by layer, and a [`Policy`], and gives a
//! [`Report`]: findings, each with the instruction to blame and a remedy, totals, and a verdict. It
//! is pure: what to hash and whose content to look at is asked for by [`wanted_digests`] and
//! [`wanted_contents`], and somebody else reads. The value of a secret never enters a report.

mod amount;
mod caches;
mod glob;
mod history;
mod image;
mod json;
mod lint;
mod policy;
mod report;
mod rule;
mod rules;
mod scan;
mod secret_files;
mod stack;
mod wanted;

pub use amount::{AmountError, parse_bytes, shown_bytes};
pub use glob::Glob;
pub use history::instructions;
pub use image::{Config, Entry, Image, Kind, Layer};
pub use json::to_json;
pub use lint::lint;
pub use policy::{Allow, Budgets, Limit, Policy};
pub use report::{Exceeded, Finding, LayerTotals, Report, Spot};
pub use rule::{Level, Rule};
pub use scan::{Hit, look_at};
pub use wanted::{CONTENT_LIMIT, wanted_contents, wanted_digests};
