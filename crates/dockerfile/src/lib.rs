//! Dockerfiles: text to a spanned tree, the tree to a graph of stages, variables, `.dockerignore`.
//!
//! Pure: this crate reads no files, asks no registry and knows no engine. It follows BuildKit where
//! the reference leaves room, and refuses with a span whatever Launchway cannot build.

mod ast;
mod checks;
pub mod codes;
mod expand;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod git;
mod go_match;
mod graph;
mod ignore;
mod mount;
mod outline;
mod parse;
mod ports;
mod print;

pub use ast::{
    Add, ArgDef, ArgInstruction, CommandLine, Copy, CopySource, Directives, Dockerfile,
    Healthcheck, HealthcheckCommand, Heredoc, Instruction, InstructionKind, Onbuild, Run,
    RunInvocation, RunNetwork, Stage, Written,
};
pub use checks::{
    BaseImage, CheckInputs, CheckSettings, CheckSettingsError, Finding, Rule, check, outside_bases,
};
pub use expand::{ExpandError, expand, expand_keep_quotes, expand_words};
pub use git::{GitSource, GitTransport, git_context, git_source, is_commit, is_reference};
pub use go_match::{PatternError, go_match};
pub use graph::{
    BuildInputs, ContextSource, ExternalImage, ResolvedStage, StageBase, StageGraph, canonical,
    global_argument, is_proxy_arg, resolve, resolve_knowing, sources,
};
pub use ignore::IgnoreRules;
pub use mount::{CacheSharing, MountFlag, MountKind, RunMount};
pub use outline::{Outline, OutlineArg, OutlineNeed, Target, outline, targets};
pub use parse::{
    Parsed, instruction_names, is_http_source, is_remote_source, is_stock_syntax, parse,
    parse_onbuild,
};
pub use ports::{PortError, exposed_ports};
pub use print::print;
