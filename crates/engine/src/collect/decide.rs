//! What goes. Values in, values out: no clock, no disk.
//!
//! A thing is as young as the youngest thing that needs it. So everything that needs a thing is at
//! least as old as the thing itself, and going from the oldest on, whatever needs something is met
//! before it.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{Item, ItemId, Kind};

/// Which things go. A rule that is absent removes nothing; with several, what any of them removes goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The kinds it is about; none means all.
    pub kinds: BTreeSet<Kind>,
    /// Everything.
    pub all: bool,
    /// What was not used for so many seconds.
    pub older_than: Option<i64>,
    /// The oldest, until at most so many bytes are left.
    pub keep_size: Option<u64>,
    /// The oldest, until at least so many bytes are free that were not.
    pub free_bytes: Option<u64>,
    /// What was used in the last so many seconds stays in any case.
    pub spare: Option<i64>,
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Everything was to go.
    All,
    /// It was not used for so many seconds.
    Unused(i64),
    /// There was too much.
    Space,
    /// What it needs is gone.
    Dead,
    /// It needs something that goes.
    Needs,
    /// Nothing needs it any more.
    Follows,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub id: ItemId,
    pub kind: Kind,
    pub size: u64,
    pub about: String,
    /// When it was last used by itself: when that changes before it is removed, it stays.
    pub used: i64,
    pub why: Reason,
}

/// Decides what goes, in the order in which it is to be removed: nothing goes after what it needs.
pub fn decide(items: &[Item], policy: &Policy, now: i64) -> Vec<Removal> {
    let graph = Graph::of(items);
    let used = graph.used_by_all();
    let is_meant = |at: usize| policy.kinds.is_empty() || policy.kinds.contains(&items[at].kind);
    let spared = |at: usize| {
        policy
            .spare
            .is_some_and(|spare| used[at] > now.saturating_sub(spare))
    };
    let kept = graph.kept(|at| items[at].is_pinned || items[at].is_held || spared(at));
    let mut going = Going {
        graph: &graph,
        gone: vec![false; items.len()],
        removals: Vec::new(),
    };
    let mut oldest: Vec<usize> = (0..items.len())
        .filter(|at| is_meant(*at) && !kept[*at])
        .collect();
    oldest.sort_by_key(|at| (used[*at], graph.depth[*at], *at));

    for at in 0..items.len() {
        if items[at].is_dead && is_meant(at) && !kept[at] {
            going.take(at, Reason::Dead, &|_| false);
        }
    }
    let follows_all = |at: usize| !kept[at];
    if policy.all {
        for at in &oldest {
            going.take(*at, Reason::All, &follows_all);
        }
    }
    if let Some(age) = policy.older_than {
        let limit = now.saturating_sub(age);
        for at in oldest.iter().take_while(|at| used[**at] <= limit) {
            let unused = Reason::Unused(now.saturating_sub(used[*at]));
            going.take(*at, unused, &|at| !kept[at] && items[at].used <= limit);
        }
    }
    let size_of_all: u64 = (0..items.len())
        .filter(|at| is_meant(*at))
        .map(|at| items[at].size)
        .sum();
    let meant = |going: &Going<'_>| -> u64 {
        let gone = (0..items.len()).filter(|at| going.gone[*at] && is_meant(*at));
        gone.map(|at| items[at].size).sum()
    };
    // Both end with what is there, so the sums are made step by step.
    let mut left = size_of_all - meant(&going);
    let mut freed: u64 = going.removals.iter().map(|removal| removal.size).sum();
    let too_much = |left: u64, freed: u64| {
        policy.keep_size.is_some_and(|keep| left > keep)
            || policy.free_bytes.is_some_and(|free| freed < free)
    };
    for at in oldest {
        if !too_much(left, freed) {
            break;
        }
        let before = going.removals.len();
        going.take(at, Reason::Space, &follows_all);
        for removal in &going.removals[before..] {
            freed += removal.size;
            let counts = policy.kinds.is_empty() || policy.kinds.contains(&removal.kind);
            left -= if counts { removal.size } else { 0 };
        }
    }
    going.removals
}

