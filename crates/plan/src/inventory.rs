//! What the registries hold, as observed.

use std::collections::BTreeMap;

use launchway_model::{Digest, Reference, Repository, Tag};

pub mod annotation {
    //! Annotations that Launchway writes on the index of every node it publishes, and reads back
    //! to know what a tag was made from.

    /// The full input hash of the node.
    pub const INPUT_HASH: &str = "dev.launchway.input-hash";
    /// The node's inputs as a JSON object: name → version, digest or short hash.
    pub const INPUTS: &str = "dev.launchway.inputs";
    /// What the node is within its family: `devbox/omos`.
    pub const NODE: &str = "dev.launchway.node";
    /// The floating things as this node was built with them, as a JSON object.
    pub const PINS: &str = "dev.launchway.pins";
}

/// The answer to one probe. Unknown is an answer of its own: it never overwrites and never
/// rebuilds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    Present {
        digest: Digest,
        annotations: BTreeMap<String, String>,
    },
    Absent,
    Unknown {
        why: String,
    },
}

/// All answers.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub references: BTreeMap<Reference, Observed>,
    /// The tags of the repositories in which rolling tags may move; absent where it is not known.
    pub tags: BTreeMap<Repository, Vec<Tag>>,
}

impl Inventory {
    /// What is known of a reference. One that was never asked for is unknown.
    pub fn of(&self, reference: &Reference) -> Observed {
        self.references
            .get(reference)
            .cloned()
            .unwrap_or_else(|| Observed::Unknown {
                why: "it was not probed".to_owned(),
            })
    }
}
