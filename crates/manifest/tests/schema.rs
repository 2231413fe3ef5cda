//! The JSON Schema says what the parser accepts.
//!
//! The validator knows the keywords that the schema uses and refuses any other, so it cannot pass
//! over one in silence.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use launchway_diagnostics::SourceMap;
use launchway_manifest::{json_schema, parse};
use regex_lite::Regex;
use serde_json::{Map, Value};

fn errors(text: &str) -> Vec<String> {
    let mut sources = SourceMap::new();
    parse(sources.add("launchway.toml", text), text)
        .diagnostics
        .into_iter()
        .filter(|problem| problem.is_error())
        .map(|problem| format!("{} {}", problem.code, problem.message))
        .collect()
}

fn to_json(value: &toml::de::DeValue<'_>) -> Value {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(integer) => Value::from(integer.as_str().parse::<i64>().unwrap()),
        DeValue::Boolean(boolean) => Value::from(*boolean),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(table_to_json(table)),
        DeValue::Float(_) | DeValue::Datetime(_) => panic!("no such value in these tests"),
    }
}

fn table_to_json(table: &toml::de::DeTable<'_>) -> Map<String, Value> {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
        .collect()
}

fn document(text: &str) -> Value {
    Value::Object(table_to_json(
        toml::de::DeTable::parse(text).unwrap().get_ref(),
    ))
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, wanted)| {
        let object = value.as_object();
        let number = |wanted: &Value| wanted.as_i64().unwrap();
        let any = |schemas: &Value| {
            let schemas = schemas.as_array().unwrap();
            schemas
                .iter()
                .filter(|schema| is_valid(schema, value))
                .count()
        };
        match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("unknown type {other}"),
            },
            "properties" => object.is_none_or(|object| {
                let known = wanted.as_object().unwrap();
                object
                    .iter()
                    .all(|(key, value)| known.get(key).is_none_or(|schema| is_valid(schema, value)))
            }),
            "additionalProperties" => object.is_none_or(|object| {
                let known = schema["properties"].as_object();
                object
                    .iter()
                    .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)))
                    .all(|(_, value)| match wanted {
                        Value::Bool(allowed) => *allowed,
                        schema => is_valid(schema, value),
                    })
            }),
            "propertyNames" => object.is_none_or(|object| {
                object
                    .keys()
                    .all(|key| is_valid(wanted, &Value::from(key.as_str())))
            }),
            "required" => object.is_none_or(|object| {
                let keys = wanted.as_array().unwrap();
                keys.iter()
                    .all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "minProperties" => object.is_none_or(|object| object.len() as i64 >= number(wanted)),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| is_valid(wanted, item))),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as i64 >= number(wanted)),
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => value
                .as_str()
                .is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
            "minimum" => value.as_i64().is_none_or(|value| value >= number(wanted)),
            "maximum" => value.as_i64().is_none_or(|value| value <= number(wanted)),
            "anyOf" => any(wanted) > 0,
            "oneOf" => any(wanted) == 1,
            "not" => !is_valid(wanted, value),
            other => panic!("unknown keyword {other}"),
        }
    })
}

const DEVBOX: &str = include_str!("data/devbox.toml");
const EVERY_KEY: &str = include_str!("data/every-key.toml");

#[test]
fn good_files_are_valid() {
    for text in [DEVBOX, EVERY_KEY] {
        assert_eq!(errors(text), [""; 0]);
        assert!(is_valid(&json_schema(), &document(text)));
    }
}

#[test]
fn what_the_schema_refuses_the_parser_refuses_too() {
    for (from, to) in [
        ("name = \"everything\"", "nme = \"everything\""),
        ("name = \"everything\"", "name = 3"),
        ("name = \"everything\"", "name = \"Every Thing\""),
        (
            "platforms = [\"linux/amd64\", \"linux/arm64\"]",
            "platforms = []",
        ),
        ("\"linux/amd64\", \"linux/arm64\"", "\"amd64\""),
        ("docker.io/someone", "someone"),
        ("docker.io/someone", "docker.io/Someone"),
        ("FIXED = \"1.2.3\"", "FIXED = 1"),
        ("FIXED = \"1.2.3\"", "FI-XED = \"1.2.3\""),
        ("accept = \"^1.2 || next\"", "acept = \"1\""),
        ("{ npm = \"tool\" }", "{ accept = \"1\" }"),
        ("https://npm", "npm"),
        ("host-ca = true", "host-ca = \"true\""),
        ("\"1h30m\"", "\"soon\""),
        ("\"zstd\"", "\"xz\""),
        ("env = \"TOKEN\"", "env = \"TOKEN\", file = \"x\""),
        ("{ id = \"token\", env = \"TOKEN\" }", "{ id = \"token\" }"),
        ("attempts = 5", "attempts = 0"),
        ("dockerfile = \"./top/Dockerfile\"", ""),
        ("dockerfile = \"./top/Dockerfile\"", "dockerfile = \"\""),
        ("repository = \"group/top\"", "repository = \"Group/top\""),
        ("-{hash}\"\nfeature-tag", "-{hsah}\"\nfeature-tag"),
        ("hash = \"tree\"", "hash = \"md5\""),
        ("features = [\"tool\", \"other\"]", "features = []"),
        ("suffix = \"\"", "suffix = \" \""),
        ("suffix = \"\"", "args = {}"),
        ("neutral = true", "neutral = 1"),
        ("script = \"tests/smoke.sh\"", ""),
        (
            "script = \"tests/smoke.sh\"",
            "script = \"x\"\nrun = [\"x\"]",
        ),
        ("exit = 3", "exit = 256"),
        ("wasted = \"5%\"", "wasted = 5"),
        ("setuid = \"note\"", "setuid = \"forbid\""),
        ("setuid = \"note\"", "suid = \"note\""),
        ("rule = \"setuid\"", "rule = \"suid\""),
        ("reason = \"needed\"", "raison = \"needed\""),
        ("\"linux/arm64\" = \"2GB\"", "\"arm64\" = \"2GB\""),
        ("[image.single]", "[image.Single]"),
        ("[image.top.variant.full]", "[image.top.variants.full]"),
    ] {
        assert!(EVERY_KEY.contains(from), "{from} is not there");
        let text = EVERY_KEY.replacen(from, to, 1);
        let change = format!("{from} -> {to}");
        assert!(
            !is_valid(&json_schema(), &document(&text)),
            "schema: {change}"
        );
        assert!(!errors(&text).is_empty(), "parser: {change}");
    }
}

