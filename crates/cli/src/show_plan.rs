//! A plan for people: what is there, what will be made and why, and what will be written where.

mod lint;

use launchway_plan::{Action, Expect, Make, Node, NodeId, NodeState, Plan};

use crate::report::text::{Paint, clean, pad, width};

/// Lines are broken here where they can be.
const COLUMNS: usize = 100;

/// The plan as JSON, for programs.
pub(crate) fn json(plan: &Plan) -> serde_json::Value {
    launchway_plan::to_json(plan)
}

/// The plan as text: every line ends with a line feed and none with a space.
pub(crate) fn text(plan: &Plan, colour: bool) -> String {
    let mut page = Page {
        colour,
        lines: Vec::new(),
    };
    head(plan, &mut page);
    page.blank();
    nodes(plan, &mut page);
    for registry in 0..plan.registries.len() {
        writes(plan, registry, &mut page);
    }
    if !plan.remarks.is_empty() {
        page.blank();
        for remark in &plan.remarks {
            page.wrapped("note: ", remark, Paint::Plain);
        }
    }
    page.blank();
    page.line(&summary(plan), Paint::Bold);
    page.lines.concat()
}

struct Page {
    colour: bool,
    lines: Vec<String>,
}

impl Page {
    fn blank(&mut self) {
        self.lines.push("\n".to_owned());
    }

    fn line(&mut self, text: &str, paint: Paint) {
        let text = paint.on(text.trim_end(), self.colour);
        self.lines.push(format!("{text}\n"));
    }

