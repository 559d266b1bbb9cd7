//! JSON Schemas that clients send: checked for size and depth, and moved into a larger schema
//! with their references intact. It does not know what a schema is for.

use serde_json::{Map, Value, json};

/// Bytes of a schema; the grammar made of it is larger, and is walked for each token.
const MAX_SCHEMA_BYTES: usize = 128 << 10;

/// Nesting of a schema.
const MAX_SCHEMA_DEPTH: usize = 48;

/// Keywords whose values are data, not schemas.
const DATA: &[&str] = &["const", "enum", "default", "example", "examples"];

/// Keywords that no grammar keeps: the engine refuses a schema with one of them.
const UNENFORCEABLE: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "multipleOf",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Keywords whose value names schemas.
const NAMED_SCHEMAS: &[&str] = &["properties", "$defs", "definitions"];

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// It is no JSON.
    #[error("the JSON Schema is not valid JSON")]
    NotJson,
    /// It is neither an object nor a boolean.
    #[error("a JSON Schema must be an object")]
    NotObject,
    /// It is too long.
    #[error("the JSON Schema is longer than {MAX_SCHEMA_BYTES} bytes")]
    TooLong,
    /// It is nested too deeply.
    #[error("the JSON Schema is nested more than {MAX_SCHEMA_DEPTH} levels deep")]
    TooDeep,
    /// It refers to another document.
    #[error("the JSON Schema refers to {0}, which is outside it")]
    Foreign(String),
}

/// Checks a schema that came as text, and answers it ready for the grammar.
///
/// # Errors
/// Any [`SchemaError`].
pub fn check_text(text: &str) -> Result<Value, SchemaError> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(SchemaError::TooLong);
    }
    let schema: Value = serde_json::from_str(text).map_err(|_| SchemaError::NotJson)?;
    match &schema {
        Value::Object(_) => {
            walk(&schema, 0)?;
            Ok(root_reference_named(schema))
        }
        Value::Bool(_) => Ok(schema),
        _ => Err(SchemaError::NotObject),
    }
}

/// Checks a schema that is part of a larger message.
///
/// # Errors
/// Any [`SchemaError`] but [`SchemaError::NotJson`].
pub fn check(schema: &Value) -> Result<(), SchemaError> {
    if !schema.is_object() {
        return Err(SchemaError::NotObject);
    }
    // Depth first: writing out a value recurses.
    walk(schema, 0)?;
    if schema.to_string().len() > MAX_SCHEMA_BYTES {
        return Err(SchemaError::TooLong);
    }
    Ok(())
}

/// A checked schema without the keywords that no grammar keeps, for where it is a wish and not a
/// promise (a tool that is not `strict`).
pub fn loosened(mut schema: Value) -> Value {
    loosen(&mut schema);
    schema
}

fn loosen(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(loosen),
        Value::Object(entries) => {
            entries.retain(|key, _| !UNENFORCEABLE.contains(&key.as_str()));
            for (key, value) in entries {
                match value {
                    Value::Object(named) if NAMED_SCHEMAS.contains(&key.as_str()) => {
                        named.values_mut().for_each(loosen);
                    }
                    _ if DATA.contains(&key.as_str()) => {}
                    value => loosen(value),
                }
            }
        }
        _ => {}
    }
}