/// Every object of a schema that has a fixed set of keys, each with a pointer into the document
/// that stands for it: names given by the user are `*`, list items too.
fn closed_tables(schema: &Value, at: &str, found: &mut Vec<(String, BTreeSet<String>)>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.push((at.to_owned(), properties.keys().cloned().collect()));
        for (key, schema) in properties {
            closed_tables(schema, &format!("{at}/{key}"), found);
        }
    } else if schema["additionalProperties"].is_object() {
        closed_tables(&schema["additionalProperties"], &format!("{at}/*"), found);
    }
    if schema["items"].is_object() {
        closed_tables(&schema["items"], &format!("{at}/*"), found);
    }
    for schema in schema["anyOf"].as_array().into_iter().flatten() {
        closed_tables(schema, at, found);
    }
}

fn at_pointer<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let mut values = vec![value];
    for part in pointer.split('/').skip(1) {
        values = values
            .into_iter()
            .flat_map(|value| match (part, value) {
                ("*", Value::Array(items)) => items.iter().collect(),
                ("*", Value::Object(object)) => object.values().collect(),
                (key, value) => value.get(key).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    values
}

#[test]
fn the_schema_has_the_keys_that_the_parser_accepts_and_no_others() {
    // The file with every key is accepted and valid, so all its keys are in the schema and mean
    // something to the parser. It also has all the keys of the schema:
    let document = document(EVERY_KEY);
    let mut tables = Vec::new();
    closed_tables(&json_schema(), "", &mut tables);
    for (pointer, keys) in &tables {
        let used: BTreeSet<String> = at_pointer(&document, pointer)
            .into_iter()
            .filter_map(Value::as_object)
            .flat_map(|object| object.keys().cloned())
            .collect();
        assert_eq!(&used, keys, "{pointer}");
    }
    // What the parser says it takes is what the schema has.
    let heads = [
        ("", ""),
        ("/family", "[family]"),
        ("/versions/*", "[versions.X]"),
        ("/npm", "[npm]"),
        ("/build", "[build]"),
        ("/build/secrets/*", "[[build.secrets]]"),
        ("/build/ssh/*", "[[build.ssh]]"),
        ("/retry", "[retry]"),
        ("/lint", "[lint]"),
        ("/lint/rules", "[lint.rules]"),
        ("/lint/allow/*", "[[lint.allow]]"),
        ("/image/*", "[image.x]"),
        ("/image/*/lint", "[image.x.lint]"),
        ("/image/*/lint/rules", "[image.x.lint.rules]"),
        ("/image/*/lint/allow/*", "[[image.x.lint.allow]]"),
        ("/image/*/feature/*", "[image.x.feature.y]"),
        ("/image/*/variant/*", "[image.x.variant.y]"),
        ("/image/*/smoke/*", "[[image.x.smoke]]"),
    ];
    for (pointer, head) in heads {
        let (_, wanted) = tables.iter().find(|(at, _)| at == pointer).unwrap();
        assert_eq!(&keys_named_for(head), wanted, "{head}");
    }
    assert_eq!(tables.len(), heads.len(), "a new table needs a line above");
}

/// The keys that the parser names when it meets one it does not know.
fn keys_named_for(head: &str) -> BTreeSet<String> {
    let text = format!("{head}\nzzzzzzzzzzzz = 1\n");
    let mut sources = SourceMap::new();
    let parsed = parse(sources.add("launchway.toml", text.as_str()), &text);
    let problem = parsed
        .diagnostics
        .iter()
        .find(|problem| problem.message == "unknown key `zzzzzzzzzzzz`")
        .unwrap();
    let words = problem.help[0].split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}
