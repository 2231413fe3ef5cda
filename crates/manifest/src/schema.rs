//! The family file's JSON Schema.

/// The JSON Schema (draft 2020-12) of a family file, for editors.
pub fn json_schema() -> serde_json::Value {
    serde_json::Value::Null
}
