//! BuildKit's rules by their names, with our codes.

use launchway_diagnostics::Code;

use crate::codes;

/// One of BuildKit's build checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JsonArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
}

impl Rule {
    pub const ALL: [Self; 22] = [
        Self::StageNameCasing,
        Self::FromAsCasing,
        Self::NoEmptyContinuation,
        Self::ConsistentInstructionCasing,
        Self::DuplicateStageName,
        Self::ReservedStageName,
        Self::JsonArgsRecommended,
        Self::MaintainerDeprecated,
        Self::UndefinedArgInFrom,
        Self::WorkdirRelativePath,
        Self::UndefinedVar,
        Self::MultipleInstructionsDisallowed,
        Self::LegacyKeyValueFormat,
        Self::InvalidBaseImagePlatform,
        Self::RedundantTargetPlatform,
        Self::SecretsUsedInArgOrEnv,
        Self::InvalidDefaultArgInFrom,
        Self::FromPlatformFlagConstDisallowed,
        Self::CopyIgnoredFile,
        Self::InvalidDefinitionDescription,
        Self::ExposeProtoCasing,
        Self::ExposeInvalidFormat,
    ];

    /// The name that `skip=` and `experimental=` take.
    pub fn name(self) -> &'static str {
        match self {
            Self::StageNameCasing => "StageNameCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ReservedStageName => "ReservedStageName",
            Self::JsonArgsRecommended => "JSONArgsRecommended",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::UndefinedVar => "UndefinedVar",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
        }
    }

    pub fn code(self) -> Code {
        match self {
            Self::StageNameCasing => codes::STAGE_NAME_CASING,
            Self::FromAsCasing => codes::FROM_AS_CASING,
            Self::NoEmptyContinuation => codes::EMPTY_CONTINUATION,
            Self::ConsistentInstructionCasing => codes::INSTRUCTION_CASING,
            Self::DuplicateStageName | Self::ReservedStageName => codes::DUPLICATE_STAGE_NAME,
            Self::JsonArgsRecommended => codes::SHELL_FORM,
            Self::MaintainerDeprecated => codes::MAINTAINER,
            Self::UndefinedArgInFrom => codes::UNDEFINED_ARG,
            Self::WorkdirRelativePath => codes::RELATIVE_WORKDIR,
            Self::UndefinedVar => codes::UNDEFINED_VARIABLE,
            Self::MultipleInstructionsDisallowed => codes::USED_TWICE,
            Self::LegacyKeyValueFormat => codes::LEGACY_PAIR,
            Self::InvalidBaseImagePlatform => codes::OTHER_PLATFORM,
            Self::RedundantTargetPlatform => codes::REDUNDANT_PLATFORM,
            Self::SecretsUsedInArgOrEnv => codes::SECRET_IN_VARIABLE,
            Self::InvalidDefaultArgInFrom => codes::NO_DEFAULT_IMAGE,
            Self::FromPlatformFlagConstDisallowed => codes::CONSTANT_PLATFORM,
            Self::CopyIgnoredFile => codes::IGNORED_SOURCE,
            Self::InvalidDefinitionDescription => codes::BAD_DESCRIPTION,
            Self::ExposeProtoCasing => codes::PROTOCOL_CASING,
            Self::ExposeInvalidFormat => codes::HOST_PORT,
        }
    }

    /// What the rule is about, in a sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::StageNameCasing => "Names of stages are in lower case.",
            Self::FromAsCasing => "FROM and AS are written in the same case.",
            Self::NoEmptyContinuation => "No empty line within a continued instruction.",
            Self::ConsistentInstructionCasing => "All instructions are written in one case.",
            Self::DuplicateStageName => "No two stages have one name.",
            Self::ReservedStageName => "No stage is called scratch or context.",
            Self::JsonArgsRecommended => {
                "CMD and ENTRYPOINT are lists, so that signals reach the program."
            }
            Self::MaintainerDeprecated => "A label names the author, not MAINTAINER.",
            Self::UndefinedArgInFrom => "FROM uses arguments that are declared before it.",
            Self::WorkdirRelativePath => "The first WORKDIR of a build is an absolute path.",
            Self::UndefinedVar => "Variables have a value where they are used.",
            Self::MultipleInstructionsDisallowed => {
                "CMD, ENTRYPOINT and HEALTHCHECK stand once in a stage."
            }
            Self::LegacyKeyValueFormat => "ENV and LABEL have a = between name and value.",
            Self::InvalidBaseImagePlatform => "A base image is of the platform that is built.",
            Self::RedundantTargetPlatform => "No --platform=$TARGETPLATFORM, which is the default.",
            Self::SecretsUsedInArgOrEnv => "No secrets in ARG and ENV, which stay in the image.",
            Self::InvalidDefaultArgInFrom => "FROM names an image without any build argument.",
            Self::FromPlatformFlagConstDisallowed => "--platform of FROM holds a variable.",
            Self::CopyIgnoredFile => "COPY and ADD name nothing that .dockerignore leaves out.",
            Self::InvalidDefinitionDescription => {
                "A comment above ARG or a named FROM starts with the name."
            }
            Self::ExposeProtoCasing => "Protocols of EXPOSE are in lower case.",
            Self::ExposeInvalidFormat => "EXPOSE names no addresses and ports of the host.",
        }
    }

    /// The page that Docker has on it; there is none on platforms of base images.
    pub fn url(self) -> Option<String> {
        if self == Self::InvalidBaseImagePlatform {
            return None;
        }
        let mut slug = String::new();
        let name = self.name();
        for (at, letter) in name.char_indices() {
            let next_is_small = name[at + 1..].starts_with(|c: char| c.is_lowercase());
            let starts_word = letter.is_uppercase()
                && at > 0
                && (next_is_small || name[..at].ends_with(|c: char| c.is_lowercase()));
            if starts_word {
                slug.push('-');
            }
            slug.push(letter.to_ascii_lowercase());
        }
        Some(format!(
            "https://docs.docker.com/go/dockerfile/rule/{slug}/"
        ))
    }

    /// Looked at only when asked for.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_after_rules() {
        for (rule, page) in [
            (Rule::JsonArgsRecommended, "json-args-recommended"),
            (Rule::SecretsUsedInArgOrEnv, "secrets-used-in-arg-or-env"),
            (Rule::UndefinedArgInFrom, "undefined-arg-in-from"),
            (Rule::StageNameCasing, "stage-name-casing"),
        ] {
            let url = rule.url().unwrap();
            assert!(url.ends_with(&format!("/{page}/")), "{url}");
        }
        assert!(Rule::ALL.is_sorted());
    }
}
