//! A release from beginning to end: what is observed becomes a plan, and the plan is carried out as
//! one transaction.
//!
//! [`prepare`] reads and asks; deciding is `launchway-plan`'s; [`transaction`] acts and decides
//! nothing, but for the graft conflict, for which the plan names both ways. Nothing here prints, and
//! nothing reads arguments or the environment.

mod artifact;
mod chain;
mod checks;
pub mod codes;
mod contexts;
mod error;
mod event;
mod graft;
mod images;
mod judge;
mod ledger;
mod lock;
mod merge;
mod neutral;
pub mod prepare;
mod project;
mod publish;
mod record;
pub mod single;
mod smoke;
mod sources;
mod survey;
pub mod transaction;
pub mod verify;
mod web;
mod work;

pub use checks::{Checked, check_only};
pub use error::ReleaseError;
pub use event::Event;
pub use images::{PinnedImages, Puller, until_cancelled};
pub use ledger::{Entry, Lack, Ledger, unasked};
pub use lock::{LockError, ReleaseLock};
pub use merge::Disagreement;
pub use prepare::{Asked, Hashed, Versions};
pub use project::{ContextDigests, ImageSource, Project, ProjectProblems};
pub use record::RunFacts;
pub use survey::{Survey, Surveyed, survey};
pub use transaction::{Outcome, Workshop, execute};
pub use work::{BuildSettings, Packing};
