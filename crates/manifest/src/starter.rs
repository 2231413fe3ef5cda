//! A first family file, written from the Dockerfiles that were found.

/// A Dockerfile that was found, and what its FROM lines say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDockerfile {
    /// Relative to the folder the family file will stand in, with `/`.
    pub path: String,
    /// The names of its stages, in order; stages without a name are left out.
    pub stages: Vec<String>,
    /// What its stages start from, unexpanded, without its own stages and `scratch`.
    pub external_bases: Vec<String>,
    /// The names of all its ARGs.
    pub args: Vec<String>,
}

/// A commented family file for these Dockerfiles. It parses without errors.
pub fn starter(_dockerfiles: &[FoundDockerfile]) -> String {
    String::new()
}
