//! The family file's JSON Schema, made from the same table of keys that documents are checked by.

use serde_json::{Map, Value, json};

use crate::keys::{Form, ROOT, Shape, TableSpec};

/// The JSON Schema (draft 2020-12) of a family file, for editors.
///
/// It knows keys, types, required keys and the forms of values. What goes beyond one value, such
/// as cycles or tags that collide, only [`parse`](crate::parse) finds.
pub fn json_schema() -> Value {
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".into(), json!("launchway.toml"));
    schema.insert(
        "description".into(),
        json!("A family of container images: what is built, tested and published."),
    );
    schema.append(&mut table(&ROOT));
    Value::Object(schema)
}

fn table(spec: &TableSpec) -> Map<String, Value> {
    let properties: Map<String, Value> = spec
        .keys
        .iter()
        .map(|key| {
            let mut described = shape(&key.shape);
            described.insert("description".into(), json!(key.doc));
            (key.name.to_owned(), Value::Object(described))
        })
        .collect();
    let required: Vec<&str> = spec
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("additionalProperties".into(), json!(false));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    for choice in spec.choices {
        let [one, other] = choice.keys;
        if choice.needed {
            schema.insert(
                "oneOf".into(),
                json!([{ "required": [one] }, { "required": [other] }]),
            );
        } else {
            schema.insert("not".into(), json!({ "required": [one, other] }));
        }
    }
    schema
}

fn shape(shape_of: &Shape) -> Map<String, Value> {
    let mut schema = Map::new();
    match shape_of {
        Shape::Text(form) => text(*form, &mut schema),
        Shape::Bool => {
            schema.insert("type".into(), json!("boolean"));
        }
        Shape::Integer { min, max } => {
            schema.insert("type".into(), json!("integer"));
            schema.insert("minimum".into(), json!(min));
            schema.insert("maximum".into(), json!(max));
        }
        Shape::List { of, at_least } => {
            schema.insert("type".into(), json!("array"));
            schema.insert("items".into(), Value::Object(shape(of)));
            if *at_least > 0 {
                schema.insert("minItems".into(), json!(at_least));
            }
        }
        Shape::Table(spec) => return table(spec),
        Shape::Map {
            names,
            of,
            at_least,
        } => {
            schema.insert("type".into(), json!("object"));
            schema.insert(
                "propertyNames".into(),
                json!({ "pattern": names.pattern() }),
            );
            schema.insert("additionalProperties".into(), Value::Object(shape(of)));
            if *at_least > 0 {
                schema.insert("minProperties".into(), json!(at_least));
            }
        }
        Shape::TextOrTable(form, spec) => {
            let mut plain = Map::new();
            text(*form, &mut plain);
            schema.insert(
                "anyOf".into(),
                json!([Value::Object(plain), Value::Object(table(spec))]),
            );
        }
    }
    schema
}

fn text(form: Form, schema: &mut Map<String, Value>) {
    schema.insert("type".into(), json!("string"));
    if let Form::Word(words) = form {
        schema.insert("enum".into(), json!(words));
    }
    if let Some(pattern) = form.pattern() {
        schema.insert("pattern".into(), json!(pattern));
    }
}