    /// Words in as many lines as they need, those after the first below the end of `head`.
    fn wrapped(&mut self, head: &str, text: &str, paint: Paint) {
        let indent = " ".repeat(width(head));
        let mut start = head;
        let mut line = String::new();
        let text = clean(text);
        for word in text.split_whitespace() {
            if !line.is_empty() && width(start) + width(&line) + 1 + width(word) > COLUMNS {
                self.lines
                    .push(format!("{start}{}\n", paint.on(&line, self.colour)));
                start = &indent;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let last = format!("{start}{}", paint.on(&line, self.colour));
        self.lines.push(format!("{}\n", last.trim_end()));
    }
}

fn head(plan: &Plan, page: &mut Page) {
    let title = match &plan.version {
        Some(version) => format!("plan for v{version}"),
        None => "plan without a release version".to_owned(),
    };
    page.line(&title, Paint::Bold);
    let registries: Vec<String> = plan.registries.iter().map(ToString::to_string).collect();
    page.wrapped("registries  ", &registries.join(", "), Paint::Plain);
    if let Some(platforms) = common_platforms(plan) {
        page.wrapped("platforms   ", &platforms, Paint::Plain);
    }
    let held = lint::held_to(plan);
    for (at, line) in held.iter().enumerate() {
        let head = if at == 0 {
            "lint        "
        } else {
            "            "
        };
        page.wrapped(head, line, Paint::Plain);
    }
    for degraded in &plan.degraded {
        let text = format!(
            "{} gave no certain answer, nothing is written there: {}",
            plan.registries[degraded.registry], degraded.why
        );
        page.wrapped("degraded    ", &text, Paint::Warning);
    }
}

fn platforms(node: &Node) -> String {
    let names: Vec<String> = node.platforms.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The platforms of all nodes, where they are the same.
fn common_platforms(plan: &Plan) -> Option<String> {
    let mut all = plan.graph.nodes.iter().map(platforms);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// A node in the tree: what is drawn before its name, and before what stands below the name.
struct Branch<'a> {
    node: &'a Node,
    name: String,
    below: String,
}

fn parent(node: &Node) -> Option<&NodeId> {
    match &node.make {
        Make::Build(recipe) => recipe.base.as_ref().map(|(_, id)| id),
        Make::Graft(recipe) => Some(&recipe.base),
    }
}

fn tree(plan: &Plan) -> Vec<Branch<'_>> {
    let mut branches = Vec::new();
    let roots = plan.graph.nodes.iter();
    for node in roots.filter(|node| parent(node).is_none()) {
        branch(plan, node, ("", ""), &mut branches);
    }
    branches
}

fn branch<'a>(plan: &'a Plan, node: &'a Node, lead: (&str, &str), out: &mut Vec<Branch<'a>>) {
    let children: Vec<&Node> = plan
        .graph
        .nodes
        .iter()
        .filter(|other| parent(other) == Some(&node.id))
        .collect();
    let (own, rest) = lead;
    let stem = if children.is_empty() { "" } else { "│" };
    out.push(Branch {
        node,
        name: format!("{own}{}", node.id),
        below: format!("{rest}{stem}"),
    });
    for (at, child) in children.iter().enumerate() {
        let (corner, line) = if at + 1 == children.len() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let lead = (&*format!("{rest}{corner}"), &*format!("{rest}{line}"));
        branch(plan, child, lead, out);
    }
}

fn nodes(plan: &Plan, page: &mut Page) {
    let branches = tree(plan);
    let alike = common_platforms(plan).is_some();
    let names = branches.iter().map(|branch| width(&branch.name)).max();
    let names = names.unwrap_or(0);
    let tags = plan.graph.nodes.iter();
    let tags = tags.map(|node| width(node.content_tag.as_str())).max();
    let tags = tags.unwrap_or(0);
    let shown = plan.graph.nodes.iter().map(platforms);
    let shown = shown.map(|platforms| width(&platforms)).max().unwrap_or(0);
    let rests = tags + if alike { 0 } else { 2 + shown };
    for Branch { node, name, below } in &branches {
        let planned = plan.nodes.get(&node.id);
        let (word, paint) = match (planned.map(|planned| &planned.state), &node.make) {
            (Some(NodeState::Make), Make::Build(_)) => ("build", Paint::Warning),
            (Some(NodeState::Make), Make::Graft(_)) => ("graft", Paint::Warning),
            (Some(NodeState::Reuse { .. }), _) => ("reuse", Paint::Good),
            (Some(NodeState::NotNeeded) | None, _) => ("skip", Paint::Dim),
        };
        let word = paint.on(&pad(word, 5), page.colour);
        let mut rest = node.content_tag.to_string();
        if !alike {
            rest = format!("{}  {}", pad(&rest, tags), platforms(node));
        }
        let line = format!("{}  {word}  ", pad(name, names));
        let why = planned.map_or("", |planned| planned.reason.as_str());
        let room = COLUMNS.saturating_sub(names + 11 + rests);
        if width(why) <= room {
            let why = Paint::Dim.on(&clean(why), page.colour);
            page.line(&format!("{line}{}  {why}", pad(&rest, rests)), Paint::Plain);
        } else {
            page.line(&format!("{line}{rest}"), Paint::Plain);
            let lead = format!("{}  ", pad(below, names));
            reason(&lead, below, names, why, page);
        }
    }
}

/// The reason below a node, so that the branches of the tree go on beside every line of it.
fn reason(lead: &str, below: &str, names: usize, text: &str, page: &mut Page) {
    if text.trim().is_empty() {
        return;
    }
    let from = page.lines.len();
    page.wrapped(lead, text, Paint::Dim);
    let continued = format!("{}  ", pad(below, names));
    for line in page.lines.iter_mut().skip(from + 1) {
        *line = format!("{continued}{}", line.trim_start_matches(' '));
    }
}

/// What will be written to one registry.
fn writes(plan: &Plan, registry: usize, page: &mut Page) {
    let prefix = plan.registries[registry].to_string();
    let short = |reference: &launchway_model::Reference| {
        let text = reference.to_string();
        match text.strip_prefix(&format!("{prefix}/")) {
            Some(rest) => rest.to_owned(),
            None => text,
        }
    };
    let mut rows: Vec<[String; 3]> = Vec::new();
    for action in &plan.actions {
        let (verb, reference, rest) = match action {
            Action::Push {
                node,
                registry: at,
                content_tag,
                expect: _,
            } if *at == registry => ("push", content_tag, node.to_string()),
            Action::Copy {
                node,
                digest,
                from,
                to,
                content_tag,
                expect: _,
            } if *to == registry => (
                "copy",
                content_tag,
                format!("{node} {} from {}", digest.short(), plan.registries[*from]),
            ),
            Action::Tag {
                node,
                registry: at,
                reference,
                expect: _,
            } if *at == registry => ("tag", reference, target(plan, node, registry)),
            Action::Roll {
                node,
                registry: at,
                reference,
                expect,
            } if *at == registry => {
                let from = match expect {
                    Expect::Absent => "new",
                    Expect::Digest(digest) => digest.short(),
                };
                let to = target(plan, node, registry);
                ("move", reference, format!("{from} → {to}"))
            }
            Action::Build { .. }
            | Action::Graft { .. }
            | Action::Push { .. }
            | Action::Copy { .. }
            | Action::Lint { .. }
            | Action::Smoke { .. }
            | Action::Tag { .. }
            | Action::Verify { .. }
            | Action::Roll { .. }
            | Action::Record { .. } => continue,
        };
        rows.push([verb.to_owned(), short(reference), rest]);
    }
    if rows.is_empty() {
        return;
    }
    page.blank();
    page.line(&prefix, Paint::Bold);
    let references = rows.iter().map(|[_, reference, _]| width(reference)).max();
    let references = references.unwrap_or(0);
    for [verb, reference, rest] in rows {
        let line = format!(
            "  {}  {}  {rest}",
            pad(&verb, 4),
            pad(&reference, references)
        );
        page.line(&line, Paint::Plain);
    }
}

/// What a tag will stand for: a digest where it is known already.
fn target(plan: &Plan, node: &NodeId, registry: usize) -> String {
    let here = plan.present.get(&(node.clone(), registry));
    let digest = here.or_else(
        || match plan.nodes.get(node).map(|planned| &planned.state) {
            Some(NodeState::Reuse { digest, .. }) => Some(digest),
            Some(NodeState::Make | NodeState::NotNeeded) | None => None,
        },
    );
    match digest {
        Some(digest) => format!("{} {node}", digest.short()),
        None => node.to_string(),
    }
}

fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        let done = match &plan.version {
            Some(version) => format!("v{version} is released"),
            None => "everything is published".to_owned(),
        };
        let place = match (plan.degraded.is_empty(), &plan.version) {
            (true, Some(_)) => " everywhere",
            (true, None) => "",
            (false, _) => " on every registry that answered",
        };
        return format!("nothing to do: {done}{place}");
    }
    let (mut build, mut graft, mut reused) = (0, 0, 0);
    for node in &plan.graph.nodes {
        match (plan.nodes.get(&node.id).map(|p| &p.state), &node.make) {
            (Some(NodeState::Make), Make::Build(_)) => build += 1,
            (Some(NodeState::Make), Make::Graft(_)) => graft += 1,
            (Some(NodeState::Reuse { .. }), _) => reused += 1,
            (Some(NodeState::NotNeeded) | None, _) => {}
        }
    }
    let (mut write, mut moved) = (0, 0);
    for action in &plan.actions {
        match action {
            Action::Push { .. } | Action::Copy { .. } | Action::Tag { .. } => write += 1,
            Action::Roll { .. } => moved += 1,
            Action::Build { .. }
            | Action::Graft { .. }
            | Action::Lint { .. }
            | Action::Smoke { .. }
            | Action::Verify { .. }
            | Action::Record { .. } => {}
        }
    }
    let nodes = listed(&[(build, "to build"), (graft, "to graft"), (reused, "reused")]);
    let tag = if write == 1 {
        "tag to write"
    } else {
        "tags to write"
    };
    let moves = match (write, moved) {
        (0, 1) => "tag to move",
        (0, _) => "tags to move",
        _ => "to move",
    };
    let tags = listed(&[(write, tag), (moved, moves)]);
    let parts: Vec<String> = [nodes, tags]
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect();
    parts.join("; ")
}

fn listed(counts: &[(usize, &str)]) -> String {
    let counts = counts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = counts
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
pub(crate) mod tests;
