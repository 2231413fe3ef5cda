//! `launchway cache show`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use launchway_engine::collect::{Inventory, Item, ItemId, Kind, Policy, decide, pins};
use serde_json::json;

use super::{KindArgument, Place, Result, Thing, places, unusable};
use crate::commands::{print, print_json};
use crate::quantity::ago;
use crate::report::text;
use crate::settings::Settings;
use crate::tidy;

/// Show what is kept, by kind
///
/// SIZE is what is free once it is gone: whole blocks of the disk, hard links once. RECLAIMABLE leaves
/// out what is pinned, what a build uses now, and what these need.
#[derive(Args)]
pub(super) struct Arguments {
    /// Show each thing too, the last used first, with what made it
    #[arg(long)]
    all: bool,
    /// Only these kinds, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<KindArgument>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    items: usize,
    size: u64,
    reclaimable: u64,
    used: Option<i64>,
}

impl Row {
    fn add(&mut self, item: &Item, reclaimable: bool) {
        self.items += 1;
        self.size += item.size;
        self.reclaimable += if reclaimable { item.size } else { 0 };
        self.used = self.used.max(Some(item.used));
    }
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result {
    let wanted: BTreeSet<Kind> = arguments.kind.iter().map(|kind| (*kind).into()).collect();
    let is_wanted = |kind: Kind| wanted.is_empty() || wanted.contains(&kind);
    let places = places(settings)?;
    let now = tidy::now();
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    let mut total = Row::default();
    let mut pinned = Vec::new();
    let mut all: Vec<(&Place, Item)> = Vec::new();
    for place in &places {
        let Inventory { items, .. } = place.inventory()?;
        let everything = Policy {
            all: true,
            ..Policy::default()
        };
        let reclaimable: BTreeSet<ItemId> = decide(&items, &everything, now)
            .into_iter()
            .map(|removal| removal.id)
            .collect();
        for item in items.into_iter().filter(|item| is_wanted(item.kind)) {
            let can_go = reclaimable.contains(&item.id);
            rows.entry(item.kind).or_default().add(&item, can_go);
            total.add(&item, can_go);
            all.push((place, item));
        }
        let of_place = pins(&place.engine).map_err(unusable)?;
        pinned.extend(of_place.into_iter().map(|pin| (place, pin)));
    }
    all.sort_by(|(_, one), (_, other)| (other.used, &one.id).cmp(&(one.used, &other.id)));
    if settings.json {
        let kinds: Vec<_> = Kind::ALL
            .into_iter()
            .filter(|kind| is_wanted(*kind))
            .map(|kind| {
                let row = rows.get(&kind).copied().unwrap_or_default();
                json!({
                    "kind": kind.word(),
                    "items": row.items,
                    "size": row.size,
                    "reclaimable": row.reclaimable,
                    "used": row.used.and_then(crate::toolbox::timestamp),
                })
            })
            .collect();
        let pinned: Vec<_> = pinned
            .iter()
            .map(|(place, pin)| {
                let items = pin.items.iter().map(ItemId::as_str).collect::<Vec<_>>();
                json!({ "folder": place.name, "pin": pin.what, "items": items })
            })
            .collect();
        let mut value = json!({
            "schema": "launchway.cache.v1",
            "state": settings.state.display().to_string(),
            "folders": places.iter().map(|place| place.name).collect::<Vec<_>>(),
            "kinds": kinds,
            "items": total.items,
            "size": total.size,
            "reclaimable": total.reclaimable,
            "pins": pinned,
        });
        if arguments.all {
            let all: Vec<_> = all
                .iter()
                .map(|(place, item)| {
                    let mut thing = Thing::kept(place, item).json();
                    thing["pinned"] = item.is_pinned.into();
                    thing["in-use"] = item.is_held.into();
                    thing
                })
                .collect();
            value["all"] = json!(all);
        }
        print_json(&value);
        return Ok(());
    }
    let mut out = line("KIND", "ITEMS", "SIZE", "RECLAIMABLE", "LAST USED");
    let shown = |row: &Row| row.used.map_or(String::new(), |used| ago(now - used));
    for kind in Kind::ALL.into_iter().filter(|kind| is_wanted(*kind)) {
        let row = rows.get(&kind).copied().unwrap_or_default();
        out.push_str(&of(kind.word(), &row, &shown(&row)));
    }
    out.push_str(&of("total", &total, ""));
    if arguments.all && !all.is_empty() {
        out.push('\n');
        for (place, item) in &all {
            out.push_str(&item_line(place, item, places.len() > 1, now));
        }
    }
    print(&out);
    for (_, pin) in pinned {
        eprintln!("pinned: {}", text::clean(&pin.what));
    }
    Ok(())
}

fn of(kind: &str, row: &Row, used: &str) -> String {
    let (items, size) = (row.items.to_string(), text::size(row.size));
    line(kind, &items, &size, &text::size(row.reclaimable), used)
}

fn line(kind: &str, items: &str, size: &str, reclaimable: &str, used: &str) -> String {
    let text = format!("{kind:<12}  {items:>5}  {size:>9}  {reclaimable:>11}  {used}");
    format!("{}\n", text.trim_end())
}

fn item_line(place: &Place, item: &Item, with_place: bool, now: i64) -> String {
    let mut notes = String::new();
    if item.is_pinned {
        notes.push_str("  [pinned]");
    }
    if item.is_held {
        notes.push_str("  [in use]");
    }
    if with_place {
        notes.push_str(&format!("  [{}]", place.name));
    }
    Thing::kept(place, item).line(&notes, now)
}
