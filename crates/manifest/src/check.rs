//! What the parts of a family must be to one another: bases, platforms, features, tags, tests.

mod bases;
mod features;
mod tags;

pub(crate) use bases::bases_first;

use launchway_diagnostics::Diagnostic;

use crate::read::Draft;

/// Every problem between the parts of a family.
pub(crate) fn check(draft: &Draft) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    bases::check(draft, &mut diagnostics);
    features::check(&draft.family, &mut diagnostics);
    tags::check(&draft.family, &mut diagnostics);
    diagnostics
}
