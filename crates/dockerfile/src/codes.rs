//! Codes of problems in Dockerfiles. What each means and what to do stands in `docs/errors.md`.

use launchway_diagnostics::Code;

/// The word is no instruction. Correct its spelling.
pub const UNKNOWN_INSTRUCTION: Code = Code("LW0201");
/// The instruction has no such flag. Correct its spelling or remove it.
pub const UNKNOWN_FLAG: Code = Code("LW0202");
/// A flag has no value, a wrong one, or stands twice. Write it as the label says.
pub const BAD_FLAG: Code = Code("LW0203");
/// Docker knows this, Launchway does not build it yet. Do as the help says.
pub const NOT_SUPPORTED: Code = Code("LW0204");
/// The file has no `FROM`. Start a stage with one.
pub const NO_STAGE: Code = Code("LW0205");
/// Only `ARG` may stand before the first `FROM`. Move the instruction below it.
pub const BEFORE_FROM: Code = Code("LW0206");
/// The name of a stage has characters it may not have. Start with a letter; use letters, digits,
/// `-`, `_` and `.`.
pub const BAD_STAGE_NAME: Code = Code("LW0207");
/// Checks `DuplicateStageName` and `ReservedStageName`: two stages have one name, or a stage has a
/// name with a meaning of its own. Rename it.
pub const DUPLICATE_STAGE_NAME: Code = Code("LW0208");
/// The instruction has too few, too many or malformed arguments. Write them as the help says.
pub const BAD_ARGUMENTS: Code = Code("LW0209");
/// A directive at the top of the file is wrong or repeated. Correct or remove it.
pub const BAD_DIRECTIVE: Code = Code("LW0210");
/// A heredoc has no end, or stands where none can. End it with a line that is its delimiter alone.
pub const BAD_HEREDOC: Code = Code("LW0211");
/// A JSON form holds something that is no string, or is missing where nothing else is allowed.
pub const BAD_JSON: Code = Code("LW0212");
/// The arguments look like JSON but are not, so they go to a shell. Use double quotes and check
/// the commas.
pub const LOOKS_LIKE_JSON: Code = Code("LW0213");
/// Check `NoEmptyContinuation`: a continued instruction has an empty line in it. Remove the line;
/// Docker will refuse it some day.
pub const EMPTY_CONTINUATION: Code = Code("LW0214");
/// A `--mount` has a field that is wrong for its type. Correct or remove the field.
pub const BAD_MOUNT: Code = Code("LW0215");
/// `EXPOSE` names no port. Write `PORT`, `FIRST-LAST` or either with `/tcp`, `/udp` or `/sctp`.
pub const BAD_PORT: Code = Code("LW0216");
/// The instruction may not stand behind `ONBUILD`. Remove it.
pub const BAD_ONBUILD: Code = Code("LW0217");
/// A variable or a quote cannot be expanded. Correct it, or give the build argument it asks for.
pub const BAD_EXPANSION: Code = Code("LW0218");
/// The Dockerfile has no such stage to build. Name one of its stages.
pub const UNKNOWN_TARGET: Code = Code("LW0219");
/// A stage refers to itself, to a later one, or to a number that no stage has. Refer to an
/// earlier stage.
pub const BAD_STAGE_REFERENCE: Code = Code("LW0220");
/// The text is neither a stage nor an image reference. Correct its spelling.
pub const BAD_IMAGE: Code = Code("LW0221");
/// The text is not a platform. Write `os/architecture` or `os/architecture/variant`.
pub const BAD_PLATFORM: Code = Code("LW0222");
/// `--from` and `from=` take no variables. Give the image a stage of its own, with the variable in
/// its `FROM`.
pub const VARIABLE_IN_FROM: Code = Code("LW0223");
/// A pattern for files is malformed. Close its brackets, or escape them.
pub const BAD_PATTERN: Code = Code("LW0224");
/// The word is not a signal. Write a number or a name such as `SIGTERM`.
pub const BAD_SIGNAL: Code = Code("LW0225");
/// A field of a mount has no effect for its type. Remove it.
pub const USELESS_FIELD: Code = Code("LW0226");
/// A line is longer than 65535 bytes, which BuildKit cannot read. Break it with a continuation, or
/// put its content into a file.
pub const LONG_LINE: Code = Code("LW0227");
/// The URL of a Git repository cannot be understood. Correct it as the label says.
pub const BAD_REPOSITORY: Code = Code("LW0228");
/// Check `StageNameCasing`: the name of a stage has capitals. Write it in lower case.
pub const STAGE_NAME_CASING: Code = Code("LW0230");
/// Check `FromAsCasing`: `FROM` and `AS` are in different cases. Write both alike.
pub const FROM_AS_CASING: Code = Code("LW0231");
/// Check `ConsistentInstructionCasing`: an instruction is not in the case of the others. Write it
/// like them.
pub const INSTRUCTION_CASING: Code = Code("LW0232");
/// Check `JSONArgsRecommended`: signals reach a shell and not the program. Write a list.
pub const SHELL_FORM: Code = Code("LW0233");
/// Check `MaintainerDeprecated`: `MAINTAINER` is out of use. Write a label.
pub const MAINTAINER: Code = Code("LW0234");
/// Check `UndefinedArgInFrom`: `FROM` uses an argument that is not declared before it. Declare it
/// before the first `FROM`.
pub const UNDEFINED_ARG: Code = Code("LW0235");
/// Check `WorkdirRelativePath`: where a relative `WORKDIR` leads depends on the base image. Start
/// with an absolute one.
pub const RELATIVE_WORKDIR: Code = Code("LW0236");
/// Check `UndefinedVar`: a variable has no value here. Correct its name, or declare it above.
pub const UNDEFINED_VARIABLE: Code = Code("LW0237");
/// Check `MultipleInstructionsDisallowed`: only the last `CMD`, `ENTRYPOINT` or `HEALTHCHECK` of a
/// stage counts. Remove the others.
pub const USED_TWICE: Code = Code("LW0238");
/// Check `LegacyKeyValueFormat`: a space stands between name and value. Write a `=`.
pub const LEGACY_PAIR: Code = Code("LW0239");
/// Check `InvalidBaseImagePlatform`: a base image is of another platform. Use one of the platform
/// that is built.
pub const OTHER_PLATFORM: Code = Code("LW0240");
/// Check `RedundantTargetPlatform`: `--platform=$TARGETPLATFORM` is what happens anyway. Remove it.
pub const REDUNDANT_PLATFORM: Code = Code("LW0241");
/// Check `SecretsUsedInArgOrEnv`: a secret in `ARG` or `ENV` stays in the image. Use
/// `RUN --mount=type=secret`.
pub const SECRET_IN_VARIABLE: Code = Code("LW0242");
/// Check `InvalidDefaultArgInFrom`: without build arguments `FROM` names no image. Give the
/// argument a default.
pub const NO_DEFAULT_IMAGE: Code = Code("LW0243");
/// Check `FromPlatformFlagConstDisallowed`: a stage is built for one platform only. Use a variable,
/// or name the platform in the stage's name.
pub const CONSTANT_PLATFORM: Code = Code("LW0244");
/// Check `CopyIgnoredFile`: `.dockerignore` leaves out what is copied. Take it in, or do not copy
/// it.
pub const IGNORED_SOURCE: Code = Code("LW0245");
/// Check `InvalidDefinitionDescription`: a comment above `ARG` or `FROM` does not start with the
/// name. Start it so, or put an empty comment below it.
pub const BAD_DESCRIPTION: Code = Code("LW0246");
/// Check `ExposeProtoCasing`: a protocol is in capitals. Write it in lower case.
pub const PROTOCOL_CASING: Code = Code("LW0247");
/// Check `ExposeInvalidFormat`: `EXPOSE` names an address or a port of the host, which has no
/// effect. Name the container's port alone.
pub const HOST_PORT: Code = Code("LW0248");
/// An option of the `check` directive names no check. Correct its name.
pub const UNKNOWN_CHECK: Code = Code("LW0249");
