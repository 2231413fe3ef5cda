//! Codes of problems found while building. What each means and what to do stands in
//! `docs/errors.md`.

use launchway_diagnostics::Code;

/// A RUN step ended with an exit code other than 0, or was killed.
pub const STEP_FAILED: Code = Code("LW0501");
/// A COPY or ADD source does not exist in the context or stage.
pub const SOURCE_MISSING: Code = Code("LW0502");
/// A COPY or ADD source is a symbolic link that leads out of the context.
pub const SOURCE_ESCAPES: Code = Code("LW0503");
/// A file cannot be put where a COPY, ADD or WORKDIR wants it.
pub const CANNOT_PLACE: Code = Code("LW0504");
/// A user or group is not in the image.
pub const UNKNOWN_USER: Code = Code("LW0505");
/// A variable or word of an instruction cannot be expanded.
pub const BAD_WORD: Code = Code("LW0506");
/// A secret that a step requires was not given.
pub const SECRET_MISSING: Code = Code("LW0507");
/// The program of a step cannot be started: missing, not executable, or of another architecture.
pub const CANNOT_START: Code = Code("LW0508");
/// The machine cannot run programs of the platform that is built.
pub const NO_EMULATION: Code = Code("LW0509");
/// An ONBUILD trigger of a base image cannot be used.
pub const BAD_TRIGGER: Code = Code("LW0510");
/// An archive that ADD unpacks is damaged or leaves its destination.
pub const BAD_ARCHIVE: Code = Code("LW0511");
/// A step ran longer than it may.
pub const STEP_TIMED_OUT: Code = Code("LW0512");
/// An image from outside could not be had.
pub const IMAGE_UNAVAILABLE: Code = Code("LW0513");
/// A mount of a RUN step cannot be made.
pub const BAD_MOUNT: Code = Code("LW0514");
/// A URL of ADD could not be fetched, or its content has another checksum.
pub const NOT_FETCHED: Code = Code("LW0515");
/// A URL of ADD has no checksum where a result must not depend on what a server gives at the moment.
pub const UNPINNED_URL: Code = Code("LW0516");
/// A RUN step asks for the host's network, and that was not allowed.
pub const NETWORK_NOT_ALLOWED: Code = Code("LW0517");
/// A Git repository of ADD could not be had, or is at another commit.
pub const NOT_CLONED: Code = Code("LW0520");
/// An ssh agent that a step requires was not given.
pub const AGENT_MISSING: Code = Code("LW0521");
/// An ssh agent or a key that was given cannot be used.
pub const AGENT_UNUSABLE: Code = Code("LW0522");
/// The kernel killed a process of a step that came to its limit of memory.
pub const STEP_OUT_OF_MEMORY: Code = Code("LW0540");
/// A step that came to its limit of processes failed.
pub const STEP_OUT_OF_PIDS: Code = Code("LW0541");
/// The machine cannot keep a limit that was asked for.
pub const LIMIT_NOT_KEPT: Code = Code("LW0542");
/// This machine does not allow or does not have what builds need.
pub const MACHINE_LACKS: Code = Code("LW0550");
