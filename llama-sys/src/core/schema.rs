//! JSON Schemas, rewritten into the part of the language that llama.cpp's converter turns into
//! an exact grammar. What the converter would pass over in silence is expressed another way, or
//! refused with its place; whatever comes out of the grammar is valid under the schema that came
//! in. It may be stricter: objects are closed unless they ask to be open, arrays of `prefixItems`
//! end with these.
//!
//! Taken more lightly than the specification says: `oneOf` is `anyOf` (nothing can look at all
//! branches at once), and a `format` without a grammar is a note, as it is by default there.
//!
//! Keywords that nobody knows are notes as well. It knows no GBNF but [`polish`]'s, and no engine.

mod merge;
mod pattern;
pub mod polish;
mod scalar;
mod structure;

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

/// Schemas within a schema, counting each use of a merged one: far beyond what people write.
const MAX_NODES: usize = 4096;

/// Depth of what is written: the converter recurses.
const MAX_DEPTH: usize = 64;

/// Keywords that restrict values and that no grammar made here can keep.
const UNKEPT: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "$dynamicRef",
    "$recursiveRef",
];

/// All other keywords that restrict values.
const KEPT: &[&str] = &[
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "prefixItems",
    "properties",
    "required",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Why a schema cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct SchemaError {
    /// The place in the schema, as a JSON pointer.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

type Rewritten = Result<Value, SchemaError>;

/// The schema that the converter keeps to exactly.
///
/// # Errors
/// The first keyword that cannot be kept, or that nothing can satisfy.
pub fn rewrite(schema: &Value) -> Rewritten {
    let mut rewriter = Rewriter {
        root: schema,
        names: BTreeMap::new(),
        queue: VecDeque::new(),
        nodes: 0,
    };
    let mut root = rewriter.node(schema, &Place::root())?;
    let mut definitions = Map::new();
    while let Some((name, reference)) = rewriter.queue.pop_front() {
        let target = rewriter.resolve(&reference, &Place::root())?.clone();
        let place = Place::named(&reference);
        definitions.insert(name, rewriter.node(&target, &place)?);
    }
    if let (false, Value::Object(root)) = (definitions.is_empty(), &mut root) {
        root.insert("$defs".into(), Value::Object(definitions));
    }
    Ok(root)
}

/// Where a schema lies, for messages, and how deep.
#[derive(Debug, Clone)]
struct Place {
    pointer: String,
    depth: usize,
}

impl Place {
    fn root() -> Self {
        Self::named("#")
    }

    fn named(reference: &str) -> Self {
        Self {
            pointer: reference.to_owned(),
            depth: 0,
        }
    }

    fn below(&self, step: &str) -> Self {
        Self {
            pointer: format!("{}/{step}", self.pointer),
            depth: self.depth + 1,
        }
    }

    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, SchemaError> {
        Err(SchemaError {
            at: self.pointer.clone(),
            what: what.into(),
        })
    }

    fn cannot_keep<T>(&self, keyword: &str) -> Result<T, SchemaError> {
        self.refuse(format!("`{keyword}` cannot be enforced"))
    }
}

struct Rewriter<'a> {
    root: &'a Value,
    /// The name of each reference's target.
    names: BTreeMap<String, String>,
    /// Targets that are yet to be rewritten: name and reference.
    queue: VecDeque<(String, String)>,
    nodes: usize,
}

impl<'a> Rewriter<'a> {
    fn node(&mut self, schema: &Value, at: &Place) -> Rewritten {
        self.nodes += 1;
        if self.nodes > MAX_NODES || at.depth > MAX_DEPTH {
            return at.refuse("the schema is too large or too deep");
        }
        let entries = match schema {
            Value::Object(entries) => entries,
            Value::Bool(true) => return Ok(json!({})),
            Value::Bool(false) => return at.refuse("nothing satisfies `false`"),
            _ => return at.refuse("a schema is an object"),
        };
        if let Some(keyword) = UNKEPT.iter().find(|k| entries.contains_key(**k)) {
            return at.cannot_keep(keyword);
        }
        let has = |keyword: &str| entries.contains_key(keyword);
        match () {
            () if has("$ref") => self.reference(entries, at),
            () if has("allOf") => {
                let merged = self.merged(entries, at)?;
                self.node(&merged, &at.below("allOf"))
            }
            () if has("anyOf") || has("oneOf") => self.alternatives(entries, at),
            () if has("const") || has("enum") => scalar::values(entries, at),
            () => self.typed(entries, at),
        }
    }

    fn reference(&mut self, entries: &Map<String, Value>, at: &Place) -> Rewritten {
        alone(entries, &["$ref"], at)?;
        let Some(reference) = entries["$ref"].as_str() else {
            return at.refuse("`$ref` is a string");
        };
        self.resolve(reference, at)?;
        let fresh = format!("d{}", self.names.len());
        let known = self.names.get(reference);
        let name = known.cloned().unwrap_or_else(|| fresh.clone());
        if name == fresh {
            self.names.insert(reference.to_owned(), name.clone());
            self.queue.push_back((name.clone(), reference.to_owned()));
        }
        Ok(json!({ "$ref": format!("#/$defs/{name}") }))
    }

    fn resolve(&self, reference: &str, at: &Place) -> Result<&'a Value, SchemaError> {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer));
        match target {
            Some(target) => Ok(target),
            None => at.refuse(format!("`$ref` to {reference}, which is not in the schema")),
        }
    }

    fn alternatives(&mut self, entries: &Map<String, Value>, at: &Place) -> Rewritten {
        let keyword = if entries.contains_key("anyOf") {
            "anyOf"
        } else {
            "oneOf"
        };
        alone(entries, &[keyword, "type"], at)?;
        let at = at.below(keyword);
        let Some(list) = entries[keyword].as_array().filter(|list| !list.is_empty()) else {
            return at.refuse("a list of schemas is wanted");
        };
        let mut written = Vec::new();
        for (i, schema) in list.iter().enumerate() {
            let place = at.below(&i.to_string());
            if schema == &Value::Bool(false) {
                continue;
            }
            match entries.get("type") {
                Some(ty) => {
                    written.push(self.node(&json!({"allOf": [{"type": ty}, schema]}), &place)?)
                }
                None => written.push(self.node(schema, &place)?),
            }
        }
        match written.is_empty() {
            true => at.refuse("nothing satisfies it"),
            false => Ok(json!({ "anyOf": written })),
        }
    }

    fn typed(&mut self, entries: &Map<String, Value>, at: &Place) -> Rewritten {
        match entries.get("type") {
            Some(Value::String(ty)) => self.of_type(ty, entries, at),
            Some(Value::Array(types)) if !types.is_empty() => {
                let mut written = Vec::new();
                for ty in types {
                    let Some(ty) = ty.as_str() else {
                        return at.refuse("`type` is not understood");
                    };
                    written.push(self.of_type(ty, entries, &at.below("type"))?);
                }
                Ok(json!({ "anyOf": written }))
            }
            Some(_) => at.refuse("`type` is not understood"),
            // A value of that type obeys, and the other types' keywords do not concern it.
            None => match implied_type(entries) {
                Some(ty) => self.of_type(ty, entries, at),
                None => Ok(json!({})),
            },
        }
    }

    fn of_type(&mut self, ty: &str, entries: &Map<String, Value>, at: &Place) -> Rewritten {
        match ty {
            "object" => self.object(entries, at),
            "array" => self.array(entries, at),
            "string" => scalar::string(entries, at),
            "integer" => scalar::integer(entries, at),
            "number" => scalar::number(entries, at),
            "boolean" | "null" => Ok(json!({ "type": ty })),
            other => at.refuse(format!("`{other}` is no type")),
        }
    }
}