fn walk(value: &Value, depth: usize) -> Result<(), SchemaError> {
    if depth > MAX_SCHEMA_DEPTH {
        return Err(SchemaError::TooDeep);
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| walk(item, depth + 1)),
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            match value {
                Value::String(target) if key == "$ref" && !target.starts_with('#') => {
                    return Err(SchemaError::Foreign(target.chars().take(80).collect()));
                }
                _ => {}
            }
            walk(value, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// Schemas gathered under one root, each under a name, so that one schema can refer to all.
#[derive(Debug, Default)]
pub struct Definitions(Map<String, Value>);

impl Definitions {
    /// Adds a checked schema and answers the schema that refers to it. Its own references are
    /// rewritten to where it lies now.
    pub fn add(&mut self, name: &str, schema: &Value) -> Value {
        let place = format!("#/$defs/{name}");
        self.0.insert(name.to_owned(), moved(schema, &place));
        json!({ "$ref": place })
    }

    /// The root schema, with the definitions that it refers to.
    pub fn under(self, root: Value) -> Value {
        let mut root = match root {
            Value::Object(root) => root,
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        root.insert("$defs".into(), Value::Object(self.0));
        Value::Object(root)
    }
}

/// The schema with each local reference pointing below `place`.
fn moved(schema: &Value, place: &str) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|item| moved(item, place)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), moved_entry(key, value, place)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn moved_entry(key: &str, value: &Value, place: &str) -> Value {
    match value {
        Value::String(target) if key == "$ref" => match target.strip_prefix('#') {
            Some(path) => Value::from(format!("{place}{path}")),
            None => value.clone(),
        },
        _ if DATA.contains(&key) => value.clone(),
        _ => moved(value, place),
    }
}

/// `{"$ref": "#"}` means the root, which llama.cpp cannot resolve: such a schema is moved under a
/// name.
fn root_reference_named(schema: Value) -> Value {
    if !refers_to_root(&schema) {
        return schema;
    }
    let mut definitions = Definitions::default();
    let root = definitions.add("root", &schema);
    definitions.under(root)
}

fn refers_to_root(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(refers_to_root),
        Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| key == "$ref" && value == "#" || refers_to_root(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_loses_what_no_grammar_keeps_and_nothing_else() {
        let schema = json!({
            "type": "object",
            "properties": {
                "not": { "type": "array", "items": { "multipleOf": 5 }, "uniqueItems": true },
                "if": { "anyOf": [{ "type": "string", "not": { "const": "x" } }, { "enum": [{ "if": 1 }] }] }
            },
            "required": ["not"],
            "propertyNames": { "maxLength": 3 }
        });
        let loose = json!({
            "type": "object",
            "properties": {
                "not": { "type": "array", "items": {} },
                "if": { "anyOf": [{ "type": "string" }, { "enum": [{ "if": 1 }] }] }
            },
            "required": ["not"]
        });
        assert_eq!(loosened(schema), loose);
    }

    #[test]
    fn references_move_with_their_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "tree": { "$ref": "#/$defs/node" },
                "$ref": { "type": "string" },
                "fixed": { "const": { "$ref": "#/x" } }
            },
            "$defs": { "node": { "type": "array", "items": { "$ref": "#" } } }
        });
        let mut definitions = Definitions::default();
        let reference = definitions.add("f0", &schema);
        assert_eq!(reference, json!({ "$ref": "#/$defs/f0" }));
        let root = definitions.under(json!({ "anyOf": [reference] }));
        let lifted = &root["$defs"]["f0"];
        assert_eq!(
            lifted["properties"]["tree"]["$ref"],
            "#/$defs/f0/$defs/node"
        );
        assert_eq!(lifted["$defs"]["node"]["items"]["$ref"], "#/$defs/f0");
        assert_eq!(lifted["properties"]["fixed"], schema["properties"]["fixed"]);
        assert_eq!(lifted["properties"]["$ref"], json!({ "type": "string" }));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let deep = format!("{}{{}}{}", "{\"not\":".repeat(60), "}".repeat(60));
        assert_eq!(check_text(&deep), Err(SchemaError::TooDeep));
        let long = format!("{{\"description\":\"{}\"}}", "x".repeat(MAX_SCHEMA_BYTES));
        assert_eq!(check_text(&long), Err(SchemaError::TooLong));
        assert_eq!(check_text("[]"), Err(SchemaError::NotObject));
        assert_eq!(check_text("{"), Err(SchemaError::NotJson));
        let foreign = check_text("{\"$ref\":\"https://example.org/x\"}");
        assert!(matches!(foreign, Err(SchemaError::Foreign(_))));
        assert_eq!(
            check_text("{\"type\":\"object\"}"),
            Ok(json!({"type": "object"}))
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_gets_a_name() {
        let schema = check_text("{\"properties\":{\"next\":{\"$ref\":\"#\"}}}").unwrap();
        assert_eq!(schema["$ref"], "#/$defs/root");
        assert_eq!(
            schema["$defs"]["root"]["properties"]["next"]["$ref"],
            "#/$defs/root"
        );
    }
}
