//! Plans and problems as short texts.

use std::fmt::Write as _;

use launchway_diagnostics::Diagnostic;
use launchway_model::Reference;
use launchway_plan::{Action, Expect, NodeState, Plan};

use crate::world::World;

/// Diagnostics as `CODE message`, with their notes and help below.
pub(crate) fn told(problems: &[Diagnostic]) -> String {
    let mut text = String::new();
    for problem in problems {
        writeln!(text, "{} {}", problem.code, problem.message).unwrap();
        for note in &problem.notes {
            writeln!(text, "  {note}").unwrap();
        }
        for help in &problem.help {
            writeln!(text, "  > {help}").unwrap();
        }
    }
    text
}

/// A plan in short: the state of each node, then the actions in their order, those of one kind that
/// follow one another on one line. `*` is an overwritten tag; remarks and degraded registries last.
pub(crate) fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for node in &plan.graph.nodes {
        let planned = &plan.nodes[&node.id];
        let state = match &planned.state {
            NodeState::Reuse { registry, .. } => format!("on {}", letter(*registry)),
            NodeState::Make => format!("make, {}", planned.reason),
            NodeState::NotNeeded => "-".to_owned(),
        };
        writeln!(text, "{}: {state}", node.id).unwrap();
    }
    text.push_str(&done(plan));
    for remark in &plan.remarks {
        writeln!(text, "# {remark}").unwrap();
    }
    for degraded in &plan.degraded {
        writeln!(text, "! {}: {}", letter(degraded.registry), degraded.why).unwrap();
    }
    text
}

/// The actions of [`shown`].
pub(crate) fn done(plan: &Plan) -> String {
    let many = plan.graph.nodes.iter().any(|node| node.platforms.len() > 1);
    let mut text = String::new();
    let mut last = "";
    for action in &plan.actions {
        let on = |platform: &launchway_model::Platform| match many {
            true => format!("/{}", platform.architecture()),
            false => String::new(),
        };
        let over = |expect: &Expect| match expect {
            Expect::Absent => "",
            Expect::Digest(_) => "*",
        };
        let tag = |reference: &Reference| reference.tag.clone().unwrap();
        let (verb, what) = match action {
            Action::Build { node, platform } => ("build", format!("{node}{}", on(platform))),
            Action::Graft { node, platform } => ("graft", format!("{node}{}", on(platform))),
            Action::Push {
                node,
                registry,
                expect,
                ..
            } => (
                "push",
                format!("{}:{node}{}", letter(*registry), over(expect)),
            ),
            Action::Copy {
                node,
                from,
                to,
                expect,
                ..
            } => (
                "copy",
                format!("{}>{}:{node}{}", letter(*from), letter(*to), over(expect)),
            ),
            Action::Lint { node, platform } => ("lint", format!("{node}{}", on(platform))),
            Action::Smoke { node, platform } => ("smoke", format!("{node}{}", on(platform))),
            Action::Tag {
                registry,
                reference,
                expect,
                ..
            } => (
                "tag",
                format!("{}:{}{}", letter(*registry), tag(reference), over(expect)),
            ),
            Action::Verify { registry } => ("verify", letter(*registry).to_string()),
            Action::Roll {
                registry,
                reference,
                expect,
                ..
            } => (
                "roll",
                format!("{}:{}{}", letter(*registry), tag(reference), over(expect)),
            ),
            Action::Record { registry, .. } => ("record", letter(*registry).to_string()),
        };
        if verb == last {
            write!(text, " {what}").unwrap();
        } else {
            let newline = if text.is_empty() { "" } else { "\n" };
            write!(text, "{newline}{verb} {what}").unwrap();
        }
        last = verb;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn letter(registry: usize) -> char {
    char::from(b'a' + u8::try_from(registry).unwrap())
}

/// Compares texts that are indented in the test.
#[track_caller]
pub(crate) fn same(got: &str, want: &str) {
    let want: Vec<&str> = want.trim().lines().map(str::trim).collect();
    let got: Vec<&str> = got.trim().lines().map(str::trim).collect();
    assert!(
        got == want,
        "got:\n{}\n\nwant:\n{}\n",
        got.join("\n"),
        want.join("\n")
    );
}

/// A world, and the plan that it gives.
#[track_caller]
pub(crate) fn expect(world: &World, want: &str) {
    same(&shown(&world.plan()), want);
}
