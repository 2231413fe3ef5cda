//! Limits of steps: from what was asked for to what the sandbox keeps, and what to say of a step that came to one.

use launchway_diagnostics::{Diagnostic, Span};
use launchway_model::{MemorySwap, PidsLimit, StepLimits};
use launchway_sandbox::{DEFAULT_PIDS, Limits, LimitsHit, Pids, ResourceLimit};

use crate::codes;

pub(crate) fn of_sandbox(limits: &StepLimits) -> Limits {
    Limits {
        memory: limits.memory.map(|size| size.0),
        memory_and_swap: limits.memory_swap.map(|swap| match swap {
            MemorySwap::Limit(size) => size.0,
            MemorySwap::Unlimited => u64::MAX,
        }),
        pids: match limits.pids {
            PidsLimit::Default => Pids::Default,
            PidsLimit::Limit(pids) => Pids::Limit(pids),
            PidsLimit::Unlimited => Pids::Unlimited,
        },
        cpus: limits.cpus.map(|cpus| cpus.thousandths),
        resources: limits
            .ulimits
            .iter()
            .map(|limit| ResourceLimit {
                name: limit.name.clone(),
                soft: limit.soft,
                hard: limit.hard,
            })
            .collect(),
        cgroup_parent: limits.cgroup_parent.clone().map(Into::into),
    }
}

/// A step was not started because the machine cannot keep a limit that was asked for.
pub(crate) fn not_kept(limit: &str, why: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        codes::LIMIT_NOT_KEPT,
        format!("this machine cannot keep the limit of {limit}"),
    )
    .at(span, "the step is not started without it")
    .note(why.to_owned())
    .help("build as root, or in a control group of your own: systemd-run --user --scope -p Delegate=yes launchway …; name one with --cgroup-parent; or leave the limit out")
}

/// What to say about a step that failed after it came to a limit. `None` when it came to none.
pub(crate) fn failed_at(hit: LimitsHit, limits: &StepLimits, span: Span) -> Option<Diagnostic> {
    if hit.memory {
        let limit = limits
            .memory
            .map_or_else(String::new, |size| format!(" of {size}"));
        return Some(
            Diagnostic::error(
                codes::STEP_OUT_OF_MEMORY,
                format!("a RUN step ran out of memory: it came to its limit{limit}"),
            )
            .at(span, "the kernel killed a process of this step")
            .help("raise --memory (`memory` in [build]), or let the step do less at once"),
        );
    }
    if hit.pids {
        let limit = match limits.pids {
            PidsLimit::Limit(pids) => pids,
            PidsLimit::Default | PidsLimit::Unlimited => DEFAULT_PIDS,
        };
        return Some(
            Diagnostic::error(
                codes::STEP_OUT_OF_PIDS,
                format!("a RUN step failed at its limit of {limit} processes and threads"),
            )
            .at(span, "a process of this step could start no other")
            .help("raise --pids-limit (`pids-limit` in [build]), or let the step do less at once"),
        );
    }
    None
}