/// Refuses restricting keywords beside these.
fn alone(entries: &Map<String, Value>, allowed: &[&str], at: &Place) -> Result<(), SchemaError> {
    let other = KEPT
        .iter()
        .find(|keyword| entries.contains_key(**keyword) && !allowed.contains(keyword));
    match other {
        Some(other) => {
            let beside = allowed[0];
            at.refuse(format!("`{other}` beside `{beside}` cannot be enforced"))
        }
        None => Ok(()),
    }
}

fn implied_type(entries: &Map<String, Value>) -> Option<&'static str> {
    let any = |keywords: &[&str]| keywords.iter().any(|k| entries.contains_key(*k));
    let object = [
        "properties",
        "additionalProperties",
        "required",
        "minProperties",
        "maxProperties",
        "unevaluatedProperties",
    ];
    let array = [
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "uniqueItems",
    ];
    let number = [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ];
    match () {
        () if any(&object) => Some("object"),
        () if any(&array) => Some("array"),
        () if any(&["pattern", "minLength", "maxLength"]) => Some("string"),
        () if any(&number) => Some("integer"),
        () => None,
    }
}

/// A count such as `minItems`.
fn count(
    entries: &Map<String, Value>,
    keyword: &str,
    at: &Place,
) -> Result<Option<u64>, SchemaError> {
    let Some(value) = entries.get(keyword) else {
        return Ok(None);
    };
    // `3.0` is an integer, too.
    let whole = value
        .as_f64()
        .filter(|n| n.fract() == 0.0 && (0.0..1e9).contains(n));
    match whole {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 0 to 1e9"
        )]
        Some(n) => Ok(Some(n as u64)),
        None => at.refuse(format!("`{keyword}` is no count that can be enforced")),
    }
}

#[cfg(test)]
mod tests;