/// Who needs whom, by position.
struct Graph<'a> {
    items: &'a [Item],
    needs: Vec<Vec<usize>>,
    needed_by: Vec<Vec<usize>>,
    /// How long the longest way to it is from things that nothing needs.
    depth: Vec<usize>,
}

impl<'a> Graph<'a> {
    fn of(items: &'a [Item]) -> Self {
        let at: BTreeMap<&ItemId, usize> = items
            .iter()
            .enumerate()
            .map(|(at, item)| (&item.id, at))
            .collect();
        let mut needs = vec![Vec::new(); items.len()];
        let mut needed_by = vec![Vec::new(); items.len()];
        for (from, item) in items.iter().enumerate() {
            let wanted: BTreeSet<&ItemId> = item.needs.iter().collect();
            for to in wanted.into_iter().filter_map(|id| at.get(id).copied()) {
                if to != from {
                    needs[from].push(to);
                    needed_by[to].push(from);
                }
            }
        }
        let mut graph = Self {
            items,
            needs,
            needed_by,
            depth: vec![0; items.len()],
        };
        graph.measure();
        graph
    }

    /// In the order in which nothing comes before what needs it. Documents name each other by
    /// digest, so there are no circles; were there one, its things would keep depth 0.
    fn measure(&mut self) {
        let mut waits_for: Vec<usize> = self.needed_by.iter().map(Vec::len).collect();
        let mut ready: Vec<usize> = (0..self.items.len())
            .filter(|at| waits_for[*at] == 0)
            .collect();
        while let Some(at) = ready.pop() {
            for &to in &self.needs[at] {
                self.depth[to] = self.depth[to].max(self.depth[at] + 1);
                waits_for[to] -= 1;
                if waits_for[to] == 0 {
                    ready.push(to);
                }
            }
        }
    }

    /// When each thing, or anything that leads to it, was last used.
    fn used_by_all(&self) -> Vec<i64> {
        let mut used: Vec<Option<i64>> = vec![None; self.items.len()];
        let mut youngest: Vec<usize> = (0..self.items.len()).collect();
        youngest.sort_by_key(|at| std::cmp::Reverse(self.items[*at].used));
        for start in youngest {
            let time = self.items[start].used;
            let mut waiting = vec![start];
            while let Some(at) = waiting.pop() {
                if used[at].is_none() {
                    used[at] = Some(time);
                    waiting.extend(&self.needs[at]);
                }
            }
        }
        used.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// What stays: the things that `roots` says, and everything they lead to.
    fn kept(&self, roots: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut kept = vec![false; self.items.len()];
        let mut waiting: Vec<usize> = (0..self.items.len()).filter(|at| roots(*at)).collect();
        while let Some(at) = waiting.pop() {
            if !std::mem::replace(&mut kept[at], true) {
                waiting.extend(&self.needs[at]);
            }
        }
        kept
    }
}

struct Going<'g> {
    graph: &'g Graph<'g>,
    gone: Vec<bool>,
    removals: Vec<Removal>,
}

impl Going<'_> {
    /// Removes a thing after everything that needs it, and what then nothing needs any more.
    fn take(&mut self, at: usize, why: Reason, may_follow: &dyn Fn(usize) -> bool) {
        if self.gone[at] {
            return;
        }
        self.gone[at] = true;
        for from in self.graph.needed_by[at].clone() {
            self.take(from, Reason::Needs, &|_| false);
        }
        let item = &self.graph.items[at];
        self.removals.push(Removal {
            id: item.id.clone(),
            kind: item.kind,
            size: item.size,
            about: item.about.clone(),
            used: item.used,
            why,
        });
        self.followers(at, may_follow);
    }

    fn followers(&mut self, at: usize, may_follow: &dyn Fn(usize) -> bool) {
        for to in self.graph.needs[at].clone() {
            let alone = self.graph.needed_by[to].iter().all(|from| self.gone[*from]);
            if self.graph.items[to].follows && alone && may_follow(to) {
                self.take(to, Reason::Follows, may_follow);
            }
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
