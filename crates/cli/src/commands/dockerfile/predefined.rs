//! Arguments that BuildKit itself reads, as far as they say what comes of a build.

use std::collections::{BTreeMap, BTreeSet};

use launchway_dockerfile::{BuildInputs, Dockerfile, global_argument};
use launchway_model::Platform;

use super::Result;
use crate::failure::Failure;

pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// The word for the time of the context.
const CONTEXT: &str = "context";

/// The epoch: the argument, or what the Dockerfile gives it before the first FROM. Empty, it is none.
/// `context` is the time of a repository or an archive that is the context, and of a folder none; steps
/// that declare the argument then see the number.
pub(super) fn epoch(
    build_args: &mut BTreeMap<String, String>,
    file: &Dockerfile,
    platform: &Platform,
    context_time: Option<i64>,
) -> Result<Option<i64>> {
    let default = |build_args: &BTreeMap<String, String>| {
        let inputs = BuildInputs {
            target: None,
            build_args,
            platform,
            build_platform: platform,
            named_contexts: &BTreeSet::new(),
        };
        global_argument(file, &inputs, EPOCH)
    };
    let said = build_args.get(EPOCH).cloned();
    let said = said.or_else(|| default(build_args));
    let Some(text) = said.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text == CONTEXT {
        let seconds = context_time.map_or_else(String::new, |time| time.to_string());
        build_args.insert(EPOCH.to_owned(), seconds);
        return Ok(context_time);
    }
    let seconds = text.parse().map_err(|_| {
        Failure::usage(
            format!("{EPOCH}={text} is no number of seconds"),
            "give seconds since 1970, or `context` for the time of a repository or an archive that is \
             the build context; names of stages and named contexts are not taken",
        )
    })?;
    Ok(Some(seconds))
}

/// Whether an index comes of it, with a folder for each platform where files are written: of several
/// platforms, and of one when it is asked for.
pub(super) fn is_index(build_args: &BTreeMap<String, String>, platforms: usize) -> Result<bool> {
    let several = platforms > 1;
    match build_args.get(MULTI_PLATFORM).map(String::as_str) {
        None | Some("") => Ok(several),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") if several => Err(Failure::usage(
            format!("{MULTI_PLATFORM} is false, and there are {platforms} platforms"),
            "name one platform with --platform, or leave the argument out",
        )),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Failure::usage(
            format!("{MULTI_PLATFORM}={other} is neither true nor false"),
            "write true or false",
        )),
    }
}
