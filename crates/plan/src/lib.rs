//! Deciding what a release does.
//!
//! [`graph`] turns the family, its Dockerfiles' facts and the pins into a hashed graph; [`plan`]
//! compares that graph with what the registries hold and gives an immutable [`Plan`]: every action
//! with its precondition and its reason. [`check`] proves a plan against rules of its own, before
//! anything runs.
//!
//! Pure: values in, values out. No clock, no environment, no disk, no network, and no knowledge of
//! engines or credentials.

mod check;
pub mod codes;
mod decide;
mod facts;
mod graph;
mod inventory;
mod json;
mod lacking;
mod line;
mod reason;
mod value;
mod version;

pub use check::{Violation, check};
pub use decide::{Decision, Questions, decide};
pub use facts::{Facts, Pins, TargetFacts, TargetKey};
pub use graph::{
    BuildRecipe, GraftRecipe, Graph, Lint, Make, Node, NodeId, Request, Role, Rolling, Smoke, graph,
};
pub use inventory::{Inventory, Observed, annotation};
pub use json::to_json;
pub use lacking::{concerned, lacking};
pub use line::ReleaseLine;
pub use value::{Action, Degraded, Expect, NodePlan, NodeState, Phase, Plan};
pub use version::{ReleaseVersion, VersionError};
