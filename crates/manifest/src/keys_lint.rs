//! The keys of what images are held to, `[lint]` and `[image.NAME.lint]`.

use launchway_lint::{Level, Rule};

use crate::keys::{Form, KeySpec, Names, Shape, TableSpec, list, map, optional, required};

static NON_EMPTY: Shape = Shape::Text(Form::NonEmpty);

pub(crate) static LINT: TableSpec = TableSpec {
    title: "a lint table",
    keys: &[
        optional(
            "wasted",
            Shape::Text(Form::NonEmpty),
            "How much of an image may be wasted: `50MB`, or `5%` of its files.",
        ),
        optional(
            "size",
            Shape::Text(Form::NonEmpty),
            "How much the layers of each platform may weigh as they travel: `300MB`.",
        ),
        optional(
            "platform-size",
            map(Names::Platform, &NON_EMPTY),
            "The same for single platforms, by name.",
        ),
        optional(
            "deny-warnings",
            Shape::Bool,
            "Whether what is warned of refuses the image. `false` by default.",
        ),
        optional(
            "rules",
            Shape::Table(&RULES),
            "The levels of rules: `allow`, `note`, `warn` or `deny`.",
        ),
        optional(
            "allow",
            list(&Shape::Table(&ALLOW)),
            "Findings that are known and accepted.",
        ),
    ],
    choices: &[],
};

static ALLOW: TableSpec = TableSpec {
    title: "an accepted finding",
    keys: &[
        required("rule", Shape::Text(Form::Word(&Rule::NAMES)), "The rule."),
        optional(
            "path",
            Shape::Text(Form::NonEmpty),
            "The paths it is about, as a pattern with `*`, `?` and `**`; all by default.",
        ),
        required("reason", Shape::Text(Form::NonEmpty), "Why it is accepted."),
    ],
    choices: &[],
};

const fn level(rule: Rule) -> KeySpec {
    optional(
        rule.name(),
        Shape::Text(Form::Word(&Level::NAMES)),
        rule.summary(),
    )
}

static RULES: TableSpec = TableSpec {
    title: "the rules of a lint",
    keys: &[
        level(Rule::SecretFile),
        level(Rule::SecretConfig),
        level(Rule::ShadowedProgram),
        level(Rule::ShadowedData),
        level(Rule::PackageCache),
        level(Rule::Leftovers),
        level(Rule::DeletedFile),
        level(Rule::OverwrittenFile),
        level(Rule::MetadataChange),
        level(Rule::DuplicateFile),
        level(Rule::WorldWritable),
        level(Rule::Setuid),
        level(Rule::Documentation),
    ],
    choices: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_key() {
        let keys: Vec<&str> = RULES.keys.iter().map(|key| key.name).collect();
        assert_eq!(keys, Rule::NAMES);
    }
}
